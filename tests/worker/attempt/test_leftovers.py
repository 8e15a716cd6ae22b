from pathlib import Path

from worker.attempt.leftovers import remove_old_checkpoints, remove_partial_files, remove_upload


def test_half_written_files_go_wherever_they_are_but_the_report_of_a_pack(tmp_path: Path) -> None:
    """As after a kill while the network of a run, a checkpoint or an encoder was being written."""
    gone = ("network/config.json.tmp", "checkpoints/000000004.tmp/state", "encoder.tmp/a/b.tmp")
    kept = ("network/config.json", "checkpoints/000000002/state", "pack.tmp/report.jsonl.tmp")
    for name in (*gone, *kept):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    remove_partial_files(tmp_path)
    assert not [name for name in gone if (tmp_path / name).exists()]
    assert all((tmp_path / name).exists() for name in kept)


def test_after_success_the_newest_checkpoint_stays(tmp_path: Path) -> None:
    paths = [tmp_path / "attempts" / a / "checkpoints" / s for a, s in ("11", "12", "23", "24")]
    for path in paths:
        path.mkdir(parents=True)
        (path / "state").touch()
    remove_old_checkpoints(tmp_path, keep=paths[3])
    assert [path.exists() for path in paths] == [False, False, False, True]


def test_after_success_the_best_checkpoint_stays_too(tmp_path: Path) -> None:
    paths = [tmp_path / "attempts/1/checkpoints" / f"{step:09d}" for step in (4, 12, 20)]
    for path in paths:
        path.mkdir(parents=True)
    remove_old_checkpoints(tmp_path, keep=paths[2], best_step=12)
    assert [path.exists() for path in paths] == [False, True, True]


def test_only_the_upload_of_a_dataset_is_removed(tmp_path: Path) -> None:
    (tmp_path / "upload.part").touch()
    (tmp_path / "other").touch()
    remove_upload(tmp_path)
    remove_upload(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["other"]
