"""Default values of the nearest-neighbor evaluation. Loads no tensors."""

from trainer.evaluators.default_rules import baselines
from trainer.evaluators.knn.spec import K_MAX, K_MIN, K_SHARE, KnnSpec
from trainer.schema.events import DatasetFacts
from trainer.spec.job import JobSpec
from trainer.spec.rules import Choice


def _neighbors(spec: JobSpec, facts: DatasetFacts, own: KnnSpec) -> Choice:
    rows = smallest_class(spec, facts, own)
    if rows == 0:
        return K_MIN, "the dataset has no labels"
    bounds = f"at least {K_MIN} and at most {K_MAX}"
    reason = f"1/10 of the smallest class in the bank, about {rows} images; {bounds}"
    return min(K_MAX, max(K_MIN, rows // K_SHARE)), reason


def smallest_class(spec: JobSpec, facts: DatasetFacts, own: KnnSpec) -> int:
    """Return how many rows of the bank the smallest class has, on average over the draws.

    The bank is what `trainer.evaluators.labelled_rows` leaves of the labelled rows: those of the
    split train where the dataset has splits, all of them with a test dataset, else nine tenths;
    and at most `bank_rows`. 0 without labels; a pack that does not count the rows of its classes
    is taken to have as many of each.
    """
    if not facts.labels:
        return 0
    counts = facts.label_rows or (facts.rows // len(facts.labels),) * len(facts.labels)
    counts = tuple(count for count in counts if count)
    labelled = sum(counts)
    bank = labelled
    splits = facts.splits if spec.use_splits else {}
    if splits:
        bank = labelled * splits.get("train", 0) // max(1, sum(splits.values()))
    if not (spec.test_dataset or splits.get("test")):
        bank -= bank // 10
    return min(counts, default=0) * min(bank, own.bank_rows) // max(1, labelled)


RULES = (("k", _neighbors), ("baselines", baselines))
"""Field -> its rule, which is given the job, the facts of its dataset, and the evaluator."""
