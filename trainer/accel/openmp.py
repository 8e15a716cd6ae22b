"""Imported before torch, for its effect: threads that wait spin for a moment, then sleep.

OpenMP's threads spin for milliseconds by default. On cores that others use too, the spinning takes
the time of the thread that is waited for. A thread that sleeps at once is slow to wake, where it is
alone: between two pieces of shared work lies often a tenth of a millisecond of Python. libgomp
reads the variables when it is loaded. docs/decisions/0012 has the figures.
"""

import os

SPINS = 10_000
"""Spins before a waiting thread sleeps; libgomp assumes 100,000 spins per millisecond."""
VARIABLES = {"GOMP_SPINCOUNT": str(SPINS), "OMP_WAIT_POLICY": "PASSIVE"}
"""The first is libgomp's own; other libraries know the second alone."""

if not VARIABLES.keys() & os.environ.keys():  # a variable that the user set is kept
    os.environ.update(VARIABLES)
