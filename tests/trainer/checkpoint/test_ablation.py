"""Each stored field matters: a resume that forgot one would end in other bits.

So a test that finds equal bits after a resume is not blind to any of them.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
from torch import Tensor

from tests.support.trainer.killed_attempts import STEPS, End, end, mixed_pack, spec
from trainer.checkpoint import checkpoint_files as checkpoints
from trainer.checkpoint.state import collect
from trainer.engine.build import build_run
from trainer.engine.train import DeviceConfig, RunPaths, train
from trainer.schema.artifact_names import EVALUATION
from trainer.schema.events import Ended
from trainer.spec.job import JobSpec

CPU = DeviceConfig(device="cpu", threads=1)
JOB = JobSpec.model_validate(spec(optim={"name": "adamw"}, keep_checkpoints=100))
CUT = 7

FORGOTTEN: dict[str, Callable[[str], bool]] = {
    "query weights": lambda name: name.startswith("method.query.") and not _is_buffer(name),
    "query buffers": lambda name: name.startswith("method.query.") and _is_buffer(name),
    "key weights": lambda name: name.startswith("method.key.") and not _is_buffer(name),
    "key buffers": lambda name: name.startswith("method.key.") and _is_buffer(name),
    "negatives": lambda name: name == "method.negatives.keys",
    "rows of the negatives": lambda name: name == "method.negatives.rows",
    "age of the negatives": lambda name: name == "method.negatives.pushed_at",
    "pointer": lambda name: name == "method.negatives.pointer",
    "fill": lambda name: name == "method.negatives.fill",
    "pushes": lambda name: name == "method.negatives.pushes",
    "first moment": lambda name: name.startswith("optimizer.exp_avg."),
    "second moment": lambda name: name.startswith("optimizer.exp_avg_sq."),
    "steps of the optimizer": lambda name: name.startswith("optimizer.step."),
}


def _is_buffer(name: str) -> bool:
    return name.endswith(("running_mean", "running_var", "num_batches_tracked"))


@dataclass(frozen=True)
class Cut:
    """A run that was stopped, the state of one that is new, and how it should end."""

    pack: Path
    loaded: checkpoints.Loaded
    fresh: dict[str, Tensor]
    expected: End

    def resumed(self, folder: Path, state: dict[str, Tensor], *, by_steps: int = 0) -> End:
        """Resume from a state, and from a step that may be wrong; return the end of the run."""
        out, source = folder / "out", folder / "from"
        source.mkdir()
        for name in ("metrics.jsonl", EVALUATION):
            before = self.loaded.path.parent.parent / name
            (source / name).write_bytes(before.read_bytes())
        meta = self.loaded.meta.model_copy(update={"step": self.loaded.meta.step + by_steps})
        saved = checkpoints.save(source / "checkpoints", state, meta, keep=2)
        ended = go(RunPaths(out=out, pack=self.pack, checkpoints=(saved.path,)))
        assert ended.outcome == "succeeded"
        return end(out)


def go(paths: RunPaths, stop_after: int | None = None) -> Ended:
    polls = iter(range(10_000))
    return train(
        JOB,
        paths,
        device_config=CPU,
        emit=lambda _: None,
        should_stop=lambda: stop_after is not None and next(polls) >= stop_after,
    )


@pytest.fixture(scope="module")
def cut(tmp_path_factory: pytest.TempPathFactory) -> Cut:
    folder = tmp_path_factory.mktemp("cut")
    pack = mixed_pack(folder / "pack")
    with build_run(JOB, RunPaths(out=folder / "fresh", pack=pack), device_config=CPU) as run:
        fresh = {name: value.clone() for name, value in collect(run.method, run.optimizer).items()}
    go(
        RunPaths(out=folder / "cut", pack=pack), stop_after=CUT + 7
    )  # one poll is the evaluation's, six the baselines'
    loaded = checkpoints.load_newest([folder / "cut" / "checkpoints"])
    assert loaded is not None
    assert 0 < loaded.meta.step < STEPS
    go(RunPaths(out=folder / "whole", pack=pack))
    return Cut(pack, loaded, fresh, end(folder / "whole"))


@pytest.mark.parametrize("what", FORGOTTEN)
def test_a_forgotten_field_is_seen_at_the_end(what: str, cut: Cut, tmp_path: Path) -> None:
    state = dict(cut.loaded.state)
    names = {name for name in state if FORGOTTEN[what](name)}
    assert names
    for name in names:
        if name in cut.fresh:
            state[name] = cut.fresh[name]
        else:  # a new optimizer has no moments
            state[name] = state[name] * 0
    assert cut.resumed(tmp_path, state) != cut.expected


@pytest.mark.parametrize("by", [-1, 1])
def test_a_wrong_step_is_seen_at_the_end(by: int, cut: Cut, tmp_path: Path) -> None:
    assert cut.resumed(tmp_path, cut.loaded.state, by_steps=by) != cut.expected


def test_nothing_forgotten_is_no_difference(cut: Cut, tmp_path: Path) -> None:
    assert cut.resumed(tmp_path, cut.loaded.state) == cut.expected


def test_every_stored_tensor_is_one_of_these_fields(cut: Cut) -> None:
    """A new one must be named here, with the proof that it matters."""
    named = {name for name in cut.loaded.state if any(is_it(name) for is_it in FORGOTTEN.values())}
    assert named == set(cut.loaded.state)
