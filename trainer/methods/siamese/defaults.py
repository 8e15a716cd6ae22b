"""Defaults of Siamese pairs: every setting states its own."""

from trainer.spec.rules import Rules

RULES: Rules = ()
