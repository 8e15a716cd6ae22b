"""Text that users read is plain English: phrases and kinds of phrases that must not come back.

User text is: README.md, the pages of docs/, the HTML and JavaScript of the web page, alerts and
dashboards, and every string in the Python code that is not a docstring. Docstrings have a rule of
their own: the first word is a verb or a noun phrase, never one of BAD_FIRST_WORDS.
"""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

REPO = Path(__file__).resolve().parents[2]
PACKAGES = ("trainer", "worker", "service", "mocoserve")
DOCUMENTED = (*PACKAGES, "benchmarks", "docker", "docs", "tests")
"""Folders whose docstrings are checked."""
BAD_FIRST_WORDS = frozenset(
    (
        *("For", "From", "How", "However", "If", "Nobody", "Of", "Somebody", "That", "What"),
        *("When", "Where", "Whether", "Which", "Who", "Whoever", "Whose"),
    )
)

PHRASES = (
    # Form
    "What it will be",
    "What it will see",
    "How it learns",
    "What it sees",
    "How it steps",
    "How the rate moves",
    "How it is measured",
    "How it runs",
    "What people call the job",
    "The images that it learns from",
    "a part of the dataset (usual)",
    "Left out:",
    "suggested or as always",
    "no such job has ended yet",
    "only CPUs are at work",
    "Everything random is a pure function of it",
    "is renewed quickly",
    "about ten million rows seen",
    # Settings and jobs
    "What you chose",
    "What was suggested, and why",
    "What is as always",
    ". in the queue",
    "over before the first step",
    "Bring some images",
    "let the demo do both",
    "Somebody stopped it",
    "Not exact any more",
    "its bytes cannot be made again",
    "It goes on well",
    "Waiting for nobody",
    "Nothing was heard for",
    "is that of guessing",
    "Take the encoder from Files",
    # Charts
    "Own key found",
    "Spread of the embeddings",
    "classify rightly",
    "They should part",
    "dashed line of guessing",
    "Rows trained on in a second",
    "Drag over a chart to look closer",
    # Neighbors
    "Each line begins with an image",
    "Looking through the encoder",
    "Nothing was looked at yet",
    ". in line for a worker",
    # Files, log, datasets
    "what an image goes through first",
    "All of them, verified",
    "it has not said anything",
    "ended before its end",
    "What is in it",
    "What training sees",
    "What was left out",
    "How large the images are",
    "Sides as kept",
    "kept as pixels",
    "The upload is no dataset",
    "Training sees large ones shrunk",
    "decoded anew in each epoch",
    "What jobs call it",
    "Its upload goes on",
    "or broke off",
    # Workers, system, sign-in
    "alive, 1 at work",
    "heard of just now",
    "takes ingest",
    "The interface, described",
    "are free in the data folder",
    "The address is not whole",
    "whoever should only look",
    "may look but not change",
    "Copy the whole line out of",
    # Command line
    "Go on with a paused",
    "how far it is, and why",
    "who trains; drain one",
    "who says so",
    "names none, and neither do",
    "A Redis of yours",
    "Skip so many files",
    "At most so many items",
    "Go on behind this id",
    "files that are no images",
    "only a job that succeeded has files",
    # Documents
    "as if nothing had happened",
    "is a dataset more",
    "then suffice",
    "what was accepted ends",
    "the manners",
    "leaves something to wish for",
    "Was it worth it",
    "Take the encoder home",
    "it went so",
    "wants somebody",
    "starts again what dies",
)
"""Sentences of an earlier version that a native reader stumbled over."""

KINDS = (
    r"\b(?:go|goes|going|went) on\b",
    r"\banew\b",
    r"\btold\b",
    r"\bheard of\b",
    r"\bleft out:",
    r"\bso many\b",
    r"\bwhoever\b",
    r"\bsomebody\b",
    r"\bnobody\b",
    r"\bas always\b",
    r"\brightly\b",
    r"\bbr(?:oke|eaks|oken) off\b",
    r"\bthat is there\b",
    r"\bof (?:yours|one's own)\b",
    r"\bby itself\b",
    r"\bno way back\b",
    r"\bsuffices?\b",
    r"\bin the manner\b",
)
"""Turns of phrase that belong to no technical text."""
KIND = re.compile("|".join(KINDS), re.IGNORECASE)

BRITISH = (
    *("artefact", "behaviour", "catalogue", "centre", "colour", "favour", "grey", "honour"),
    *("labelled", "labelling", "learnt", "licence", "misspelt", "neighbour", "towards"),
    *("unlabelled", "whilst", "normalis", "optimis", "organis", "recognis", "standardis"),
)
"""Beginnings of British spellings; texts are American. Names of code, in backticks, keep theirs."""
SPELLING = re.compile(rf"(?<![\w/.\"'-])(?<!moco )(?:{'|'.join(BRITISH)})[a-z]*(?![\w\"'=])")

JAVASCRIPT = re.compile(
    r"//[^\n]*|/\*.*?\*/"  # comments are no user text
    r'|(?P<plain>"(?:\\.|[^"\\\n])*")|(?P<template>`(?:\\.|[^`\\])*`)',
    re.DOTALL,
)


def documents() -> list[Path]:
    return [REPO / "README.md", *sorted((REPO / "docs").glob("*.md"))]


def sources(suffix: str, folders: tuple[str, ...] = PACKAGES) -> list[Path]:
    return sorted(path for folder in folders for path in (REPO / folder).rglob(f"*{suffix}"))


def javascript_texts(source: str) -> Iterator[tuple[int, str]]:
    """Yield (line, text) of every string and template without its expressions."""
    for match in JAVASCRIPT.finditer(source):
        text = match["plain"] or match["template"]
        if text:
            words = re.sub(r"\$\{[^{}]*\}", " ", text)
            yield source.count("\n", 0, match.start()) + 1, words


def html_texts(source: str) -> Iterator[tuple[int, str]]:
    """Yield (line, text) between tags, without Jinja's own words."""
    bare = re.sub(
        r"\{[%#].*?[%#]\}|<[^>]*>",
        lambda tag: re.sub(r"[^\n]", " ", tag[0]),
        source,
        flags=re.DOTALL,
    )
    yield from enumerate(bare.splitlines(), start=1)


def docstrings(tree: ast.Module) -> Iterator[tuple[str, ast.Constant]]:
    """Yield (name, docstring) of modules, classes, functions and attributes."""
    for node in ast.walk(tree):
        if not isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            continue
        before = [None, *node.body]
        for owner, statement in zip(before, node.body, strict=False):
            if not isinstance(statement, ast.Expr) or not isinstance(statement.value, ast.Constant):
                continue
            if isinstance(statement.value.value, str):
                name = getattr(node, "name", "module") if owner is None else ast.unparse(owner)
                yield name, statement.value


def python_texts(source: str) -> Iterator[tuple[int, str]]:
    """Yield (line, text) of every string of several words that is no docstring."""
    tree = ast.parse(source)
    documented = {id(constant) for _, constant in docstrings(tree)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and id(node) not in documented:
            text = node.value if isinstance(node.value, str) else ""
            if " " in text.strip():
                yield node.lineno, text


READERS = {".js": javascript_texts, ".html": html_texts, ".py": python_texts}


def user_texts(path: Path) -> Iterator[tuple[int, str]]:
    source = path.read_text()
    reader = READERS.get(path.suffix)
    return reader(source) if reader else enumerate(source.splitlines(), start=1)


def complaints(path: Path) -> list[str]:
    """Return "file:line: phrase" for each phrase of a file that must not be there."""
    found = []
    for line, text in user_texts(path):
        flat = re.sub(r"\s+", " ", text)
        phrases = [phrase for phrase in PHRASES if phrase.lower() in flat.lower()]
        phrases += [match[0] for match in KIND.finditer(flat)]
        phrases += SPELLING.findall(re.sub("`[^`]*`", "", flat))
        found += [
            f"{path.relative_to(REPO)}:{line}: {phrase!r} in {flat[:80]!r}" for phrase in phrases
        ]
    return found


@pytest.mark.parametrize("suffix", [".md", ".html", ".js", ".py", ".yml", ".json"])
def test_no_user_text_has_a_phrase_that_must_not_come_back(suffix: str) -> None:
    paths = documents() if suffix == ".md" else sources(suffix)
    assert paths, suffix
    assert [text for path in paths for text in complaints(path)] == []


def bad_docstrings(source: str) -> list[str]:
    """Return "line: first word (name)" of each docstring that begins with a bad word."""
    found = []
    for name, constant in docstrings(ast.parse(source)):
        first = re.match(r"\s*([A-Za-z]*)", str(constant.value))
        if first and first[1] in BAD_FIRST_WORDS:
            found.append(f"{constant.lineno}: {first[1]} ({name[:40]})")
    return found


@pytest.mark.parametrize("folder", DOCUMENTED)
def test_docstrings_begin_with_a_verb_or_a_noun(folder: str) -> None:
    paths = sources(".py", (folder,))
    assert paths
    wrong = [
        f"{path.relative_to(REPO)}:{text}"
        for path in paths
        for text in bad_docstrings(path.read_text())
    ]
    assert wrong == []


def test_a_bad_first_word_is_found_wherever_a_docstring_can_be() -> None:
    code = (
        '"""Where."""\nX = 1\n"""Whose."""\n'
        'class _A:\n    """Which."""\n    y: int\n    """Of it."""\n'
        '    def f(self):\n        """Whether."""\n        self.z = 1\n        """That."""\n'
        'def g():\n    """Whichever is whole."""\n'
    )
    words = {text.split()[1] for text in bad_docstrings(code)}
    assert words == {"Where", "Whose", "Which", "Of", "Whether", "That"}


def test_british_spellings_are_found_outside_names() -> None:
    text = "A grey colour of `grey_p`, views.grey_p=0, /neighbours, moco neighbours; neighbours"
    assert SPELLING.findall(re.sub("`[^`]*`", "", text)) == ["grey", "colour", "neighbours"]


def test_the_reader_sees_user_text_and_nothing_else() -> None:
    script = 'const a = "goes on"; // goes on\n/* told */ say(`it ${told} went on`);'
    assert [text for _, text in javascript_texts(script)] == ['"goes on"', "`it   went on`"]
    page = '<p class="told">It goes on</p>{% set told = 1 %}'
    assert [text.strip() for _, text in html_texts(page)] == ["It goes on"]
    code = '"""Who goes on."""\nx = 1\n"""What it is."""\nprint(f"it {x} goes on")\n'
    assert [text for _, text in python_texts(code)] == [" goes on"]
    assert [name for name, _ in docstrings(ast.parse(code))] == ["module", "x = 1"]
