"""Build a run from a spec and restore the newest intact checkpoint."""

import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager, nullcontext
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from trainer.accel.device import DeviceConfig, DeviceContext, deterministic_device
from trainer.accel.graphs import recorder_for
from trainer.accel.ops import Accelerator
from trainer.checkpoint import checkpoint_files as checkpoints
from trainer.checkpoint.fingerprint import differing, fingerprint
from trainer.checkpoint.init_file import InitWeights, read_init
from trainer.checkpoint.manager import CheckpointManager, CheckpointPolicy
from trainer.checkpoint.state import digest, restore
from trainer.data.pack.format import modality_of
from trainer.distributed.world import ALONE, World
from trainer.engine.balanced_order import BalancedOrder
from trainer.engine.batch_stream import BatchStream
from trainer.engine.bottleneck import RunProfile
from trainer.engine.divergence import DivergenceGuard
from trainer.engine.evaluation_log import EvaluationLog, read_report
from trainer.engine.exchange import Exchange
from trainer.engine.graphed_step import GraphedStep
from trainer.engine.profiler import Profiler
from trainer.engine.run import Progress, Run
from trainer.engine.signal_log import Line, MemoryLog, SignalLog, read_history
from trainer.engine.step import EagerStep, StepExecutor
from trainer.engine.trained_rows import check_length, trained_rows, usable_rows
from trainer.engine.view_maker import EagerViews, GraphedViews, ViewMaker
from trainer.evaluators.base import EvaluationData
from trainer.evaluators.runner import Evaluation, plan_evaluation
from trainer.exports.spec import check_installed
from trainer.methods.base import Method, load_method
from trainer.modalities.base import Loader, Modality, Views, load_modality
from trainer.nn.pretrained import load_encoder
from trainer.optim.optimizer import make_optimizer
from trainer.optim.schedule import TrainingLength
from trainer.positives.base import load_partners
from trainer.schema.artifact_names import EVALUATION
from trainer.schema.errors import SpecError
from trainer.schema.evaluation import EvaluationReport
from trainer.schema.events import DatasetFacts
from trainer.spec.defaults import resolve
from trainer.spec.job import JobSpec
from trainer.spec.modality_parts import check_modality, check_same_modality
from trainer.spec.resolved import ResolvedSpec
from trainer.spec.rules import steps_per_epoch
from trainer.timing.phase_timer import timer_for
from trainer.timing.phase_totals import Times
from trainer.util.failpoints import failpoint


@dataclass(frozen=True, slots=True)
class RunPaths:
    """Folders of a run."""

    out: Path
    """The only folder that the run writes to."""
    pack: Path
    test_pack: Path | None = None
    checkpoints: tuple[Path, ...] = ()
    """Checkpoints of earlier attempts, newest first, to resume from besides those in `out`."""
    init: Path | None = None
    """Weights that the encoder begins with; they must stay as long as the job may be resumed."""


class Before(NamedTuple):
    """Signals and results of the attempts before this one, up to its first step."""

    lines: list[Line]
    report: EvaluationReport


def never() -> bool:
    """Return False: the run is not to stop."""
    return False


@contextmanager
def build_run(
    sent: JobSpec,
    paths: RunPaths,
    *,
    device_config: DeviceConfig,
    world: World = ALONE,
    should_stop: Callable[[], bool] = never,
) -> Iterator[Run]:
    """The run of a spec, resolved and resumed; its files and threads end with the block.

    Raises SpecError, DataError, CheckpointError or StorageError.
    """
    _check_start(sent, world)
    with ExitStack() as stack:
        context = stack.enter_context(deterministic_device(device_config, precision=sent.precision))
        modality = _modality_of(paths.pack, sent)
        pack = modality.open_pack(paths.pack, sent)
        resolved = resolve(sent, pack.facts)
        spec = resolved.spec
        loader = modality.loader(pack, context, threads=device_config.loader_threads)
        source = stack.enter_context(loader)
        test_source = _test_loader(spec, paths, pack.facts, context, device_config)
        stack.enter_context(test_source or nullcontext())
        accelerator = modality.accelerator(spec, pack.facts, context)
        init = _init_weights(spec, paths)
        make_encoder = partial(_encoder, modality, spec, accelerator=accelerator, init=init)
        method = _placed(load_method(spec, make_encoder, bf16=context.bf16), context, world)
        profiler = _profiler(spec, pack.facts, context)
        method.timer = source.timer = profiler.timer
        optimizer = make_optimizer(spec.optim, method.learning_parameters())
        data = EvaluationData(source, test_source)
        causes = _causes(spec, data, context, device_config, world) | _cause_of(init)
        progress, before = _resumed(paths, method, optimizer, causes)
        views = modality.views(spec, pack.facts, context, accelerator=accelerator)
        batches = _batches(spec, method, data, _view_maker(spec, views, context, device_config))
        evaluation = plan_evaluation(spec, data, views=views)
        history = stack.enter_context(closing(_history(paths, before.lines, world)))
        policy = _checkpoint_policy(spec, paths, causes, differs=progress.differs)
        checkpoint_manager = _checkpoint_manager(policy, context, progress, history, world)
        requests = world.requests(should_stop, checkpoint_manager.is_due_by_time)
        yield Run(
            resolved=resolved,
            out=paths.out,
            context=context,
            method=method,
            optimizer=optimizer,
            step_executor=_step_executor(spec, method, optimizer, context, device_config),
            exchange=Exchange(method, requests),
            batches=batches,
            source=source,
            test_source=test_source,
            views=views,
            evaluation=evaluation,
            history=history,
            evaluation_log=_evaluation_log(before, evaluation, paths, world),
            progress=progress,
            losses=DivergenceGuard(context.device),
            checkpoint_manager=stack.enter_context(checkpoint_manager),
            profiler=profiler,
        )


def _modality_of(pack: Path, sent: JobSpec) -> Modality[Any]:
    """Return the modality of a pack. Raises SpecError for a job on other data, and DataError."""
    name = modality_of(pack)
    check_modality(sent, name)
    return load_modality(name)


def _check_start(sent: JobSpec, world: World) -> None:
    """Raise SpecError for what is known to be missing before anything is opened."""
    _check_world(sent, world)
    check_installed(sent)


def _check_world(sent: JobSpec, world: World) -> None:
    """Raise SpecError unless as many processes were started as the job asks for."""
    gpus = sent.resources.gpus
    if gpus == world.size:
        return
    detail = (
        f"the job is for {gpus} processes, but {world.size} run it; start it with `torchrun "
        f"--standalone --nproc-per-node {gpus} -m trainer`, or set the field to {world.size}"
    )
    raise SpecError(detail, field="resources.gpus")


def _init_weights(spec: ResolvedSpec, paths: RunPaths) -> InitWeights | None:
    """Read the weights that the encoder begins with, None for random ones. Raises SpecError."""
    if spec.init_from is None:
        return None
    if paths.init is None:
        raise SpecError("the run was given no file of weights", field="init_from")
    return read_init(paths.init, sha256=spec.init_from.sha256)


def _cause_of(init: InitWeights | None) -> dict[str, str]:
    """Return the cause that weights to begin with are; none for random ones."""
    return {} if init is None else {"init_sha256": init.sha256}


def _evaluation_log(
    before: Before, evaluation: Evaluation, paths: RunPaths, world: World
) -> EvaluationLog:
    """Return the log of results; rank 0 writes the file."""
    path = paths.out / EVALUATION if world.is_first else None
    return EvaluationLog(before.report, evaluation=evaluation, path=path)


def _encoder(
    modality: Modality[Any],
    spec: ResolvedSpec,
    *,
    accelerator: Accelerator | None,
    init: InitWeights | None,
) -> nn.Module:
    """Return a fresh encoder. Random weights are drawn also where others replace them.

    So the heads are those of a job without `init`.
    """
    encoder = modality.encoder(spec, accelerator=accelerator)
    if init is not None:
        load_encoder(encoder, init.tensors)
    return encoder


def _causes(
    spec: ResolvedSpec,
    data: EvaluationData,
    context: DeviceContext,
    device_config: DeviceConfig,
    world: World,
) -> dict[str, str]:
    source, test_source = data
    return fingerprint(
        spec,
        context=context,
        facts=source.pack.facts,
        test_facts=test_source.pack.facts if test_source else None,
        graphs=_is_captured(spec, context, device_config),
        world=world,
    )


def _history(paths: RunPaths, before: list[Line], world: World) -> MemoryLog:
    """Return the log of signals; rank 0 writes the file when all have read the one before."""
    world.wait()
    if not world.is_first:
        return MemoryLog(before=before)
    return SignalLog(paths.out / "metrics.jsonl", before=before)


def _checkpoint_policy(
    spec: ResolvedSpec, paths: RunPaths, causes: dict[str, str], *, differs: tuple[str, ...]
) -> CheckpointPolicy:
    return CheckpointPolicy(
        out=paths.out,
        earlier=paths.checkpoints,
        fingerprint=causes,
        differs=differs,
        every_s=spec.checkpoint_every_s,
        every_steps=spec.checkpoint_every_steps,
        keep=spec.keep_checkpoints,
    )


def _checkpoint_manager(
    policy: CheckpointPolicy,
    context: DeviceContext,
    progress: Progress,
    history: MemoryLog,
    world: World,
) -> CheckpointManager:
    return CheckpointManager(
        policy,
        device=context.device,
        began_step=progress.step,
        is_own=progress.is_own,
        sync_history=history.sync,
        world=world,
    )


def _profiler(spec: ResolvedSpec, facts: DatasetFacts, context: DeviceContext) -> Profiler:
    """Build the profiler of a resolved spec, for a prepared device."""

    def add_facts(times: Times) -> RunProfile:
        return RunProfile(
            times=times,
            spec=spec,
            facts=facts,
            device=context.device.type,
            threads=torch.get_num_threads(),
            cores=len(os.sched_getaffinity(0)),
        )

    return Profiler(timer_for(context.device, profile=spec.profile), add_facts)


def _step_executor(
    spec: ResolvedSpec,
    method: Method,
    optimizer: torch.optim.Optimizer,
    context: DeviceContext,
    device_config: DeviceConfig,
) -> StepExecutor:
    eager = EagerStep(
        method, optimizer, clip_norm=spec.optim.clip_norm, parts=spec.optim.accumulate_steps
    )
    if method.is_shared_inside or not _is_captured(spec, context, device_config):
        return eager
    batch_rows = spec.batch_rows // method.world.size
    return GraphedStep(eager, recorder_for(context.device), batch_rows=batch_rows)


def _view_maker(
    spec: ResolvedSpec, views: Views[Any], context: DeviceContext, device_config: DeviceConfig
) -> ViewMaker:
    eager = EagerViews(views, spec.seed, is_single=spec.views_per_row == 1)
    if not _is_captured(spec, context, device_config):
        return eager
    batch_rows = spec.batch_rows // spec.resources.gpus
    return GraphedViews(eager, recorder_for(context.device), batch_rows=batch_rows)


def _batches(
    spec: ResolvedSpec, method: Method, data: EvaluationData, make_views: ViewMaker
) -> BatchStream:
    source = data.source
    usable = usable_rows(spec, data)
    trained = trained_rows(spec, usable)
    if spec.learns_labels:
        method.set_label_rows(trained.label_counts(len(source.pack.facts.labels)))
    balanced = _balanced(spec, trained.labels)
    epoch_rows = trained.count if balanced is None else balanced.total
    length = TrainingLength(spec.epochs, steps_per_epoch(spec, epoch_rows))
    check_length(spec, length, rows=epoch_rows)
    return BatchStream(
        spec=spec,
        length=length,
        source=source,
        make_views=make_views,
        random_inputs=method.random_inputs,
        world=method.world,
        train_rows=None if trained.rows is None else torch.from_numpy(trained.rows),
        balanced=balanced,
        pretexts=method.pretexts,
        partners=load_partners(spec, usable),
        labels=trained.learned,
    )


def _balanced(spec: ResolvedSpec, labels: NDArray[np.int32]) -> BalancedOrder | None:
    if spec.batching is None:
        return None
    return BalancedOrder(
        labels, rows_per_label=spec.batching.rows_per_label, seed=spec.seed, order=spec.order
    )


def _is_captured(spec: ResolvedSpec, context: DeviceContext, device_config: DeviceConfig) -> bool:
    """Return whether steps are captured: on a GPU, unless the run is profiled."""
    return context.device.type == "cuda" and device_config.graphs and not spec.profile


def _test_loader(
    spec: ResolvedSpec,
    paths: RunPaths,
    facts: DatasetFacts,
    context: DeviceContext,
    device_config: DeviceConfig,
) -> Loader[Any] | None:
    """Open the test dataset, its rows read as those of the dataset are."""
    if paths.test_pack is None:
        return None
    check_same_modality(facts.modality, modality_of(paths.test_pack))
    modality = load_modality(facts.modality)
    pack = modality.open_pack(paths.test_pack, spec, like=facts)
    return modality.loader(pack, context, threads=device_config.loader_threads, like=facts)


def _placed(method: Method, context: DeviceContext, world: World) -> Method:
    """Join the world and move to the device.

    channels_last only with bf16: in fp32 it halves a CPU's speed.
    """
    method.join(world)
    if not context.bf16:
        return method.to(context.device)
    # torch's types know `memory_format` only as a keyword of this overload.
    return method.to(context.device).to(memory_format=torch.channels_last)


def _resumed(
    paths: RunPaths, method: Method, optimizer: torch.optim.Optimizer, causes: dict[str, str]
) -> tuple[Progress, Before]:
    """Restore the newest intact checkpoint, if there is one, and what was measured before it."""
    own, world = paths.out / "checkpoints", method.world
    if world.is_first:
        checkpoints.clean(own)
    world.wait()
    loaded = checkpoints.load_newest([own, *paths.checkpoints])
    state = loaded.state if loaded else {}
    world.check_alike(lambda: digest(state), what="The checkpoint to resume from")
    if loaded is None:
        return Progress(), Before([], EvaluationReport())
    failpoint("checkpoint.loaded")
    restore(loaded.state, method, optimizer)
    meta = loaded.meta
    progress = Progress(
        step=meta.step,
        is_own=loaded.path.parent == own.resolve(),
        differs=tuple(sorted({*meta.differs, *differing(meta.fingerprint, causes)})),
    )
    attempt = loaded.path.parent.parent
    return progress, Before(
        read_history(attempt / "metrics.jsonl", until_step=meta.step),
        read_report(attempt / EVALUATION, until_step=meta.step),
    )
