"""The plot of the growth curves: bench/growth.png, which the README shows."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from statistics import median

import matplotlib

from bench.growth import Queued, Stored

matplotlib.use("Agg")
from matplotlib import pyplot

PICTURE = Path(__file__).parent / "growth.png"


def draw(stored: Sequence[Stored], queued: Sequence[Queued]) -> None:
    """Left what a message costs beside stored ones, right beside waiting ones."""
    figure, (left, right) = pyplot.subplots(1, 2, figsize=(9, 3.2), layout="constrained")
    sizes = [one.messages for one in stored]
    for style, name, spans in (
        ("C0-o", "a long conversation", [one.long.retry for one in stored]),
        ("C1-o", "a new one", [one.new.retry for one in stored]),
        ("C7--", "floor", [one.new.floor_begin for one in stored]),
    ):
        left.plot(sizes, [median(found) * 1000 for found in spans], style, label=name, markersize=4)
    left.set(
        xscale="log",
        ylim=(0, None),
        xlabel="messages stored",
        ylabel="ms, median",
        title="/retry to request, idle house",
    )
    left.legend(fontsize="small")
    right.plot([one.waiting for one in queued], [median(one.ms) for one in queued], "C0-o", markersize=4)
    right.set(
        xscale="log", ylim=(0, None), xlabel="messages waiting", ylabel="ms a message", title="A backlog, one worker"
    )
    for axes in (left, right):
        axes.grid(alpha=0.3)
    figure.savefig(PICTURE, dpi=110, metadata={"Software": None})
