"""The simulated Qdrant answers and refuses as the real one does, and dies, freezes and comes back as a process."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from demo.qdrant import VERSION, QdrantSim
from demo.servers import Qdrant
from lib import qdrant
from lib.qdrant import Health
from lib.secret import Secret

KEY = "c" * 40


@pytest.fixture
def sim() -> Iterator[QdrantSim]:
    made = QdrantSim(KEY)
    made.start()
    yield made
    made.stop()


def test_it_is_well_and_counts_its_points(sim: QdrantSim) -> None:
    sim.fill("memories", 3)
    sim.fill("with blank", 4)
    assert qdrant.check(sim.url, Secret(KEY)) == Health(None, 7, VERSION)


@pytest.mark.parametrize("key", [None, Secret("d" * 40)])
def test_it_refuses_a_wrong_or_missing_key(sim: QdrantSim, key: Secret | None) -> None:
    assert qdrant.check(sim.url, key).problem == "refused"


def test_it_can_be_damaged_or_not_ready(sim: QdrantSim) -> None:
    sim.fill("memories", 3)
    sim.damaged = {"memories"}
    assert qdrant.check(sim.url, Secret(KEY)).problem == "damaged"
    sim.is_well = lambda: False
    assert qdrant.check(sim.url, Secret(KEY)).problem == "no_answer"


def test_a_process_of_it_can_be_frozen_and_killed_and_comes_back(own_qdrant: Qdrant) -> None:
    def problem() -> str | None:
        return qdrant.check(own_qdrant.url, Secret(own_qdrant.password), seconds=0.5).problem

    assert problem() is None
    own_qdrant.freeze()
    assert problem() == "no_answer"
    own_qdrant.thaw()
    assert problem() is None
    own_qdrant.kill()
    assert problem() == "no_answer"
    own_qdrant.start()
    assert problem() is None
