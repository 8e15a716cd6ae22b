"""Names and paths that docstrings, comments and pages put in backticks exist.

Read by `ast` alone: nothing of ours is imported. Files of a job and fields of a spec, such as
`metrics.jsonl` and `optim.lr`, are not repository paths: of a field the last word must be an
identifier in the code. Single words are checked where their form says that they are names:
`JobSpec`, `batch_rows`, `resolve()`. Names of metrics are joined at run time and not checked.
"""

import ast
import importlib.util
import io
import re
import tokenize
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

REPO = Path(__file__).resolve().parents[2]
PACKAGES = ("trainer", "service", "worker", "mocoserve", "benchmarks", "tests", "docs", "docker")
PAGES = ("README.md", "ARCHITECTURE.md", "CONTRIBUTING.md")
FOREIGN_CLASSES = frozenset({"Image", "RandomErasing", "RandomResizedCrop", "Tensor"})
"""Classes of libraries that texts name without their module."""
FOREIGN_FILES = frozenset({"Thumbs.db", "main_moco.py", "moco_cifar10_demo.ipynb"})
"""Files of the MoCo authors' repository and of other systems."""
FOREIGN_NAMES = frozenset(
    {
        *("SummaryWriter", "proxy_pass"),
        *("images_001", "train_images", "train_labels", "x_train", "y_train"),
    }
)
"""Names in other software and in users' files."""
SOURCE_SUFFIXES = (".html", ".ipynb", ".js", ".lua", ".md", ".py", ".yml")

TICKED = re.compile(r"`([^`\n]+)`")
MODULE_RUN = re.compile(r"python3? -m ([a-z_]\w*(?:\.\w+)*)")
NAME = re.compile(r"_*[A-Z][a-z0-9]+[A-Z]\w*|_*[A-Za-z]\w*_\w+|\w+\(\)")
DOTTED = re.compile(r"[A-Za-z_]\w*(?:\.\w+)+(?:\(\))?")


@cache
def repository_files() -> frozenset[str]:
    paths = [path for folder in PACKAGES for path in (REPO / folder).rglob("*")]
    inside = (*paths, *REPO.iterdir())
    return frozenset(
        str(path.relative_to(REPO)) for path in inside if "__pycache__" not in path.parts
    )


@cache
def trees() -> dict[str, ast.Module]:
    """Return the syntax tree of every module of ours by its dotted name."""
    return {
        path.removesuffix(".py").removesuffix("/__init__").replace("/", "."): ast.parse(
            (REPO / path).read_text()
        )
        for path in repository_files()
        if path.endswith(".py") and path.split("/")[0] in PACKAGES
    }


def members(node: ast.AST) -> Iterator[str]:
    """Yield names defined in a module or class, instance attributes included."""
    for child in ast.walk(node):
        match child:
            case ast.FunctionDef() | ast.AsyncFunctionDef() | ast.ClassDef():
                yield child.name
            case ast.Name(id=name, ctx=ast.Store()) | ast.Attribute(attr=name, ctx=ast.Store()):
                yield name
            case ast.alias():
                yield (child.asname or child.name).split(".")[0]


@cache
def classes() -> dict[str, tuple[set[str], set[str]]]:
    """Return the members and the base names of every class of ours by its name."""
    by_name: dict[str, tuple[set[str], set[str]]] = {}
    for tree in trees().values():
        for node in ast.walk(tree):
            if isinstance(node, ast.ClassDef):
                own, bases = by_name.setdefault(node.name, (set(), set()))
                own.update(members(node))
                bases.update(ast.unparse(base).split("[")[0].split(".")[-1] for base in node.bases)
    return by_name


@cache
def identifiers() -> frozenset[str]:
    """Return every identifier in our code and, but for tests, every string without a space."""
    names: set[str] = set()
    for module, tree in trees().items():
        names.update(members(tree))
        for node in ast.walk(tree):
            match node:
                case ast.arg(arg=name) | ast.keyword(arg=str(name)) | ast.Attribute(attr=name):
                    names.add(name)
                case ast.Constant(value=str(text)) if " " not in text:
                    names.update(() if module.startswith("tests.") else text.split("."))
    return frozenset(names)


def class_has(name: str, attribute: str) -> bool:
    own, bases = classes().get(name, (set(), set()))
    return attribute in own or any(class_has(base, attribute) for base in bases)


def resolves(dotted: str) -> bool:
    """Return whether a name that begins with a package of ours exists."""
    parts = dotted.split(".")
    for end in range(len(parts), 0, -1):
        module, rest = ".".join(parts[:end]), parts[end:]
        if module in trees():
            is_member = not rest or rest[0] in set(members(trees()[module]))
            return is_member and (len(rest) < 2 or class_has(rest[0], rest[1]))
        if not rest and module.replace(".", "/") in repository_files():
            return True
    return False


def module_named(word: str, module: str) -> str:
    """Return the module of ours that a module imports as `word`, or nothing."""
    for node in ast.walk(trees().get(module, ast.Module([], []))):
        if isinstance(node, ast.ImportFrom) and node.module:
            for alias in node.names:
                name = f"{node.module}.{alias.name}"
                if (alias.asname or alias.name) == word and name in trees():
                    return name
    return ""


def dotted_exists(dotted: str, module: str) -> bool:
    first, _, rest = dotted.removesuffix("()").partition(".")
    last = rest.split(".")[-1]
    if first in PACKAGES and first != "docs":
        return resolves(f"{first}.{rest}")
    if f".{last}" in SOURCE_SUFFIXES or dotted in FOREIGN_FILES:
        return path_exists(dotted)
    if first[0].isupper():
        return first in FOREIGN_CLASSES or class_has(first, rest.split(".")[0])
    if imported := module_named(first, module):
        return resolves(f"{imported}.{rest}")
    return last in identifiers() or importlib.util.find_spec(first) is not None


def path_exists(path: str) -> bool:
    """Return whether a path exists below the root or any folder; <name> and NAME match any."""
    if path.rsplit("/", maxsplit=1)[-1] in FOREIGN_FILES:
        return True
    parts = [re.escape(part) for part in re.split(r"<\w+>|\*|\bNAME\b", path.strip("./"))]
    whole = re.compile(f"(?:.*/)?{'[^/]*'.join(parts)}")
    return any(whole.fullmatch(file) for file in repository_files())


def name_exists(name: str) -> bool:
    """Return whether a name is in our code: a setting's variable by its field, or a module."""
    return (
        name in identifiers()
        or name in FOREIGN_NAMES
        or name.startswith("moco_")
        or name.removeprefix("MOCO_").lower() in identifiers()
        or any(module.endswith(f".{name}") for module in trees())
    )


def is_path(word: str) -> bool:
    is_ours = word.split("/", maxsplit=1)[0] in PACKAGES or word.endswith(SOURCE_SUFFIXES)
    return is_ours and "/" in word and " " not in word


def exists(word: str, module: str) -> bool:
    """Return whether a word in backticks exists; words that are no names of ours do."""
    if DOTTED.fullmatch(word):
        return dotted_exists(word, module)
    if NAME.fullmatch(word):
        return name_exists(word.removesuffix("()"))
    return not is_path(word) or path_exists(word)


def missing_names(text: str, module: str) -> list[str]:
    """Return the names in backticks, and the modules run by -m, that do not exist."""
    run = [name for name in MODULE_RUN.findall(text) if name.split(".")[0] in PACKAGES]
    missing = [name for name in run if not resolves(name)]
    return missing + [word for word in TICKED.findall(text) if not exists(word, module)]


def python_texts(source: str) -> Iterator[tuple[int, str]]:
    """Yield (line, text) of every docstring and comment."""
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type == tokenize.COMMENT:
            yield token.start[0], token.string
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
            yield node.lineno, str(node.value.value)


@pytest.mark.parametrize("package", PACKAGES)
def test_names_in_docstrings_and_comments_exist(package: str) -> None:
    modules = [name for name in trees() if name.split(".")[0] == package]
    assert modules
    missing = []
    for module in modules:
        path = REPO / (module.replace(".", "/") + ".py")
        path = path if path.exists() else path.with_suffix("") / "__init__.py"
        for line, text in python_texts(path.read_text()):
            names = missing_names(text, module)
            missing += [f"{path.relative_to(REPO)}:{line}: `{name}`" for name in names]
    assert missing == []


def test_names_in_pages_exist() -> None:
    pages = [*(REPO / name for name in PAGES), *sorted((REPO / "docs").glob("*.md"))]
    missing = [
        f"{page.relative_to(REPO)}: `{name}`"
        for page in pages
        for name in missing_names(page.read_text(), "")
    ]
    assert missing == []


@pytest.mark.parametrize(
    "text",
    [
        "`trainer.spec.job.JobSpec.batch_rows`",
        "`JobSpec.preset`, inherited `MoCoSpec.name`",
        "`methods/<name>/spec.py` and `trainer/spec/`",
        "`python -m trainer`, `optim.lr`, `metrics.jsonl`, `os.path`, `torch.cuda`",
        "`JobSpec`, `batch_rows`, `resolve()`, `MOCO_ALLOWED_ROOTS`, `batch_stream`, `word`",
    ],
)
def test_names_that_exist_are_found(text: str) -> None:
    assert missing_names(text, "trainer.spec.job") == []


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("`trainer.spec.job.JobSpecs`", "trainer.spec.job.JobSpecs"),
        ("`trainer.spec.job.JobSpec.rows_batch`", "trainer.spec.job.JobSpec.rows_batch"),
        ("`trainer.specs`", "trainer.specs"),
        ("`JobSpec.rows_batch`", "JobSpec.rows_batch"),
        ("`trainer/gone.py`", "trainer/gone.py"),
        ("`methods/moco/gone.py`", "methods/moco/gone.py"),
        ("`python -m benchmarks.gone`", "benchmarks.gone"),
        ("`gone_module.gone_name`", "gone_module.gone_name"),
        ("`GoneClass`", "GoneClass"),
        ("`gone_name`", "gone_name"),
        ("`vanished()`", "vanished()"),
        ("`MOCO_GONE_S`", "MOCO_GONE_S"),
    ],
)
def test_names_that_do_not_exist_are_found(text: str, name: str) -> None:
    assert missing_names(text, "trainer.spec.job") == [name]
