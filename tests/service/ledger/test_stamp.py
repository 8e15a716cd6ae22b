"""A data folder says who may open it: older ones are opened, newer ones refused in words."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from service.ledger.stamp import FILE, LAYOUT, check_layout, stamp_layout
from service.ledger.store_identity import ensure_identity
from service.store.store import Store
from service.store.store_errors import Misconfigured
from tests.support.worker.stack import ROOT

COMMANDS = {
    "API": ["service"],
    "exporter": ["service", "exporter"],
    "worker": ["worker"],
    "moco up": ["service.cli", "up", "--no-worker", "--port", "0"],
    "moco admin verify": ["service.cli", "admin", "verify"],
    "moco admin reconcile": ["service.cli", "admin", "reconcile"],
    "moco doctor": ["service.cli", "doctor"],
}


def stamped(folder: Path, **fields: object) -> Path:
    (folder / FILE).write_text(json.dumps(fields))
    return folder


@pytest.mark.parametrize("name", COMMANDS)
def test_a_newer_layout_is_refused_in_words_before_anything_is_touched(
    name: str, tmp_path: Path
) -> None:
    folder = stamped(tmp_path, layout=LAYOUT + 1, written_by="9.8.7")
    done = subprocess.run(
        [sys.executable, "-m", *COMMANDS[name]],
        cwd=ROOT,
        env=os.environ | {"MOCO_DATA_DIR": str(folder)},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    words = " ".join((done.stdout + done.stderr).split())
    assert done.returncode != 0
    assert f"layout {LAYOUT + 1}" in words
    assert "9.8.7" in words
    assert "Start the newer mocoserve" in words
    assert "Traceback" not in words
    assert not (folder / "redis").exists()
    assert not (folder / "jobs").exists()


def test_a_folder_without_a_stamp_is_stamped_and_unknown_fields_are_kept(
    redis_store: Store, tmp_path: Path
) -> None:
    ensure_identity(redis_store, tmp_path)
    redis_store.client.expected = None
    assert json.loads((tmp_path / FILE).read_bytes())["layout"] == LAYOUT
    stamped(tmp_path, layout=1, written_by="0.0.9", site="lab")
    stamp_layout(tmp_path)
    stamp = json.loads((tmp_path / FILE).read_bytes())
    assert (stamp["layout"], stamp["site"]) == (LAYOUT, "lab")
    assert stamp["written_by"] != "0.0.9"


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"layout": "2"}', '{"layout": 2'])
def test_a_stamp_that_cannot_be_read_is_refused_with_the_next_step(
    content: str, tmp_path: Path
) -> None:
    (tmp_path / FILE).write_text(content)
    with pytest.raises(Misconfigured, match="Restore the file"):
        check_layout(tmp_path)
