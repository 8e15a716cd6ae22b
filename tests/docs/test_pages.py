"""Every code block of `docs/`, run from top to bottom against a real service."""

import json
import os
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from tests.support.data.digits import write_digits
from tests.support.docs.code_blocks import (
    LANGUAGES,
    Block,
    blocks,
    commands,
    fixtures,
    matches,
    run_console,
    run_python,
)

REPO = Path(__file__).resolve().parents[2]
PAGES = sorted((REPO / "docs").glob("*.md"))
DECISIONS = sorted((REPO / "docs" / "decisions").glob("*.md"))
LONG = {"scaling.md"}
"""Pages that `make chaos` runs: they start a dozen processes."""
RUN = [
    pytest.param(page, marks=[pytest.mark.chaos] if page.name in LONG else [])
    for page in PAGES
    if any(not b.skip for b in blocks(page.read_text()))
]
FIXTURES = {"service", "photos"}


def name(path: Path) -> str:
    return path.name


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """The environment of a reader whose `moco up` runs in another shell."""
    data_dir = tmp_path_factory.mktemp("service")
    env = {key: value for key, value in os.environ.items() if not key.startswith("MOCO_")}
    env |= {
        "MOCO_DATA_DIR": str(data_dir),
        "XDG_CONFIG_HOME": str(data_dir / "config"),
        "OMP_NUM_THREADS": "1",
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{env['PATH']}",
        "PYTHONPATH": str(REPO),
    }
    up = [sys.executable, "-m", "service.cli", "up", "--json", "--port", "0", "--device", "cpu"]
    up += ["--workers", "2"]  # a job of docs/scaling.md takes both slots
    process = subprocess.Popen(
        up,
        # Compiling the views takes longer than all the trainings of the pages.
        env={**env, "MOCO_THREADS": "1", "MOCO_COMPILE_AHEAD": "false"},
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    try:
        assert process.stdout is not None
        for line in process.stdout:
            if json.loads(line)["event"] == "ready":
                break
        yield env
    finally:
        process.terminate()
        process.communicate(timeout=60)


def make_photos(folder: Path) -> None:
    """Write a reader's files: images in `photos`, some with labels, a few damaged."""
    write_digits(folder / "photos", first=0, count=200)
    write_digits(folder / "photos-test", first=200, count=100)
    (folder / "photos" / "0" / "broken.png").write_bytes(b"\x89PNG no more")


@pytest.mark.slow
@pytest.mark.parametrize("page", RUN, ids=name)
def test_every_block_runs(page: Path, request: pytest.FixtureRequest, tmp_path: Path) -> None:
    text = page.read_text()
    wanted = fixtures(text)
    env = dict(os.environ)
    if "service" in wanted:
        env = request.getfixturevalue("service")
    if "photos" in wanted:
        make_photos(tmp_path)
    for block in blocks(text):
        if block.skip:
            continue
        check(block, cwd=tmp_path, env=env)


def check(block: Block, *, cwd: Path, env: dict[str, str]) -> None:
    """Run a block, or read it."""
    match block.language:
        case "console":
            run_console(block, cwd=cwd, env=env)
        case "python":
            run_python(block, cwd=cwd, env=env)
        case "json":
            json.loads(block.text)
        case "toml":
            tomllib.loads(block.text)
        case "yaml":
            yaml.safe_load(block.text)


@pytest.mark.parametrize("page", [*PAGES, *DECISIONS], ids=name)
def test_a_page_has_only_blocks_that_are_run_or_read(page: Path) -> None:
    text = page.read_text()
    assert text.count("```") % 2 == 0
    assert fixtures(text) <= FIXTURES
    for block in blocks(text):
        assert block.language in LANGUAGES, f"line {block.line}"
        if block.skip:
            assert len(block.skip.split()) >= 3, f"line {block.line}: why?"


def test_the_index_names_every_page() -> None:
    index = (REPO / "docs" / "README.md").read_text()
    for page in PAGES:
        assert page.name == "README.md" or f"]({page.name})" in index, page.name


def test_the_runner_sees_what_is_wrong(tmp_path: Path) -> None:
    """A command that fails, one that prints something else, and a program that raises."""
    page = "```console\n$ echo one; echo two \\\n   three\none\ntwo ...\n$ true\n```\n"
    (block,) = blocks(page)
    assert [command.text for command in commands(block)] == ["echo one; echo two    three", "true"]
    env = {"PATH": os.environ["PATH"]}
    run_console(block, cwd=tmp_path, env=env)
    for text in ("$ false\n", "$ echo one\ntwo\n", "$ echo b; echo a\na\nb\n"):
        with pytest.raises(AssertionError):
            run_console(block._replace(text=text), cwd=tmp_path, env=env)
    with pytest.raises(AssertionError):
        run_python(block._replace(text="1 / 0"), cwd=tmp_path, env=env)
    assert matches("a ... c\n", "x\na  b c\n")
    assert not matches("a ... c\n", "x\na b\n")
    (skipped,) = blocks("<!-- test: skip needs a GPU -->\n" + page)
    assert skipped.skip == "needs a GPU"
    assert shutil.which("bash")
