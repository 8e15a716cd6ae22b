"""Defaults of BYOL, each with its reason."""

from trainer.methods.head_rules import TARGET_RULES
from trainer.spec.rules import Rules

RULES: Rules = TARGET_RULES
