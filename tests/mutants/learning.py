"""Defects of what is said of a run, and of what a job in flight keeps."""

from typing import Final

from tests.mutants.runner import Mutant

RANDOM = "tests/trainer/rng/test_philox.py::test_"
VERDICTS = "tests/trainer/schema/test_verdicts.py::test_"
ADDED = "tests/trainer/spec/test_added_fields.py::test_"

LEARNING: Final = (
    Mutant(
        "a large order knows even permutations only",
        "trainer/rng/philox.py",
        "        high += high % 2\n",
        "        high += 0\n",
        (RANDOM + "odd_orders_are_as_likely_as_even_ones",),
    ),
    Mutant(
        "a warm-up begins at 0",
        "trainer/optim/schedule.py",
        "(step + spec.warmup_from)",
        "(step + 0)",
        ("tests/trainer/optim/test_optimizer.py::test_a_warm_up_is_that_of_torch",),
    ),
    Mutant(
        "an old job gets the new order",
        "trainer/spec/added_fields.py",
        '    ("order", 1),\n',
        '    ("order", 2),\n',
        (ADDED + "an_old_resolved_spec_keeps_every_rule_of_its_version",),
    ),
    Mutant(
        "a worker does not settle an old spec",
        "worker/attempt/workspace.py",
        "settled(JobSpec.model_validate_json(lease.spec_json))",
        "JobSpec.model_validate_json(lease.spec_json)",
        (
            "tests/worker/attempt/test_progress.py::test_a_lease_of_an_older_version_keeps_its_rules",
        ),
    ),
    Mutant(
        "baselines are not told beside a figure",
        "trainer/engine/run.py",
        "signals = {**results.signals, **self.history.baselines()}",
        "signals = {**results.signals}",
        (
            "tests/trainer/checkpoint/test_resume.py::"
            "test_baselines_are_measured_once_and_told_beside_each_figure",
        ),
    ),
    Mutant(
        "a run that resumes keeps results of later steps",
        "trainer/engine/evaluation_log.py",
        "report.result.step <= step",
        "report.result.step >= step",
        (
            "tests/trainer/engine/test_evaluation_log.py::"
            "test_a_run_that_resumes_has_the_baselines_and_no_result_after_its_step",
        ),
    ),
    Mutant(
        "a threshold is chosen on test rows",
        "trainer/evaluators/linear/evaluator.py",
        "threshold = self.threshold(probe)",
        "threshold = chosen_threshold(self.spec.threshold, _scored(answers, self.positive))",
        (
            "tests/trainer/evaluators/linear/test_linear.py::"
            "test_other_test_labels_change_no_threshold",
        ),
    ),
    Mutant(
        "the majority class is the rarest one",
        "trainer/evaluators/knn/evaluator.py",
        "minlength=self.classes).argmax()",
        "minlength=self.classes).argmin()",
        ("tests/trainer/evaluators/test_runner.py::test_baselines_are_those_of_scikit_learn",),
    ),
    Mutant(
        "a loss at chance is healthy",
        "trainer/schema/verdicts.py",
        "AT_CHANCE, WEAK, ABOVE_CHANCE = 0.98, 0.9, 1.1",
        "AT_CHANCE, WEAK, ABOVE_CHANCE = 0.995, 0.995, 1.1",
        (VERDICTS + "a_history_gets_its_verdict_with_the_numbers_that_speak_for_it",),
    ),
    Mutant(
        "a figure equal to raw pixels is better",
        "trainer/schema/verdicts.py",
        "if reading.knn <= reading.raw else None",
        "if reading.knn < reading.raw else None",
        (VERDICTS + "a_history_gets_its_verdict_with_the_numbers_that_speak_for_it",),
    ),
)
