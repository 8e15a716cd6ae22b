"""One run in all its parts: what the loop in `trainer.engine.train` calls."""

import copy
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import nn

from trainer.accel.device import DeviceContext
from trainer.checkpoint.best_encoder import encoder_of_step
from trainer.checkpoint.manager import CheckpointManager, Emit
from trainer.checkpoint.state import collect
from trainer.distributed.world import World
from trainer.engine.batch_stream import BatchStream
from trainer.engine.divergence import DivergenceGuard
from trainer.engine.evaluation_log import EvaluationLog
from trainer.engine.exchange import Exchange
from trainer.engine.micro_batches import first_part
from trainer.engine.profiler import Profiler
from trainer.engine.signal_log import MemoryLog
from trainer.engine.step import StepExecutor
from trainer.evaluators.runner import Evaluation
from trainer.exports.base import BestEncoder, Export
from trainer.exports.publish import publish, write_network
from trainer.losses.embedding_signals import gradient_norm
from trainer.methods.base import Method, StepOutput, step_signals
from trainer.modalities.base import Loader, Views
from trainer.optim.schedule import TrainingLength, lr_at
from trainer.schema.errors import DivergedError
from trainer.schema.events import (
    BestReading,
    Evaluated,
    Judged,
    Logged,
    Profiled,
    Published,
    Started,
    Stepped,
)
from trainer.schema.verdicts import Judgement, judge, of_code
from trainer.spec.defaults import Resolved
from trainer.spec.resolved import ResolvedSpec
from trainer.spec.signal_tables import FILLS, SIGNALS
from trainer.spec.watched import best_reading, end_reason
from trainer.timing.phase_timer import NullTimer
from trainer.timing.stopwatch import Stopwatch
from trainer.util.failpoints import failpoint

STOP, CHECKPOINT = 0, 1
"""Numbers of the requests that all ranks follow after the same step."""


@dataclass(slots=True)
class Progress:
    """Progress of a run."""

    step: int = 0
    """Optimizer steps done."""
    is_own: bool = False
    """True if the checkpoint that the run resumed from is in its own `out` folder."""
    differs: tuple[str, ...] = ()
    """Causes that changed between attempts: the end may not equal an uninterrupted run's."""


@dataclass(slots=True, kw_only=True)
class Run:
    """A resolved job on a device. `trainer.engine.build.build_run` makes one."""

    resolved: Resolved
    out: Path
    context: DeviceContext
    method: Method
    optimizer: torch.optim.Optimizer
    step_executor: StepExecutor
    exchange: Exchange
    batches: BatchStream
    source: Loader[Any]
    test_source: Loader[Any] | None
    views: Views[Any]
    evaluation: Evaluation
    history: MemoryLog
    evaluation_log: EvaluationLog
    progress: Progress
    losses: DivergenceGuard
    checkpoint_manager: CheckpointManager
    profiler: Profiler
    stopwatch: Stopwatch = field(default_factory=Stopwatch)
    has_warned: bool = False
    last_verdict: str = ""
    """Code of the last verdict emitted in this attempt."""
    best: BestReading | None = field(init=False, default=None)
    """Best evaluation so far, if the job has `best_by`."""
    ends_early: str = field(init=False, default="")
    """Reason why the run is done before its last step; empty if it goes on."""

    def __post_init__(self) -> None:
        """Read what the attempts before this one have logged."""
        self._watch()

    @property
    def world(self) -> World:
        """Ranks of the job."""
        return self.method.world

    @property
    def spec(self) -> ResolvedSpec:
        """Settings of the job."""
        return self.resolved.spec

    @property
    def length(self) -> TrainingLength:
        """Length of the run."""
        return self.batches.length

    @property
    def timer(self) -> NullTimer:
        """Measures the phases if the run is profiled, else nothing."""
        return self.profiler.timer

    @property
    def step(self) -> int:
        """Optimizer steps done."""
        return self.progress.step

    @property
    def epoch(self) -> float:
        """Passes over the dataset completed."""
        return self.step / self.length.steps_per_epoch

    @property
    def is_done(self) -> bool:
        """True if the last step is done, or the run ends early."""
        return self.step >= self.length.steps or bool(self.ends_early)

    def started(self) -> Started:
        """The first event."""
        return Started(
            step=self.step,
            steps_planned=self.length.steps,
            steps_per_epoch=self.length.steps_per_epoch,
            rows=self.source.pack.rows,
            device=self.context.name,
            precision=self.context.precision,
            exact=not self.progress.differs,
            differs=self.progress.differs,
            best=self.best,
        )

    def advance(self) -> Stepped | None:
        """One optimizer step, in the order of Algorithm 1 of arXiv:1911.05722.

        Returns its signals if they are due. Raises DivergedError.
        """
        with self.stopwatch.timing("data_s"):
            batch, random_inputs = self.batches.inputs_at(self.step)
        failpoint("train.step")
        with self.stopwatch.timing("step_s"):
            lr = self._lr()
            self.method.set_epoch(self.step // self.length.steps_per_epoch)
            output = self.step_executor.gradient(batch, random_inputs)
            is_read = self._signals_are_due()
            output = self.exchange(output, with_queries=is_read)
            failpoint("train.backward")
            self.losses.note(output.loss, step=self.step + 1)
            signals = self._signals(output, lr) if is_read else None
            self.method.set_progress(self.step / self.length.steps)
            self.step_executor.update(output, lr=lr)
            failpoint("train.stepped")
        self.progress.step += 1
        rows = len(batch.rows) * self.world.size
        self.stopwatch.count(rows)
        self.timer.end_step(rows)
        if signals is None:
            return None
        signals |= self.stopwatch.read() | {"memory_bytes": float(self.context.memory_bytes())}
        self.history.add(step=self.step, epoch=self.epoch, signals=signals)
        return Stepped(step=self.step, epoch=self.epoch, signals=signals)

    def should_stop(self) -> bool:
        """Return whether to stop after this step: on all ranks the same."""
        return self.exchange.requests.asked(STOP)

    def fallback_warning(self) -> Logged | None:
        """Warning about a slower fallback for steps. Said once."""
        fallback_reason = (
            self.step_executor.fallback_reason or self.batches.make_views.fallback_reason
        )
        if fallback_reason is None or self.has_warned:
            return None
        self.has_warned = True
        message = f"Steps run without a CUDA graph, more slowly: {fallback_reason}"
        return Logged(level="warning", message=message)

    def evaluation_is_due(self) -> bool:
        """Return whether an evaluator is still to be asked after this step."""
        return bool(self._evaluation.evaluators) and not self.history.has_evaluation_at(self.step)

    @property
    def _evaluation(self) -> Evaluation:
        return self.evaluation.due_at(self.step, length=self.length)

    def evaluate(self, should_stop: Callable[[], bool]) -> Evaluated | None:
        """Measure the encoder; before the first step, what its figures will be held against.

        None if `should_stop()` said so before the end. Raises DivergedError.
        """
        measure = self._evaluation.run if self.step else self._evaluation.baselines
        with self.stopwatch.timing("eval_s"), self.timer.phase("evaluation"):
            try:
                results = measure(self.method, should_stop=should_stop)
            except DivergedError as error:
                raise DivergedError(error.detail, step=self.step) from error
        if results is None:
            return None
        signals = {**results.signals, **self.history.baselines()}
        failpoint("evaluation.done")
        self.evaluation_log.add(results, step=self.step, epoch=self.epoch)
        self.history.add(step=self.step, epoch=self.epoch, signals=signals)
        self._watch()
        return Evaluated(
            step=self.step,
            epoch=self.epoch,
            signals=signals,
            seconds=dict(results.seconds),
            best=self.best,
            ends_early=self.ends_early,
        )

    def _watch(self) -> None:
        """Find the best evaluation, and whether the run ends early: on all ranks the same."""
        lines, signal = self.history.lines, self.spec.best_by
        if signal is not None:
            self.best = best_reading(lines, signal, SIGNALS[signal])
        self.ends_early = end_reason(lines, self.spec.early_stop, SIGNALS)

    def verdict(self, *, is_due: bool) -> Judged | None:
        """Return how the run is, if that is due or another verdict than before."""
        judgement = judge(self.history.newest(), share=self.step / self.length.steps, fills=FILLS)
        if not is_due and judgement.verdict.code == self.last_verdict:
            return None
        return self._judged(judgement)

    def diverged(self, error: DivergedError) -> Judged:
        """Return the verdict for a loss that is not finite."""
        return self._judged(Judgement(of_code("diverged"), error.detail))

    def _judged(self, judgement: Judgement) -> Judged:
        verdict, self.last_verdict = judgement.verdict, judgement.verdict.code
        return Judged(
            step=self.step,
            code=verdict.code,
            kind=verdict.kind,
            word=verdict.word,
            evidence=judgement.evidence,
            advice=judgement.advice,
        )

    def save_behind(self, emit: Emit) -> None:
        """Copy the state if a checkpoint is due; it is written while training continues.

        `emit` is called from another thread. Raises DivergedError or StorageError, also those of
        the checkpoint before.
        """
        self.checkpoint_manager.check()
        by_time = partial(self.exchange.requests.asked, CHECKPOINT)
        is_best = self.best is not None and self.best.step == self.step
        if self.checkpoint_manager.is_due(self.step, by_time=by_time, is_best=is_best):
            self._copy(emit)

    def save(self, emit: Emit) -> None:
        """Write a checkpoint of this step and wait for it. Raises DivergedError, StorageError."""
        with self.timer.phase("checkpoint"):
            if self.step != self.checkpoint_manager.newest_step:
                self._copy(emit)
            with self.stopwatch.timing("checkpoint_s"):
                self.checkpoint_manager.wait()

    def _copy(self, emit: Emit) -> None:
        with self.stopwatch.timing("checkpoint_s"), self.timer.phase("checkpoint"):
            self.losses.check()
            self.checkpoint_manager.start(
                collect(self.method, self.optimizer),
                step=self.step,
                emit=emit,
                best_step=self.best.step if self.best else None,
            )

    def profiled(self) -> Profiled | None:
        """Return the time profile, if profiling is on and it was not reported just now."""
        return self.profiler.tell(self.step)

    def profiled_last(self) -> Profiled | None:
        """Return the final time profile of the attempt, if profiling is on."""
        return self.profiler.tell_last(self.step)

    def publish(self) -> Published | None:
        """Write what people download, on rank 0; the others wait for it. Raises StorageError."""
        published = self._publish() if self.world.is_first else None
        self.world.wait()
        return published

    def write_network(self) -> None:
        """Write what a checkpoint's encoder needs beside it, on rank 0. Raises StorageError."""
        if self.world.is_first:
            export = self._export(self.method.encoder, self.method.classifier)
            write_network(export, out=self.out)

    def _publish(self) -> Published:
        encoder = copy.deepcopy(self.method.encoder).to(memory_format=torch.contiguous_format)
        head = copy.deepcopy(self.method.classifier)
        export = self._export(encoder.float().eval(), head and head.float().eval())
        return publish(replace(export, best=self._best_encoder()), out=self.out)

    def _best_encoder(self) -> BestEncoder | None:
        """Read the encoder of the best checkpoint, which an earlier attempt may have written."""
        if self.best is None:
            return None
        weights = encoder_of_step(self.best.step, self.checkpoint_manager.places)
        return None if weights is None else BestEncoder(self.best, weights)

    def _export(self, encoder: nn.Module, head: nn.Module | None) -> Export:
        return Export(
            spec=self.spec,
            reasons=self.resolved.reasons,
            facts=self.source.pack.facts,
            encoder=encoder,
            head=head,
            state=self.method.state_beside_encoder(),
            source=self.source,
            views=self.views,
            pack=self.source.pack,
            test_pack=None if self.test_source is None else self.test_source.pack,
            history=self.history.of_the_run(),
            evaluation=self.evaluation_log.report,
            exact=not self.progress.differs,
            step=self.step,
            gpu_precision=self.context.precision if self.context.device.type == "cuda" else None,
            profile=self.profiler.newest,
        )

    def _lr(self) -> float:
        peak = self.spec.optim.lr
        return lr_at(self.step, spec=self.spec.schedule, peak=peak, length=self.length)

    def _signals_are_due(self) -> bool:
        """Return whether the step is the first, an n-th or the last: known from the step alone."""
        done = self.step + 1
        every_steps = self.spec.signals_every_steps
        return done in {1, self.length.steps} or done % every_steps == 0

    def _signals(self, output: StepOutput, lr: float) -> dict[str, float]:
        with self.timer.phase("signals"):
            self.losses.check()
            output = first_part(output, self.spec.optim.accumulate_steps)
            return {
                **step_signals(self.method, output, dataset_rows=self.source.pack.rows),
                "lr": lr,
                "grad_norm": gradient_norm(self.method.learning_parameters().values()),
            }
