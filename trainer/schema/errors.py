"""All errors that can end a job, as one tree. The service maps `code` to a status and a retry.

TrainerError
├── SpecError            bad_spec          the spec cannot be trained on this dataset
├── DataError            bad_dataset       the pack or the archive cannot be used
│   └── DatasetMissing   dataset_missing   the bytes of the dataset are gone
├── DivergedError        nonfinite_loss    the loss became NaN or infinite
├── OutOfMemory          oom               the device has too little memory for this spec
├── DeviceError          device            the GPU is broken, or its driver is
├── BadProbe             bad_image         an image that was sent to be compared is none
├── EncoderNotFound      encoder_gone      newer checkpoints have replaced the one to read
├── StorageError         storage           a file could not be written whole
├── RankLost             rank_lost         another process of the same job has ended or is silent
├── DivergedRanks        diverged_ranks    processes of the same job no longer hold the same
└── CheckpointError      bad_checkpoint    no checkpoint that was written can be read back

`DeviceError` and the last four are ours; the others are the user's to mend.
"""

from typing import ClassVar

from trainer.schema.verdicts import of_code


class TrainerError(Exception):
    """Error that ends a job."""

    code: ClassVar[str] = "trainer_error"
    hint: ClassVar[str] = "See the job's log for the cause."

    def __init__(self, detail: str, *, hint: str | None = None) -> None:
        """`detail` says what is wrong and where; `hint` replaces the class's next step."""
        super().__init__(detail)
        self.detail = detail
        self.next_step = hint or self.hint


class SpecError(TrainerError):
    """Spec that cannot be trained on its dataset."""

    code = "bad_spec"
    hint = "Change the named field and submit again; a dry run checks without training."

    def __init__(self, detail: str, *, field: str, also: tuple[str, ...] = ()) -> None:
        """`field` is the dotted name of what must change, such as `method.queue_rows`.

        `also`: other fields that could change instead.
        """
        super().__init__(f"{field}: {detail}")
        self.field = field
        self.also = also
        self.reason = detail


class DataError(TrainerError):
    """Dataset that cannot be used."""

    code = "bad_dataset"
    hint = "See the dataset's report for each file and its reason."


class DatasetMissing(DataError):
    """Dataset with missing files."""

    code = "dataset_missing"
    hint = "Add the dataset again, then resume the job: its checkpoint is kept."


class DivergedError(TrainerError):
    """The loss, the state or the features became NaN or infinite."""

    code = "nonfinite_loss"
    hint = f"{of_code('diverged').advice} The last good checkpoint is kept."

    def __init__(self, detail: str, *, step: int) -> None:
        """`detail` names the value that is not finite; `step` is the optimizer step it is from."""
        super().__init__(detail)
        self.step = step


class OutOfMemory(TrainerError):
    """The device has too little memory for this spec."""

    code = "oom"
    hint = "Lower batch_rows or views.side_px, or choose a smaller encoder."


class DeviceError(TrainerError):
    """A GPU that does not compute any more."""

    code = "device"
    hint = (
        "The job continues on another worker if there is one. `moco doctor` on the worker's host "
        "checks its GPUs; the kernel's log names hardware faults as Xid."
    )


class BadProbe(TrainerError):
    """Query image that cannot be used."""

    code = "bad_image"
    hint = "Send one picture, such as a JPEG, PNG, WebP or TIFF, of at most 100 megapixels."


class EncoderNotFound(TrainerError):
    """The encoder to look through is not on the disk any more."""

    code = "encoder_gone"
    hint = "Newer checkpoints replace older ones: choose one that the list calls available."


class StorageError(TrainerError):
    """A file could not be written whole."""

    code = "storage"
    hint = "Free space in the data folder, then resume the job."


class RankLost(TrainerError):
    """Another process of the same job has ended or does not answer."""

    code = "rank_lost"
    hint = "See the log of the other processes; the job continues from its checkpoint."


class DivergedRanks(TrainerError):
    """Processes of one job that should hold the same bits do not."""

    code = "diverged_ranks"
    hint = (
        "Run all processes of a job on one kind of device with one version of the software. The "
        "checkpoint before this one is kept."
    )


class CheckpointError(TrainerError):
    """Checkpoints that were written but cannot be read back."""

    code = "bad_checkpoint"
    hint = "Check the disk of the data folder; start the job again as a new one."
