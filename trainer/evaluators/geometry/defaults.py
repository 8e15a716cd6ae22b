"""Default values of the evaluation of geometry. Loads no tensors."""

from trainer.evaluators.default_rules import about_rounds, baselines

ROUNDS = 20
"""Rounds of a job."""


RULES = (("every_epochs", about_rounds(ROUNDS)), ("baselines", baselines))
"""Field -> its rule, which is given the job, the facts of its dataset, and the evaluator."""
