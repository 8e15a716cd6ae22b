"""Rules that no linter knows. A new one lands here, in the commit that needs it."""

import ast
import io
import re
import subprocess
import sys
import tokenize
from collections.abc import Iterator
from pathlib import Path
from typing import get_args

import pytest

from trainer.evaluators.registry import evaluator_names
from trainer.methods.registry import method_names
from trainer.modalities.image.encoders.spec import EncoderName
from trainer.pretexts.registry import pretext_names

REPO = Path(__file__).resolve().parents[1]
PACKAGES = ("mocoserve", "trainer", "service", "worker")
SOURCES = [path for package in PACKAGES for path in sorted((REPO / package).rglob("*.py"))]
TESTS = sorted((REPO / "tests").rglob("*.py"))
MODULE_LINES_MAX = 450
FUNCTION_LINES_MAX = 60
DOORS = {"mocoserve/__init__.py": ('from mocoserve.client import Client\n\n__all__ = ["Client"]\n')}
"""Packages that users import from, with what they give; every other `__init__.py` is empty."""


def _name(path: Path) -> str:
    return path.relative_to(REPO).as_posix()


def _tracked() -> list[Path]:
    """Return the files that git tracks; skip where this is no checkout."""
    try:
        done = subprocess.run(["git", "ls-files", "-z"], cwd=REPO, capture_output=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("not a git checkout")
    return [
        path for name in done.stdout.decode().split("\0")[:-1] if (path := REPO / name).exists()
    ]


def test_the_generated_pages_are_up_to_date() -> None:
    done = subprocess.run(
        [sys.executable, "docs/generate.py", "--check"],
        cwd=REPO,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr


def test_every_link_of_a_page_leads_somewhere() -> None:
    for page in [*REPO.glob("*.md"), *(REPO / "docs").rglob("*.md")]:
        for target in re.findall(r"\]\(([^)#\s]+)\)", page.read_text()):
            assert "://" in target or (page.parent / target).exists(), f"{_name(page)}: {target}"


@pytest.mark.parametrize("path", [*SOURCES, *TESTS], ids=_name)
def test_a_module_fits_a_few_screens(path: Path) -> None:
    assert len(path.read_text().splitlines()) <= MODULE_LINES_MAX


@pytest.mark.parametrize("path", [*SOURCES, *TESTS], ids=_name)
def test_a_function_fits_one_screen(path: Path) -> None:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            lines = (node.end_lineno or 0) - node.lineno + 1
            assert lines <= FUNCTION_LINES_MAX, f"{node.name} has {lines} lines"


@pytest.mark.parametrize("path", SOURCES, ids=_name)
def test_a_module_says_what_it_is(path: Path) -> None:
    text = path.read_text()
    if path.name == "__init__.py" and _name(path) not in DOORS:
        assert not text
        return
    first = (ast.get_docstring(ast.parse(text)) or "").partition("\n")[0]
    assert first.endswith((".", ":", "!"))


@pytest.mark.parametrize("path", SOURCES, ids=_name)
def test_nothing_unpickles_runs_a_shell_or_extracts_by_name(path: Path) -> None:
    tree = ast.parse(path.read_text())
    assert _imported(tree).isdisjoint({"pickle", "dill", "cloudpickle", "joblib", "shelve"})
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            assert _called(node) not in {"extractall", "eval", "exec", "system"}
            keywords = {word.arg: ast.unparse(word.value) for word in node.keywords}
            assert keywords.get("shell") != "True"
            assert keywords.get("weights_only") != "False"


def _imported(tree: ast.Module) -> set[str]:
    names: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            names.add((node.module or "").partition(".")[0])
    return names


def _called(node: ast.Call) -> str:
    """The name of a function, or of a method of a module that could run code."""
    if isinstance(node.func, ast.Name):
        return node.func.id
    if isinstance(node.func, ast.Attribute):
        owner = ast.unparse(node.func.value)
        return node.func.attr if node.func.attr == "extractall" or owner == "os" else ""
    return ""


def test_the_api_loads_no_tensors() -> None:
    heavy = ("torch", "torchvision", "numpy", "PIL", "sklearn", "pyarrow")
    code = f"import sys, service.app; sys.exit([m for m in {heavy} if m in sys.modules] or 0)"
    done = subprocess.run([sys.executable, "-c", code], cwd=REPO, capture_output=True, check=False)
    assert done.returncode == 0, done.stderr.decode()


def _folders(shelf: str) -> set[str]:
    return {path.parent.name for path in (REPO / "trainer" / shelf).glob("*/spec.py")}


def test_every_method_evaluator_and_pretext_is_a_folder_and_a_member() -> None:
    assert set(method_names()) == _folders("methods")
    assert set(evaluator_names()) == _folders("evaluators")
    assert set(pretext_names()) == _folders("pretexts")


@pytest.mark.parametrize("shelf", ["methods", "evaluators", "modalities", "pretexts"])
def test_the_members_of_a_shelf_never_import_one_another(shelf: str) -> None:
    folders = {path.parent.name for path in (REPO / "trainer" / shelf).glob("*/__init__.py")}
    assert folders
    for folder in folders:
        others = "|".join(folders - {folder}) or "(?!)"
        imported = re.compile(rf"(from|import) trainer\.{shelf}\.({others})\b")
        for path in (REPO / "trainer" / shelf / folder).rglob("*.py"):
            assert not imported.search(path.read_text()), _name(path)


def test_every_encoder_that_can_be_named_can_be_built() -> None:
    from trainer.modalities.image.encoders.parameter_shapes import CONVNEXTS, RESNETS
    from trainer.modalities.image.encoders.patches import VIT_SHAPES

    assert set(get_args(EncoderName)) == {"small", *RESNETS, *CONVNEXTS, *VIT_SHAPES}


def test_no_file_names_a_registry_or_a_machine() -> None:
    """Addresses of package indexes, and paths of one developer's disk, belong in no file."""
    words = (
        r"(?:py" + r"pi\.org|python" + r"hosted\.org|npm" + r"js\.(?:org|com))",
        r"-" + r"-(?:extra-)?index-url[ =]",
        r"(?<![\w.])/(?:wo" + r"rk|ro" + r"ot|home/\w+|opt/wheels)/",
    )
    pattern = re.compile("|".join(words))
    for path in _tracked():
        try:
            found = pattern.search(path.read_text())
        except UnicodeDecodeError:
            continue
        assert found is None, f"{_name(path)}: {found and found[0]}"


def test_ci_runs_what_the_readme_says() -> None:
    script = (REPO / ".ci" / "run").read_text()
    readme = (REPO / "README.md").read_text()
    section = readme.partition("## Tests\n")[2]
    assert section.startswith("```sh\nmake test\n```")
    assert script.splitlines()[-1] == "exec make test"


_NAME = re.compile(rf"(?:{'|'.join(PACKAGES)})(?:\.\w+)+")
_PATH = re.compile(rf"(?:{'|'.join([*PACKAGES, 'benchmarks', 'docker', 'docs', 'tests'])})/[^\s`]*")


def _comments_and_docstrings(source: str) -> Iterator[str]:
    """Yield each comment, and each string that stands alone as a statement."""
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type == tokenize.COMMENT:
            yield token.string
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
            yield str(node.value.value)


def _quoted(text: str) -> Iterator[str]:
    """Yield the backticked parts of a text, without the arguments of a call."""
    for part in re.findall(r"`([^`\n]+)`", text):
        yield part.partition("(")[0].removeprefix("python -m ")


def _defined(body: list[ast.stmt]) -> dict[str, list[ast.stmt]]:
    """Return the names that statements define, each with the body of its class."""
    names: dict[str, list[ast.stmt]] = {}
    for node in body:
        if isinstance(node, ast.ClassDef):
            names[node.name] = node.body
        elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            names[node.name] = []
        elif isinstance(node, ast.Import | ast.ImportFrom):
            names |= {alias.asname or alias.name: [] for alias in node.names}
        elif isinstance(node, ast.Assign | ast.AnnAssign):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            names |= {ast.unparse(target): [] for target in targets}
    return names


def _resolves(name: str) -> bool:
    """Return whether a dotted name is a package, a module, or an attribute of one."""
    path, parts = REPO, name.split(".")
    while parts and (path / parts[0]).is_dir():
        path /= parts.pop(0)
    module = path / f"{parts[0]}.py" if parts else path
    if parts and module.exists():
        parts.pop(0)
    else:
        module = path / "__init__.py"
    body = ast.parse(module.read_text()).body if parts else []
    for part in parts:
        names = _defined(body)
        if part not in names:
            return False
        body = names[part]
    return True


def _exists(path: str) -> bool:
    """Return whether a path below the repository exists; `*` and `<name>` match anything."""
    return any(REPO.glob(re.sub(r"<[^>]*>", "*", path).rstrip("/.,:")))


def _documents() -> list[Path]:
    pages = (*REPO.glob("*.md"), *REPO.glob("docs/*.md"))
    return [path for path in pages if path.name != "CHANGELOG.md"]


def _stale(path: Path) -> list[str]:
    """Return the backticked names and paths of a file that lead nowhere."""
    text = path.read_text()
    parts = _comments_and_docstrings(text) if path.suffix == ".py" else [text]
    quoted = {name for part in parts for name in _quoted(part)}
    names = {name for name in quoted if _NAME.fullmatch(name) and not _resolves(name)}
    paths = {name for name in quoted if _PATH.fullmatch(name) and not _exists(name)}
    return sorted(names | paths)


def test_every_name_and_path_in_a_text_leads_somewhere() -> None:
    """Names of our packages in comments, docstrings and pages; only the history keeps old ones."""
    tools = [
        path
        for folder in ("benchmarks", "docker", "docs")
        for path in REPO.glob(f"{folder}/**/*.py")
    ]
    stale = {_name(path): _stale(path) for path in (*SOURCES, *TESTS, *tools, *_documents())}
    assert {path: names for path, names in stale.items() if names} == {}


@pytest.mark.parametrize(
    ("text", "stale"),
    [
        ("`trainer.spec.job.JobSpec.epochs` and `trainer.spec`", []),
        ("`trainer.spec.job.JobSpec.no_field`", ["trainer.spec.job.JobSpec.no_field"]),
        (
            "`service.nowhere` and `worker.supervisor.Nobody()`",
            ["service.nowhere", "worker.supervisor.Nobody"],
        ),
        ("`trainer/methods/<name>/spec.py`, `docs/*.md` and `trainer/`", []),
        ("`tests/no_such_test.py`", ["tests/no_such_test.py"]),
    ],
)
def test_a_name_that_leads_nowhere_is_found(text: str, stale: list[str], tmp_path: Path) -> None:
    (tmp_path / "page.md").write_text(text)
    assert _stale(tmp_path / "page.md") == stale
    (tmp_path / "code.py").write_text(f'x = 1  # {text}\n"""{text}"""\ny = "`service.text`"\n')
    assert _stale(tmp_path / "code.py") == stale
