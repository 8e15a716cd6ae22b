"""Default values of the clustering evaluation. Loads no tensors."""

from trainer.evaluators.default_rules import about_rounds, baselines

ROUNDS = 10
"""Rounds of a job: each takes seconds."""


RULES = (("every_epochs", about_rounds(ROUNDS)), ("baselines", baselines))
"""Field -> its rule, which is given the job, the facts of its dataset, and the evaluator."""
