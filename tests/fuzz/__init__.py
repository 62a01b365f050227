"""What holds whatever comes: each property once. `make test` tries a few examples of each, always the same; `make fuzz`
as many as there is time for, always others.

A file is a target. What was found stays with its property as an @example.
"""

from __future__ import annotations

import os

from hypothesis import HealthCheck, settings

# How many examples `make fuzz` wants of each property (tests/fuzz/__main__.py).
EXAMPLES = int(os.environ.get("FUZZ_EXAMPLES", "0"))

# Examples are of all sizes, and the machine may be busy with other things: neither says anything about a property.
PATIENT = settings(
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.function_scoped_fixture],
)
settings.register_profile("test", PATIENT, max_examples=50, derandomize=True, database=None)
settings.register_profile("fuzz", PATIENT, max_examples=EXAMPLES or 50, print_blob=True)
settings.load_profile("fuzz" if EXAMPLES else "test")
