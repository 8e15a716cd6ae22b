from pathlib import Path

from worker.attempt.leftovers import remove_old_checkpoints, remove_upload


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
