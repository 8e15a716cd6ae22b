"""Defects of what is said of a run, and of what a job in flight keeps."""

from typing import Final

from tests.mutants.runner import Mutant

RANDOM = "tests/trainer/rng/test_philox.py::test_"
VERDICTS = "tests/trainer/schema/test_verdicts.py::test_"
MORE = "tests/contract/test_more_views.py::test_"
SECOND = "tests/trainer/modalities/image/augment/test_second_view.py::test_"
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
        "answers, self.threshold(probe), features",
        "answers, chosen_threshold(self.spec.threshold, self.classes.scored(answers)), features",
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
    Mutant(
        "second views have the settings of the first",
        "trainer/modalities/image/random_views.py",
        "others = self.second or self.augmenter",
        "others = self.augmenter",
        (SECOND + "each_view_is_torchvisions_with_its_own_settings",),
    ),
    Mutant(
        "all further views are the second",
        "trainer/modalities/image/random_views.py",
        "epoch=epoch, view=view)",
        "epoch=epoch, view=1)",
        (MORE + "each_view_has_a_number_of_its_own",),
    ),
    Mutant(
        "a job of before gets unlike views",
        "trainer/spec/added_fields.py",
        '    ("views.second", "same"),\n',
        "",
        (
            "tests/trainer/spec/test_second_view.py::test_a_job_of_before_keeps_views_that_are_alike",
        ),
    ),
    Mutant(
        "the terms of further views are added up",
        "trainer/losses/vicreg.py",
        "variance, covariance = 2.0 * variance / len(views), 2.0 * covariance / len(views)",
        "pass",
        (MORE + "vicreg_is_the_mean_over_pairs",),
    ),
)
