"""Defaults of no contrast: none."""

from trainer.spec.rules import Rules

RULES: Rules = ()
