"""The table of bad requests: each has its status and its problem, and none ever a trace.

To add one, add a row to a table. `{ready}`, `{received}`, `{queued}`, `{done}` and so on in a
path or a body stand for things that the fixture `world` made.
"""

from typing import Any, NamedTuple

from tests.support.service.api import Loose

JSON = {"Content-Type": "application/json"}
NO_JOB = "job_" + "0" * 26
SHA = "ab" * 32


class Bad(NamedTuple):
    """One bad request and its answer."""

    title: str
    method: str
    path: str
    status: int
    code: str
    json: Any = None
    content: bytes | None = None
    headers: dict[str, str] = {}  # noqa: RUF012  # a default of a NamedTuple is never changed
    pointer: str | None = None


def job(title: str, body: Loose, pointer: str, code: str = "invalid", **more: Loose) -> Bad:
    """A JobSpec with one wrong field."""
    spec = {"dataset": "{ready}"} | body
    return Bad(title, "POST", "/v1/jobs", 422, code, json=spec, pointer=pointer, **more)


def raw(
    title: str, content: bytes, status: int = 400, code: str = "bad_json", **more: Loose
) -> Bad:
    """A body that is no good JSON."""
    return Bad(
        title, "POST", "/v1/jobs", status, code, content=content, headers=more.pop("headers", JSON)
    )


def dataset(title: str, body: Loose, pointer: str, status: int = 422, code: str = "invalid") -> Bad:
    """A dataset with one wrong field."""
    return Bad(title, "POST", "/v1/datasets", status, code, json=body, pointer=pointer)


def put(title: str, status: int, code: str, *, on: str = "{received}", **more: Loose) -> Bad:
    """An upload that cannot be taken."""
    return Bad(title, "PUT", f"/v1/datasets/{on}/content", status, code, **more)


def get(title: str, path: str, status: int, code: str, **more: Loose) -> Bad:
    """A question that has no answer."""
    return Bad(title, "GET", path, status, code, **more)


BODIES = [
    raw("empty body", b""),
    raw("half an object", b'{"dataset": "x"'),
    raw("two values", b'{"dataset": "x"} {}'),
    raw("single quotes", b"{'dataset': 'x'}"),
    raw("trailing comma", b'{"dataset": "x",}'),
    raw("not UTF-8", b'{"dataset": "\xff"}'),
    raw("NaN", b'{"dataset": "{ready}", "checkpoint_every_s": NaN}'),
    raw("Infinity", b'{"dataset": "x", "checkpoint_every_s": Infinity}'),
    raw("a key twice", b'{"dataset": "x", "dataset": "y"}'),
    raw("33 deep", b'{"dataset": ' + b"[" * 33 + b"]" * 33 + b"}"),
    raw("30,000 deep", b"[" * 30_000 + b"]" * 30_000),
    raw("30,000 objects deep", b'{"a":' * 10_000),
    raw("a number of 5,000 digits", b'{"dataset": "x", "seed": ' + b"9" * 5000 + b"}"),
    raw("64 KiB and a byte", b'{"dataset": "' + b"x" * 65_536 + b'"}', 413, "too_large"),
    raw("ten megabytes", b" " * 10_000_000, 413, "too_large"),
    raw("no content type", b"{}", 415, "unsupported_media_type", headers={"Content-Type": ""}),
    raw(
        "a form",
        b"dataset=x",
        415,
        "unsupported_media_type",
        headers={"Content-Type": "application/x-www-form-urlencoded"},
    ),
    raw(
        "text",
        b"{}",
        415,
        "unsupported_media_type",
        headers={"Content-Type": "text/plain"},
    ),
    raw(
        "compressed",
        b"\x1f\x8b",
        415,
        "unsupported_media_type",
        headers=JSON | {"Content-Encoding": "gzip"},
    ),
    raw("1e400", b'{"dataset": "x", "checkpoint_every_s": 1e400}', 422, "invalid"),
    raw(
        "a number of 4,000 digits",
        b'{"dataset": "x", "seed": ' + b"9" * 4000 + b"}",
        422,
        "invalid",
    ),
    raw("a list", b"[]", 422, "invalid"),
    raw("a number", b"7", 422, "invalid"),
    raw("null", b"null", 422, "invalid"),
]

SPECS = [
    Bad("no dataset", "POST", "/v1/jobs", 422, "invalid", json={}, pointer="#/dataset"),
    job("unknown field", {"epoch": 3}, "#/epoch"),
    job("unknown field inside", {"method": {"queue": 7}}, "#/method/queue"),
    job("a state that is ours", {"status": "succeeded"}, "#/status"),
    job("a number as text", {"epochs": "3"}, "#/epochs"),
    job("a number with a fraction", {"epochs": 1.5}, "#/epochs"),
    job("true for a number", {"epochs": True}, "#/epochs"),
    job("text for an object", {"encoder": "resnet18"}, "#/encoder"),
    job("null where none may be", {"encoder": None}, "#/encoder"),
    job("epochs 0", {"epochs": 0}, "#/epochs"),
    job("epochs below 0", {"epochs": -1}, "#/epochs"),
    job("too many epochs", {"epochs": 100_001}, "#/epochs"),
    job("a batch of one", {"batch_rows": 1}, "#/batch_rows"),
    job("a seed of 64 bits", {"seed": 2**63}, "#/seed"),
    job("unknown encoder", {"encoder": {"name": "resnet1"}}, "#/encoder/name"),
    job("unknown optimizer", {"optim": {"name": "adagrad"}}, "#/optim"),
    job("a field of another optimizer", {"optim": {"name": "sgd", "beta1": 0.9}}, "#/optim/beta1"),
    job("k 0", {"evaluation": {"k": 0}}, "#/evaluation/k"),
    job("k 0 in a list", {"evaluation": [{"k": 0}]}, "#/evaluation/0/k"),
    job("an evaluator twice", {"evaluation": [{"k": 5}, {"k": 9}]}, "#/evaluation"),
    job("an empty list of evaluators", {"evaluation": []}, "#/evaluation"),
    job("an unknown evaluator", {"evaluation": [{"name": "oracle"}]}, "#/evaluation/0"),
    job("temperature 0", {"method": {"temperature": 0.0}}, "#/method/temperature"),
    job("momentum 1", {"method": {"momentum": 1.0}}, "#/method/momentum"),
    job("a queue of 2^20 + 1", {"method": {"queue_rows": 2**20 + 1}}, "#/method/queue_rows"),
    job("a crop that falls", {"views": {"crop_scale": [0.9, 0.1]}}, "#/views"),
    job(
        "a crop of three numbers", {"views": {"crop_scale": [0.1, 0.2, 0.3]}}, "#/views/crop_scale"
    ),
    job("a pool with a slash", {"pool": "../x"}, "#/pool"),
    job("a name of 129 letters", {"name": "x" * 129}, "#/name"),
    job("half a surrogate", {"name": "\ud800"}, "#/name"),
    job("17 words of metadata", {"metadata": {str(n): "" for n in range(17)}}, "#/metadata"),
    job("unknown dataset", {"dataset": "nowhere"}, "#/dataset", "no_dataset"),
    job("a path for a dataset", {"dataset": "../../etc/passwd"}, "#/dataset", "no_dataset"),
    job("unknown test dataset", {"test_dataset": "nowhere"}, "#/test_dataset", "no_dataset"),
    job("test dataset without labels", {"test_dataset": "{unlabelled}"}, "#/test_dataset"),
    job("test dataset with other labels", {"test_dataset": "{birds}"}, "#/test_dataset"),
    Bad(
        "more rows in a batch than there are",
        *("POST", "/v1/jobs", 422, "bad_spec"),
        json={"dataset": "{ready}", "batch_rows": 4096},
        pointer="#/batch_rows",
    ),
    Bad(
        "a dataset that has no bytes yet",
        *("POST", "/v1/jobs", 409, "dataset_not_ready"),
        json={"dataset": "{received}"},
    ),
    Bad(
        "an Idempotency-Key of 256 letters",
        *("POST", "/v1/jobs", 400, "bad_header"),
        json={"dataset": "{ready}"},
        headers={"Idempotency-Key": "k" * 256},
    ),
    Bad(
        "an Idempotency-Key with another body",
        *("POST", "/v1/jobs", 422, "idempotency_conflict"),
        json={"dataset": "{ready}", "epochs": 9},
        headers={"Idempotency-Key": "used"},
    ),
    Bad(
        "dry_run that is neither true nor false",
        *("POST", "/v1/jobs?dry_run=perhaps", 422, "invalid"),
        json={"dataset": "{ready}"},
        pointer="query/dry_run",
    ),
]

CONTROL = ("\x1b[31m", "a\nb", "a\x00b", "a\u202eb", "a\x9bb", "a\x7fb", "a\u2066b", "a\u2028b")
"""Control characters that a terminal or a browser would obey."""
SPECS += [
    job(f"{title} with {text!a}", body, pointer)
    for text in CONTROL
    for title, body, pointer in (
        ("a name", {"name": text}, "#/name"),
        ("a dataset", {"dataset": text}, "#/dataset"),
        ("a test dataset", {"test_dataset": text}, "#/test_dataset"),
        ("metadata", {"metadata": {"team": text}}, "#/metadata/team"),
        ("a word of metadata", {"metadata": {text: "x"}}, "#/metadata/"),
        ("an encoder", {"encoder": {"name": text}}, "#/encoder/name"),
        ("a field", {text: 1}, "#/"),
    )
]

DATASETS = [
    *(
        dataset(f"{title} with {text!a}", {"name": "new"} | body, pointer)
        for text in CONTROL
        for title, body, pointer in (
            ("a name", {"name": text}, "#/name"),
            ("a path", {"path": f"/{text}"}, "#/path"),
        )
    ),
    dataset("no name", {}, "#/name"),
    dataset("a name with a slash", {"name": "a/b"}, "#/name"),
    dataset("a name like an id", {"name": "ds_x"}, "#"),
    dataset("an empty name", {"name": ""}, "#/name"),
    dataset("unknown format", {"name": "n", "format": "rar"}, "#/format"),
    dataset("unknown way to keep rows", {"name": "n", "store_as": "webp"}, "#/store_as"),
    dataset("a range upside down", {"name": "n", "options": {"range": "9:1"}}, "#/options/range"),
    dataset("17 channels", {"name": "n", "options": {"channels": 17}}, "#/options/channels"),
    dataset("an unknown option", {"name": "n", "options": {"size": 1}}, "#/options/size"),
    dataset(
        "more pixels than the server allows",
        {"name": "n", "options": {"pixels_max": 2_000_000_000}},
        "#/options/pixels_max",
    ),
    dataset("a folder without a path", {"name": "n", "format": "folder"}, "#"),
    dataset("a size of 0", {"name": "n", "size_bytes": 0}, "#/size_bytes"),
    dataset("a sha256 that is short", {"name": "n", "sha256": "ab"}, "#/sha256"),
    dataset("a sha256 in capitals", {"name": "n", "sha256": "AB" * 32}, "#/sha256"),
    dataset("a relative path", {"name": "n", "path": "x/y"}, "#/path"),
    dataset("a path with a NUL", {"name": "n", "path": "/x\0"}, "#/path"),
    dataset("a path and a size", {"name": "n", "path": "/x", "size_bytes": 1}, "#"),
    dataset("an id", {"name": "n", "id": "ds_1"}, "#/id"),
    dataset("a path that is not there", {"name": "n", "path": "{allowed}/none"}, "#/path"),
    dataset(
        "a name too long for a disk", {"name": "n", "path": "{allowed}/" + "x" * 300}, "#/path"
    ),
    dataset("links in a circle", {"name": "n", "path": "{allowed}/circle"}, "#/path"),
    Bad(
        "a path outside",
        *("POST", "/v1/datasets", 403, "path_not_allowed"),
        json={"name": "n", "path": "/etc/passwd"},
    ),
    Bad(
        "a path that climbs out",
        *("POST", "/v1/datasets", 403, "path_not_allowed"),
        json={"name": "n", "path": "{allowed}/../data"},
    ),
    Bad(
        "a path through a link",
        *("POST", "/v1/datasets", 403, "path_not_allowed"),
        json={"name": "n", "path": "{allowed}/link"},
    ),
    Bad(
        "a name that is taken",
        *("POST", "/v1/datasets", 409, "name_taken"),
        json={"name": "{ready}"},
    ),
    Bad(
        "larger than an upload may be",
        *("POST", "/v1/datasets", 413, "too_large"),
        json={"name": "n", "size_bytes": 2**40},
    ),
    get("unknown dataset", "/v1/datasets/nowhere", 404, "not_found"),
    get("a name no dataset can have", "/v1/datasets/a%20b", 404, "not_found"),
    get("its report", "/v1/datasets/nowhere/report", 404, "not_found"),
    get("a preview too early", "/v1/datasets/{received}/preview.png", 409, "dataset_not_ready"),
    get("a preview that is gone", "/v1/datasets/{ready}/preview.png", 410, "artifact_missing"),
    get("a cursor of another kind", "/v1/datasets?after=job_1", 400, "bad_cursor"),
    get("a report cursor in words", "/v1/datasets/{ready}/report?after=x", 400, "bad_cursor"),
    get("a limit of 0", "/v1/datasets?limit=0", 422, "invalid", pointer="query/limit"),
]

UPLOADS = [
    put("a part by Content-Range", 400, "bad_header", headers={"Content-Range": "bytes 0-1/9"}),
    put("only if it is as it was", 412, "precondition_failed", headers={"If-Match": '"x"'}),
    put("unknown dataset", 404, "not_found", on="nowhere", content=b"x"),
    put("a ready dataset", 409, "wrong_state", on="{ready}", content=b"x"),
    put("a dataset read in place", 409, "wrong_state", on="{in_place}", content=b"x"),
    put("an offset ahead", 409, "wrong_offset", content=b"x", headers={"Upload-Offset": "5"}),
    put("an offset below 0", 422, "invalid", content=b"x", headers={"Upload-Offset": "-1"}),
    put("an offset in words", 422, "invalid", content=b"x", headers={"Upload-Offset": "x"}),
    put("nothing", 422, "invalid", content=b""),
    put("more than announced", 422, "size_mismatch", on="{announced}", content=b"x" * 11),
    put("other bytes than announced", 422, "sha256_mismatch", on="{announced}", content=b"x" * 10),
    put("more than the limit", 413, "too_large", content=b"x" * (4 * 2**20 + 1)),
    put(
        "a form",
        *(415, "unsupported_media_type"),
        content=b"x",
        headers={"Content-Type": "multipart/form-data; boundary=x"},
    ),
    put(
        "compressed on the way",
        *(415, "unsupported_media_type"),
        content=b"x",
        headers={"Content-Encoding": "gzip"},
    ),
]

ARTIFACT = "/v1/jobs/{done}/artifacts/encoder.bin"
JOBS = [
    get("unknown job", f"/v1/jobs/{NO_JOB}", 404, "not_found"),
    get("an id of another form", "/v1/jobs/17", 404, "not_found"),
    get("a dataset's id", "/v1/jobs/ds_" + "0" * 26, 404, "not_found"),
    get("an id with a NUL", "/v1/jobs/job_%00", 404, "not_found"),
    get("an id that climbs", "/v1/jobs/..%2f..%2fetc", 404, "not_found"),
    get("unknown status", "/v1/jobs?status=done", 422, "invalid", pointer="query/status/0"),
    get("a limit of 101", "/v1/jobs?limit=101", 422, "invalid", pointer="query/limit"),
    get("a limit in words", "/v1/jobs?limit=all", 422, "invalid", pointer="query/limit"),
    get("a bad cursor", "/v1/jobs?after=yesterday", 400, "bad_cursor"),
    get("unknown job's events", f"/v1/jobs/{NO_JOB}/events", 404, "not_found"),
    get("a bad event cursor", "/v1/jobs/{done}/events?after=x", 400, "bad_cursor"),
    get(
        "a bad Last-Event-ID",
        *("/v1/jobs/{done}/events", 400, "bad_cursor"),
        headers={"Last-Event-ID": "x", "Accept": "text/event-stream"},
    ),
    get(
        "events as XML",
        *("/v1/jobs/{done}/events", 406, "not_acceptable"),
        headers={"Accept": "application/xml"},
    ),
    get("an unknown signal", "/v1/jobs/{done}/metrics?names=los", 422, "invalid"),
    get("one point", "/v1/jobs/{done}/metrics?max_points=1", 422, "invalid"),
    get(
        "a step in words",
        *("/v1/jobs/{done}/metrics?from_step=x", 422, "invalid"),
        pointer="query/from_step",
    ),
    get(
        "a step below zero",
        *("/v1/jobs/{done}/metrics?to_step=-1", 422, "invalid"),
        pointer="query/to_step",
    ),
    get(
        "a step beyond all",
        *(f"/v1/jobs/{{done}}/metrics?from_step={2**64}", 422, "invalid"),
        pointer="query/from_step",
    ),
    get(
        "a range that falls",
        *("/v1/jobs/{done}/metrics?from_step=9&to_step=8", 422, "invalid"),
        pointer="query/to_step",
    ),
    get("no lines", "/v1/jobs/{done}/logs?tail=0", 422, "invalid"),
    get("unknown job's log", f"/v1/jobs/{NO_JOB}/logs", 404, "not_found"),
    get("unknown job's attempts", f"/v1/jobs/{NO_JOB}/attempts", 404, "not_found"),
    get("unknown job's checkpoints", f"/v1/jobs/{NO_JOB}/checkpoints", 404, "not_found"),
    get("unknown artifact", "/v1/jobs/{done}/artifacts/spec.json", 404, "not_found"),
    get("a file beside", "/v1/jobs/{done}/artifacts/secret.txt", 404, "not_found"),
    get("climbing", "/v1/jobs/{done}/artifacts/..%2f..%2f..%2fapi.key", 404, "not_found"),
    get("climbing twice coded", "/v1/jobs/{done}/artifacts/%252e%252e", 404, "not_found"),
    get("backslashes", "/v1/jobs/{done}/artifacts/..%5c..%5capi.key", 404, "not_found"),
    get("an artifact that is gone", "/v1/jobs/{done}/artifacts/gone.bin", 410, "artifact_missing"),
    get("an artifact cut short", "/v1/jobs/{done}/artifacts/short.bin", 500, "storage"),
    get(
        "an artifact that is a link", "/v1/jobs/{done}/artifacts/link.bin", 410, "artifact_missing"
    ),
    get("a range behind the end", ARTIFACT, 416, "bad_range", headers={"Range": "bytes=100-"}),
    get("two ranges outside", ARTIFACT, 416, "bad_range", headers={"Range": "bytes=10-,30-"}),
    get("a file that changed", ARTIFACT, 412, "precondition_failed", headers={"If-Match": '"x"'}),
    get(
        "a file by a weak tag",
        *(ARTIFACT, 412, "precondition_failed"),
        headers={"If-Match": 'W/"sha256-0"'},
    ),
    get(
        "a list that has no tag",
        *("/v1/jobs", 412, "precondition_failed"),
        headers={"If-Match": '"x"'},
    ),
    *(
        Bad(
            f"{verb} what changed",
            *("POST", f"/v1/jobs/{{queued}}/{verb}", 412, "precondition_failed"),
            headers={"If-Match": '"1-0"'},
        )
        for verb in ("cancel", "pause", "resume")
    ),
    Bad(
        "delete what changed",
        *("DELETE", "/v1/jobs/{done}", 412, "precondition_failed"),
        headers={"If-Match": '"1-0"'},
    ),
    get("a range that falls", ARTIFACT, 416, "bad_range", headers={"Range": "bytes=5-2"}),
    get("a range in words", ARTIFACT, 416, "bad_range", headers={"Range": "bytes=a-b"}),
    get("an empty range", ARTIFACT, 416, "bad_range", headers={"Range": "bytes=-"}),
    get("the last 0 bytes", ARTIFACT, 416, "bad_range", headers={"Range": "bytes=-0"}),
    Bad("resume what runs", "POST", "/v1/jobs/{running}/resume", 409, "wrong_state"),
    Bad("cancel what ended", "POST", "/v1/jobs/{done}/cancel", 409, "wrong_state"),
    Bad("pause what ended", "POST", "/v1/jobs/{done}/pause", 409, "wrong_state"),
    Bad("resume what waits", "POST", "/v1/jobs/{queued}/resume", 409, "wrong_state"),
    Bad("cancel nothing", "POST", f"/v1/jobs/{NO_JOB}/cancel", 404, "not_found"),
    Bad("delete what runs", "DELETE", "/v1/jobs/{running}", 409, "wrong_state"),
    Bad("delete what waits", "DELETE", "/v1/jobs/{queued}", 409, "wrong_state"),
    Bad("delete nothing", "DELETE", f"/v1/jobs/{NO_JOB}", 404, "not_found"),
    Bad("delete an ingest", "DELETE", "/v1/jobs/{ingest}", 409, "wrong_state"),
    Bad("drain nobody", "POST", "/v1/workers/nobody/drain", 404, "not_found"),
    Bad("undrain nobody", "POST", "/v1/workers/nobody/undrain", 404, "not_found"),
]

PATHS = [
    get("no route", "/v1/nothing", 404, "not_found"),
    get("an encoded slash", "/v1%2fjobs", 404, "not_found"),
    get("an encoded slash, in capitals", "/v1%2Fjobs", 404, "not_found"),
    get("an encoded slash before a page", "/ui%2Fjobs", 404, "not_found"),
    get("a state", "/v1/jobs?state=failed", 422, "invalid", pointer="query/state"),
    get("a parameter twice", "/v1/jobs?limit=1&limit=2", 422, "invalid", pointer="query/limit"),
    Bad(
        *("a dry run by another name", "POST", "/v1/jobs?dryrun=true", 422, "invalid"),
        json={"dataset": "{ready}"},
        pointer="query/dryrun",
    ),
    get("a slash too many", "/v1/jobs/", 404, "not_found"),
    get("two slashes", "//v1/jobs", 404, "not_found"),
    get("another version", "/v2/jobs", 404, "not_found"),
    get("climbing", "/v1/../../etc/passwd", 404, "not_found"),
    Bad("PUT on jobs", "PUT", "/v1/jobs", 405, "method_not_allowed"),
    Bad("PATCH on a job", "PATCH", f"/v1/jobs/{NO_JOB}", 405, "method_not_allowed"),
    Bad("POST on content", "POST", "/v1/datasets/x/content", 405, "method_not_allowed"),
    Bad("an invented method", "BREW", "/v1/jobs", 400, "bad_request"),
]

CASES = [*BODIES, *SPECS, *DATASETS, *UPLOADS, *JOBS, *PATHS]
