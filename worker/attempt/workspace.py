"""The folder of one attempt, and what a lease means as paths on this machine."""

from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from pydantic import ValidationError

from service.ledger.writer import AttemptLedger
from service.store.models import Lease
from trainer.added import settled
from trainer.errors import EncoderGone, SpecError
from trainer.events import Ended
from trainer.files import remove
from trainer.record import Record
from trainer.spec import IngestSpec, JobSpec, ProbeSpec
from worker.process.child_request import RESULT_FILE, SPEC_FILE, Orders

AnySpec = JobSpec | IngestSpec | ProbeSpec


class NoLedger(AttemptLedger):
    """Of a probe: it may be lost with the store, so the disk need not know how it ended."""

    def claimed(self) -> None:
        """Nothing: its folder need not outlive a crash either."""

    def _say(self, line: Record) -> None:
        """Nothing."""


@dataclass(frozen=True)
class Attempt:
    """One lease, made concrete."""

    lease: Lease
    spec: AnySpec
    data_dir: Path

    @property
    def job_folder(self) -> Path:
        """Of the job; of an ingest, that of its dataset."""
        return self.data_dir / self.lease.folder

    @property
    def out(self) -> Path:
        """The only folder that this attempt writes to."""
        return self.job_folder / "attempts" / str(self.lease.attempt)

    def relative(self, path: str) -> str:
        """A path of the child's as the store knows it."""
        return f"{self.lease.folder}/attempts/{self.lease.attempt}/{path}"

    def prepare(self) -> AttemptLedger:
        """Make the folder, begin its ledger and put the spec in it.

        Drafts of attempts before this one are removed: they are over. Raises FileExistsError if
        the folder is there already, EncoderGone if a probe was deleted together with its job.
        """
        is_probe = self.lease.kind == "probe"
        if is_probe and not self.job_folder.is_dir():
            raise EncoderGone("The job was deleted.", hint="There is nothing left to look at.")
        self.out.mkdir(parents=True)
        ledger = (NoLedger if is_probe else AttemptLedger)(self.out, self.lease)
        ledger.claimed()
        (self.out / SPEC_FILE).write_text(self.spec.model_dump_json())
        for other in self.out.parent.iterdir():
            if other.name.isdigit() and int(other.name) < self.lease.attempt:
                forget_drafts(other)
        return ledger

    def orders(self, *, device: str, threads: int | None) -> Orders:
        """What the child is told."""
        inputs = {role: str(self.data_dir / path) for role, path in self.lease.inputs.items()}
        return Orders(
            kind=self.lease.kind,
            out=str(self.out),
            pack=inputs.get("dataset", ""),
            test_pack=inputs.get("test_dataset", ""),
            checkpoints=tuple(str(self.data_dir / path) for path in self.lease.checkpoints),
            device=device,
            threads=threads,
        )

    def ended(self) -> Ended | None:
        """The result file that the child left, None if it left none."""
        try:
            return Ended.model_validate_json((self.out / RESULT_FILE).read_bytes())
        except (OSError, ValidationError):
            return None

    @property
    def batch_rows(self) -> int:
        """Rows of one step, for the time that is left."""
        return self.spec.batch_rows or 0 if isinstance(self.spec, JobSpec) else 0


def forget_drafts(attempt: Path) -> None:
    """Remove what an attempt that is over was still writing.

    The draft of a pack stays while it holds the only report of what was wrong with the files.
    """
    for pattern in ("*.tmp", "checkpoints/*.tmp"):
        for draft in attempt.glob(pattern):
            if draft.name != "pack.tmp":
                with suppress(OSError):
                    remove(draft)


def attempt_of(lease: Lease, data_dir: Path) -> Attempt:
    """What a lease asks for. Raises SpecError if this version does not understand it."""
    try:
        if lease.kind == "train":
            return Attempt(lease, settled(JobSpec.model_validate_json(lease.spec_json)), data_dir)
        if lease.kind == "probe":
            return Attempt(lease, _probe_of(lease.spec_json, data_dir), data_dir)
        spec = IngestSpec.model_validate_json(lease.spec_json)
        # The source is relative to the data folder unless it lies outside of it.
        source = str(data_dir / spec.source)
        return Attempt(lease, spec.model_copy(update={"source": source}), data_dir)
    except ValidationError as error:
        first = error.errors()[0]
        raise SpecError(
            f"{first['msg']}. The service and this worker may be of different versions.",
            field=".".join(map(str, first["loc"])) or "spec",
        ) from error


def _probe_of(text: str, data_dir: Path) -> ProbeSpec:
    """A probe with the paths of this machine. Raises ValidationError."""
    spec = ProbeSpec.model_validate_json(text)
    told = {name: getattr(spec, name) for name in ("encoder", "features", "image")}
    here = {name: str(data_dir / path) for name, path in told.items() if path is not None}
    return spec.model_copy(update=here)
