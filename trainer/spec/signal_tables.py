"""All signals of a job in one table. Loads no tensors."""

from trainer.evaluators import registry as evaluators
from trainer.methods.registry import declared
from trainer.pretexts import registry as pretexts
from trainer.schema.signals import COMMON_SIGNALS, Signal

SIGNALS: dict[str, Signal] = (
    COMMON_SIGNALS | pretexts.SIGNALS | evaluators.SIGNALS | declared("SIGNALS")
)
"""Name of a signal -> its unit and meaning: the common ones, then those that are added."""
FILLS: dict[str, str] = {name: signal.fills for name, signal in SIGNALS.items() if signal.fills}
"""Name of a signal -> what fills while it is below 1, when a rising loss is normal."""
