"""Two views of each row of a batch, from a pack of JPEGs that are decoded once for both."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from benchmarks.arms.interface import Arm, Setup
from benchmarks.arms.views_pack import CPU, PackViews  # first, before torch is loaded
from trainer.data.ingest import ingest
from trainer.data.pack.format import Pack
from trainer.data.spec import IngestSpec
from trainer.modalities.image.ingest import INGEST
from trainer.modalities.image.loader import PackLoader


@contextmanager
def open_arm(setup: Setup) -> Iterator[Arm]:
    """Open the arm with as many threads as the peers have workers."""
    with TemporaryDirectory(prefix="moco-") as name:
        spec = IngestSpec(dataset_id="jpeg", source=setup.images, format="folder", store_as="jpeg")
        out = Path(name)
        ingest(spec, modality=INGEST, out=out, emit=lambda _: None, should_stop=lambda: False)
        pack = Pack.open(out / "pack")
        with PackLoader(pack, device=CPU, threads=max(1, setup.workers)) as source:
            yield PackViews(source, setup)
