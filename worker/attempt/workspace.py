"""Folder of one attempt: maps a lease to paths on this machine."""

from dataclasses import dataclass, replace
from pathlib import Path

from pydantic import ValidationError

from service.files.init_weights import ROLE, place_init
from service.ledger.entries import MEMBERS
from service.ledger.ledger_writer import AttemptLedger
from service.store.records import Lease
from trainer.data.spec import IngestSpec
from trainer.inference.neighbours.spec import NeighbourSearchSpec
from trainer.schema.base import Record
from trainer.schema.errors import EncoderNotFound, RankLost, SpecError
from trainer.schema.events import Ended
from trainer.spec.added_fields import settled
from trainer.spec.init_from import INIT
from trainer.spec.job import JobSpec
from worker.attempt.leftovers import remove_partial_files
from worker.process.child_request import RESULT_FILE, SPEC_FILE, ChildRequest, Gang
from worker.slots import Allocation

AnySpec = JobSpec | IngestSpec | NeighbourSearchSpec


class NoLedger(AttemptLedger):
    """Ledger of a probe, which writes nothing: a probe may be lost together with the store."""

    def claimed(self) -> None:
        """Write nothing; the folder need not survive a crash either."""

    def _say(self, line: Record) -> None:
        """Write nothing."""


@dataclass(frozen=True)
class Workspace:
    """Paths and spec of one lease."""

    lease: Lease
    spec: AnySpec
    data_dir: Path

    @property
    def job_folder(self) -> Path:
        """Folder of the job; for an ingest, folder of its dataset."""
        return self.data_dir / self.lease.folder

    @property
    def out(self) -> Path:
        """The only folder that this attempt writes to on this node.

        Nodes of a gang but the first keep their log and errors in a folder of their own.
        """
        if self.node_rank:
            return self.job_folder / MEMBERS / str(self.lease.attempt) / str(self.node_rank)
        return self._attempt_folder

    @property
    def _attempt_folder(self) -> Path:
        return self.job_folder / "attempts" / str(self.lease.attempt)

    @property
    def node_rank(self) -> int:
        """Number of this node in the gang of the attempt; 0 for an attempt on one node."""
        return self.lease.seat.node_rank if self.lease.seat else 0

    def relative(self, path: str) -> str:
        """Return a path that the child named, relative to the data folder as the store wants it."""
        return f"{self.lease.folder}/attempts/{self.lease.attempt}/{path}"

    def prepare(self) -> AttemptLedger:
        """Make the folder, open its ledger and write the spec.

        Partial files of earlier attempts are removed: those attempts are over. Raises
        FileExistsError if the folder exists already, EncoderNotFound if a probe was deleted
        together with its job.
        """
        is_probe = self.lease.kind == "probe"
        if is_probe and not self.job_folder.is_dir():
            raise EncoderNotFound("The job was deleted.", hint="There is nothing left to look at.")
        self.out.mkdir(parents=True)
        ledger = (NoLedger if is_probe else AttemptLedger)(self._attempt_folder, self.lease)
        ledger.claimed()
        (self.out / SPEC_FILE).write_text(self.spec.model_dump_json())
        if self.node_rank == 0:
            self._remove_partial_files_before()
            self._place_init()
        return ledger

    def _place_init(self) -> None:
        """Put the weights into the job's folder if a crash of the API came between. Raises OSError.

        Where they are there already, what they came from may be gone.
        """
        if source := self.lease.inputs.get(ROLE):
            place_init(self.data_dir, source, self.job_folder)

    def _remove_partial_files_before(self) -> None:
        for other in self._attempt_folder.parent.iterdir():
            if other.name.isdigit() and int(other.name) < self.lease.attempt:
                remove_partial_files(other)

    def child_request(
        self, allocation: Allocation, *, threads: int | None, address: str | None = None
    ) -> ChildRequest:
        """Return what the child is asked to do.

        `threads` are those of one slot. `address` of this machine is for gangs of several nodes.
        """
        inputs = {role: str(self.data_dir / path) for role, path in self.lease.inputs.items()}
        return ChildRequest(
            kind=self.lease.kind,
            out=str(self.out),
            pack=inputs.get("dataset", ""),
            test_pack=inputs.get("test_dataset", ""),
            init=str(self.job_folder / INIT) if ROLE in inputs else "",
            checkpoints=tuple(str(self.data_dir / path) for path in self.lease.checkpoints),
            device=allocation.device,
            threads=threads and threads * len(allocation.slots),
            environment=allocation.environment,
            gang=self._gang(address),
        )

    def _gang(self, address: str | None) -> Gang | None:
        """Return the ranks of a job with several GPUs, None for a job of one process."""
        if not isinstance(self.spec, JobSpec) or self.spec.resources.gpus == 1:
            return None
        run_id = f"{self.lease.job_id}-{self.lease.attempt}"
        gang = Gang(ranks=self.spec.resources.slots_per_node, run_id=run_id)
        seat = self.lease.seat
        if seat is None or address is None:
            return gang
        return replace(
            gang,
            nodes=seat.nodes,
            node_rank=seat.node_rank,
            endpoint=seat.endpoint,
            address=address,
        )

    def ended(self) -> Ended | None:
        """Return the result file that the child left, None if it left none."""
        return _ended_in(self.out / RESULT_FILE)

    def ended_of_members(self) -> Ended | None:
        """Return the failure of another node of the gang that is not the loss of a peer."""
        for path in sorted(
            (self.job_folder / MEMBERS).glob(f"{self.lease.attempt}/*/{RESULT_FILE}")
        ):
            ended = _ended_in(path)
            if ended and ended.code != RankLost.code:
                return ended
        return None

    @property
    def batch_rows(self) -> int:
        """Rows of one training step; 0 for an ingest or a probe."""
        return self.spec.batch_rows or 0 if isinstance(self.spec, JobSpec) else 0


def _ended_in(path: Path) -> Ended | None:
    try:
        return Ended.model_validate_json(path.read_bytes())
    except (OSError, ValidationError):
        return None


def workspace_of(lease: Lease, data_dir: Path) -> Workspace:
    """Return the workspace of a lease. Raises SpecError if this version cannot read its spec."""
    try:
        if lease.kind == "train":
            return Workspace(lease, settled(JobSpec.model_validate_json(lease.spec_json)), data_dir)
        if lease.kind == "probe":
            return Workspace(lease, _probe_spec(lease.spec_json, data_dir), data_dir)
        spec = IngestSpec.model_validate_json(lease.spec_json)
        # The source is relative to the data folder unless it lies outside of it.
        source = str(data_dir / spec.source)
        return Workspace(lease, spec.model_copy(update={"source": source}), data_dir)
    except ValidationError as error:
        first = error.errors()[0]
        raise SpecError(
            f"{first['msg']}. The service and this worker may be of different versions.",
            field=".".join(map(str, first["loc"])) or "spec",
        ) from error


def _probe_spec(text: str, data_dir: Path) -> NeighbourSearchSpec:
    """Parse a probe and make its paths absolute. Raises ValidationError."""
    spec = NeighbourSearchSpec.model_validate_json(text)
    paths = {name: getattr(spec, name) for name in ("encoder", "features", "image")}
    absolute = {name: str(data_dir / path) for name, path in paths.items() if path is not None}
    return spec.model_copy(update=absolute)
