"""Imported before torch, for its effect: threads that wait for each other sleep instead of spin.

OpenMP's threads spin for milliseconds by default. On cores that others use too, the spinning takes
the time of the thread that is waited for: with two threads on two busy cores a step took 2 to 5
times as long as with sleeping threads. libgomp reads the variable when it is loaded.
"""

import os

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
