"""How often a checkpoint is worth its price."""

OVERHEAD_MAX = 0.02
"""Share of the time that checkpoints may take from training."""
LOST_S_MAX = 60.0
"""Work that a kill may cost, in seconds, where the price allows it."""


def wait_s(*, every_s: float, cost_s: float, write_s: float) -> float:
    """Seconds from one checkpoint's copy to the next one's.

    `every_s` is what the job asks for; `cost_s` is what the last checkpoint took from training;
    `write_s` is how long it took from its copy until it lay on the disk.

    A kill costs the work since the copy of the newest checkpoint on the disk: at worst the wait
    and one write. So a wait of up to a minute is shortened by the write, that both fit into
    LOST_S_MAX; a job that asks for more than a minute gets what it asks for. The price wins over
    both: where one checkpoint costs more than OVERHEAD_MAX of the wait, the wait grows. A kill is
    rare and costs its minutes once, while a price is paid for as long as the run lasts.
    """
    if every_s <= LOST_S_MAX:
        every_s = max(0.0, min(every_s, LOST_S_MAX - write_s))
    return max(every_s, cost_s / OVERHEAD_MAX)
