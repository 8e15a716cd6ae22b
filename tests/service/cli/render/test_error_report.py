"""Exceptions as error reports, and the pure functions of the command line."""

import json
from pathlib import Path

import pytest

from mocoserve.errors import Damaged, Unreachable, Unusable, api_error
from mocoserve.models import Event, Job
from mocoserve.server_address import NoKey, NoServer, find
from mocoserve.user_config import load
from service.cli import job_spec as specs
from service.cli.commands.jobs import unseen
from service.cli.exit_codes import CommandError, Exit, outcome
from service.cli.render.error_report import explain, report
from service.cli.render.job_tracker import JobTracker
from service.cli.render.value_text import ago_text, bytes_text, duration_text, flat
from service.store.store_settings import StoreSettings


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (api_error(401, {"title": "t"}), Exit.AUTH),
        (api_error(403, {"title": "t"}), Exit.ERROR),
        (api_error(404, {"title": "t"}), Exit.NOT_FOUND),
        (api_error(409, {"title": "t"}), Exit.ERROR),
        (api_error(422, {"title": "t"}), Exit.ERROR),
        (api_error(500, None), Exit.ERROR),
        (api_error(503, {"title": "t"}), Exit.UNREACHABLE),
        (Unreachable("http://x", reason="refused"), Exit.UNREACHABLE),
        (Damaged("d"), Exit.ERROR),
        (Unusable("u"), Exit.ERROR),
        (CommandError("c", code=Exit.USAGE), Exit.USAGE),
        (TimeoutError("still running"), Exit.UNFINISHED),
        (OSError(28, "No space left on device", "/x"), Exit.ERROR),
        (ZeroDivisionError("ours"), Exit.ERROR),
    ],
)
def test_every_error_has_its_code_and_no_trace(
    error: Exception, code: Exit, capsys: pytest.CaptureFixture[str]
) -> None:
    assert explain(error).code is code
    for as_json in (False, True):
        assert report(error, as_json=as_json) is code
        told = capsys.readouterr()
        assert told.out == ""
        assert "Traceback" not in told.err
        if as_json:
            assert json.loads(told.err)["code"] == code
        else:
            assert told.err.startswith("error: ")


def test_a_problem_is_told_with_its_fields_and_a_next_step() -> None:
    body = {
        "title": "Invalid request",
        "detail": "1 field",
        "hint": "Mend it.",
        "errors": [{"pointer": "/optim/lr", "detail": "must be above 0"}],
    }
    failure = explain(api_error(422, body))
    assert failure.errors == (("/optim/lr", "must be above 0"),)
    assert failure.hint == "Mend it."
    assert explain(api_error(401, {"title": "t"})).hint


@pytest.mark.parametrize(
    ("status", "code"),
    [("succeeded", 0), ("failed", 100), ("cancelled", 103), ("running", 101), ("paused", 101)],
)
def test_the_code_of_an_outcome(status: str, code: int) -> None:
    assert outcome(status) == code


# where the server is


def test_flags_beat_the_data_folder(tmp_path: Path) -> None:
    with pytest.raises(NoServer) as caught:
        find(None, None, tmp_path)
    assert explain(caught.value).code is Exit.UNREACHABLE
    (tmp_path / "server.json").write_text('{"url": "http://here", "pid": 1}')
    with pytest.raises(NoKey) as no_key:
        find(None, None, tmp_path)
    assert explain(no_key.value).code is Exit.AUTH
    (tmp_path / "api.key").write_text("filed\n")
    assert find(None, None, tmp_path) == ("http://here", "filed")
    assert find("http://there", "given", tmp_path) == ("http://there", "given")


@pytest.mark.parametrize("text", ["", "[]", "{", '{"url": 3}'])
def test_a_damaged_server_file_is_no_server(text: str, tmp_path: Path) -> None:
    (tmp_path / "server.json").write_text(text)
    with pytest.raises(NoServer, match="No server configured"):
        find(None, "k", tmp_path)


@pytest.mark.parametrize(
    "environment", [{}, {"XDG_DATA_HOME": "/data"}, {"MOCO_DATA_DIR": "/elsewhere"}]
)
def test_the_data_folder_is_that_of_the_store(
    environment: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("XDG_DATA_HOME", "MOCO_DATA_DIR"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert load().data_dir == StoreSettings().data_dir


# specs


@pytest.mark.parametrize(
    ("sets", "spec"),
    [
        (["epochs=5"], {"epochs": 5}),
        (["optim.lr=0.06", "optim.name=sgd"], {"optim": {"lr": 0.06, "name": "sgd"}}),
        (["views.crop_scale=[0.2,1]"], {"views": {"crop_scale": [0.2, 1]}}),
        (["evaluation=null", "name=a=b"], {"evaluation": None, "name": "a=b"}),
        (["name=5 x"], {"name": "5 x"}),
    ],
)
def test_set(sets: list[str], spec: dict[str, object]) -> None:
    assert specs.with_sets({}, sets) == spec


@pytest.mark.parametrize("entry", ["epochs", "=5", "a..b=1", ".=1", "epochs.x=1"])
def test_a_set_that_says_nothing(entry: str) -> None:
    with pytest.raises(CommandError) as caught:
        specs.with_sets({"epochs": 3}, [entry])
    assert caught.value.code is Exit.USAGE


def test_options_go_over_the_file_and_leave_it_alone(tmp_path: Path) -> None:
    (tmp_path / "s.json").write_text('{"dataset": "a", "encoder": {"stem": "cifar"}}')
    spec = specs.load(tmp_path / "s.json")
    made = specs.with_options(spec, {"dataset": "b", "encoder.name": "small", "epochs": None})
    assert made == {"dataset": "b", "encoder": {"stem": "cifar", "name": "small"}}
    assert spec["dataset"] == "a"


@pytest.mark.parametrize("text", [None, "{", "[1]", '"x"'])
def test_a_spec_file_that_is_none(text: str | None, tmp_path: Path) -> None:
    if text is not None:
        (tmp_path / "s.json").write_text(text)
    with pytest.raises(CommandError):
        specs.load(tmp_path / "s.json")


# words


def test_numbers_as_people_read_them() -> None:
    assert [bytes_text(n) for n in (None, 0, 1536, 3 * 2**30)] == ["-", "0 B", "1.5 KiB", "3.0 GiB"]
    assert [duration_text(s) for s in (None, 0.25, 83, 5025)] == ["-", "0.2 s", "1:23", "1:23:45"]
    assert [ago_text(t, now_s=90_000.0) for t in (None, 89_990.0, 80_000.0, 0.0)] == [
        "-",
        "10 s ago",
        "3 h ago",
        "1 d ago",
    ]
    assert flat({"a": {"b": 1, "c": {}}, "d": [1]}) == {"a.b": 1, "a.c": {}, "d": [1]}
    assert flat({"a": [{"b": 1}, {"b": 2}]}) == {"a.0.b": 1, "a.1.b": 2}


@pytest.mark.parametrize(
    ("old", "new", "found"),
    [
        ([], ["a"], ["a"]),
        (["a", "b"], ["a", "b"], []),
        (["a", "b"], ["a", "b", "c"], ["c"]),
        (["b", "c"], ["a", "b", "c", "d"], ["d"]),
        (["a", "b", "c"], ["b", "c", "d"], ["d"]),
        (["a"], ["x", "y"], ["x", "y"]),
    ],
)
def test_lines_not_seen_yet(old: list[str], new: list[str], found: list[str]) -> None:
    assert unseen(old, new) == found


# the tracker


def event(at_ms: int, **body: object) -> Event:
    return Event(id=f"{at_ms}-0", event=body)


def test_a_tracker_tells_pace_by_the_servers_clock() -> None:
    tracker = JobTracker(Job(id="job_1", status="queued", spec={"epochs": 4}))
    assert tracker.feed(event(0, type="status", status="running"), now_s=0.0)
    tracker.feed(event(1000, type="started", step=0, steps_planned=100), now_s=0.0)
    assert tracker.eta_s is None
    signals = {"loss": 5.0, "chance_loss": 6.93, "top1": 0.25, "rows_per_s": 1234.0}
    stepped = event(11_000, type="stepped", step=20, epoch=0.8, signals=signals)
    assert not tracker.feed(stepped, now_s=0.0)
    assert tracker.eta_s == pytest.approx(40.0)
    evaluated = event(11_500, type="evaluated", step=20, epoch=0.8, signals={"knn_top1": 0.5})
    assert tracker.feed(evaluated, now_s=0.0)
    assert tracker.words() == (
        "epoch 0.8/4  step 20/100  loss 5.000 (chance 6.93)  top-1 25.0%  kNN 50.0%  "
        "1,234 images/s  ETA 0:42"
    )
    # A new attempt goes on from its checkpoint: the pace is measured anew.
    tracker.feed(event(60_000, type="started", step=10, steps_planned=100), now_s=0.0)
    assert tracker.eta_s is None
