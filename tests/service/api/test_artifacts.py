"""Downloads against the plainest oracle there is: slices of bytes."""

import base64
import hashlib
import random

import pytest

from service.files.safe_open import open_inside
from service.server.file_response import Span, parse_range
from service.server.problems import Problem
from tests.support.service.api import RunningApi, finished_job

RANDOM = random.Random(11)
CONTENT = RANDOM.randbytes(600_000)
SHA = hashlib.sha256(CONTENT).hexdigest()
ETAG = f'"sha256-{SHA}"'


@pytest.fixture(scope="module")
def job(api: RunningApi) -> str:
    files = {"encoder.safetensors": CONTENT, "hf/config.json": b"{}", "empty.txt": b""}
    return finished_job(api, files | {"card é\r\nx.md": b"card", "a/b/c": b"deep"})


def path_of(job: str, name: str = "encoder.safetensors") -> str:
    return f"/v1/jobs/{job}/artifacts/{name}"


def test_listed_with_size_and_hash(api: RunningApi, job: str) -> None:
    listed = api.client.get(f"/v1/jobs/{job}/artifacts").json()
    first = listed["data"][0]
    assert (first["name"], first["size_bytes"], first["sha256"]) == (
        "encoder.safetensors",
        len(CONTENT),
        SHA,
    )
    assert first["url"] == path_of(job)
    assert listed["has_more"] is False


def test_whole(api: RunningApi, job: str) -> None:
    answer = api.client.get(path_of(job))
    assert answer.status_code == 200
    assert answer.content == CONTENT
    headers = answer.headers
    assert headers["etag"] == ETAG
    digest = base64.b64encode(hashlib.sha256(CONTENT).digest()).decode()
    assert headers["repr-digest"] == f"sha-256=:{digest}:"
    assert headers["accept-ranges"] == "bytes"
    assert headers["content-disposition"] == 'attachment; filename="encoder.safetensors"'
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["cache-control"].startswith("private")


def test_head_has_the_same_headers_and_no_bytes(api: RunningApi, job: str) -> None:
    whole, head = api.client.get(path_of(job)), api.client.head(path_of(job))
    differ = {"date", "x-request-id"}
    assert head.content == b""
    assert {k: v for k, v in head.headers.items() if k not in differ} == {
        k: v for k, v in whole.headers.items() if k not in differ
    }
    ranged = api.client.head(path_of(job), headers={"Range": "bytes=0-1"})
    assert ranged.status_code == 200, "a range means nothing to HEAD"


def test_ranges_are_slices(api: RunningApi, job: str) -> None:
    size = len(CONTENT)
    pairs = [(0, 0), (0, size - 1), (size - 1, size - 1), (262_143, 262_145)]
    pairs += [tuple(sorted(RANDOM.sample(range(size), 2))) for _ in range(20)]  # type: ignore[misc]
    asked = [(f"bytes={a}-{b}", a, b + 1) for a, b in pairs]
    asked += [("bytes=5-", 5, size), ("bytes=-7", size - 7, size), (f"bytes=-{size * 2}", 0, size)]
    asked += [(f"bytes=9-{size * 9}", 9, size), (" bytes = 1-2".strip(), 1, 3)]
    for header, start, end in asked:
        answer = api.client.get(path_of(job), headers={"Range": header})
        assert answer.status_code == 206, header
        assert answer.content == CONTENT[start:end], header
        assert answer.headers["content-range"] == f"bytes {start}-{end - 1}/{size}"
        assert int(answer.headers["content-length"]) == end - start
        assert answer.headers["etag"] == ETAG


def test_an_unknown_unit_is_ignored(api: RunningApi, job: str) -> None:
    answer = api.client.get(path_of(job), headers={"Range": "rows=0-1"})
    assert (answer.status_code, answer.content) == (200, CONTENT)


@pytest.mark.parametrize(
    ("tag", "status"),
    [
        (ETAG, 206),
        ('"sha256-0"', 200),
        (f"W/{ETAG}", 200),
        ("Sun, 06 Nov 1994 08:49:37 GMT", 200),
    ],
)
def test_if_range_takes_only_the_very_same_bytes(
    tag: str, status: int, api: RunningApi, job: str
) -> None:
    headers = {"Range": "bytes=10-19", "If-Range": tag}
    answer = api.client.get(path_of(job), headers=headers)
    assert answer.status_code == status
    assert answer.content == (CONTENT[10:20] if status == 206 else CONTENT)


@pytest.mark.parametrize(
    ("tags", "status"),
    [
        (ETAG, 304),
        (f"W/{ETAG}", 304),
        (f'"x", {ETAG}', 304),
        ("*", 304),
        ('"x"', 200),
        (SHA, 200),
    ],
)
def test_if_none_match(tags: str, status: int, api: RunningApi, job: str) -> None:
    for ask in (api.client.get, api.client.head):
        answer = ask(path_of(job), headers={"If-None-Match": tags})
        assert answer.status_code == status
        assert answer.headers["etag"] == ETAG
        if status == 304:
            assert answer.content == b""


def test_resumed_after_a_break(api: RunningApi, job: str) -> None:
    """Resume as `curl -C -` does."""
    with api.client.stream("GET", path_of(job)) as answer:
        part = next(answer.iter_raw(100_000))
    headers = {"Range": f"bytes={len(part)}-", "If-Range": ETAG}
    rest = api.client.get(path_of(job), headers=headers).content
    assert hashlib.sha256(part + rest).hexdigest() == SHA


def test_a_file_in_a_folder(api: RunningApi, job: str) -> None:
    answer = api.client.get(path_of(job, "hf/config.json"))
    assert answer.content == b"{}"
    assert answer.headers["content-disposition"] == 'attachment; filename="hf-config.json"'
    assert answer.headers["content-type"].startswith("application/json")
    assert api.client.head(path_of(job, "hf/config.json")).status_code == 200


@pytest.mark.parametrize(
    "name",
    [
        "card%20%C3%A9%0D%0Ax.md",
        "a/b/c",
        "hf",
        "hf/",
        "hf//config.json",
        "hf%2Fconfig.json",
        "..%2Fencoder.safetensors",
        "hf/..%2Fencoder.safetensors",
        "%2Fetc%2Fpasswd",
    ],
)
def test_no_file_of_another_name_is_served(name: str, api: RunningApi, job: str) -> None:
    """Not even one that the job's list has."""
    assert api.client.get(path_of(job, name)).status_code == 404


def test_empty_files(api: RunningApi, job: str) -> None:
    empty = api.client.get(path_of(job, "empty.txt"))
    assert (empty.status_code, empty.content) == (200, b"")
    ranged = api.client.get(path_of(job, "empty.txt"), headers={"Range": "bytes=0-"})
    assert ranged.status_code == 416


def test_downloads_are_counted(api: RunningApi, job: str) -> None:
    page = api.client.get("/metrics").text
    assert 'moco_artifact_downloads_total{format="safetensors"}' in page
    assert job not in page


def test_no_link_is_followed(api: RunningApi) -> None:
    root = api.data_dir / "links"
    (root / "real").mkdir(parents=True)
    (root / "real/file").write_text("x")
    (root / "folder").symlink_to("real")
    (root / "real/link").symlink_to("file")
    (root / "real/up").symlink_to("/etc/passwd")
    with open_inside(root, "real/file") as file:
        assert file.read() == b"x"
    for bad in ("folder/file", "real/link", "real/up", "real", "../x", "/etc/passwd", "", "a\0b"):
        with pytest.raises(FileNotFoundError):
            open_inside(root, bad)


@pytest.mark.parametrize(
    "header",
    ["bytes=", "bytes=1", "bytes=+1-2", "bytes=0x1-2", "bytes=\u0661-\u0662", "bytes=3-2"],
)
def test_odd_ranges_are_refused_quickly(header: str) -> None:
    with pytest.raises(Problem, match=r"range|bytes"):
        parse_range(header, 100)


@pytest.mark.parametrize(
    ("header", "span"),
    [
        ("bytes=0-0", Span(0, 1)),
        ("bytes=5-" + "9" * 500, Span(5, 100)),  # RFC 9110, 14.1.2: the last byte, if that is less
        ("bytes=0-18446744073709551616", Span(0, 100)),
        ("bytes=-" + "9" * 500, Span(0, 100)),
        ("bytes=-" + "0" * 30 + "7", Span(93, 100)),
        ("bytes=2-3, ,", Span(2, 4)),
        ("bytes=0-1,3-4", None),
        ("bytes=0-1,200-", None),
        ("lines=1-2", None),
    ],
)
def test_a_range_is_read_as_rfc_9110_has_it(header: str, span: Span | None) -> None:
    assert parse_range(header, 100) == span


@pytest.mark.parametrize("header", ["bytes=200-300,-0", "bytes=" + "9" * 500 + "-", "bytes=0-1,x"])
def test_ranges_of_which_none_is_inside_are_refused(header: str) -> None:
    with pytest.raises(Problem) as refusal:
        parse_range(header, 100)
    assert refusal.value.headers["Content-Range"] == "bytes */100"


def test_ten_thousand_ranges_cost_nothing() -> None:
    assert parse_range("bytes=" + ",".join(f"{n}-{n}" for n in range(10_000)), 100) is None
