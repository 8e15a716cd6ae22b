"""A problem of the API in the words of the command line: exit code, title, next step. Pure.

The API speaks to programs, of headers and of paths. What it says there is told here by what a
user of `moco` can do about it; whatever is not named here is told as the API told it.
"""

from difflib import get_close_matches

from mocoserve.errors import Problem
from service.cli.exit_codes import Exit

_CODES = {
    "read_only": Exit.AUTH,
    "no_dataset": Exit.NOT_FOUND,
    "invalid": Exit.USAGE,
    "bad_spec": Exit.USAGE,
    "bad_cursor": Exit.USAGE,
}
_TITLES = {
    "unauthorized": "The server does not know this key",
    "read_only": "This key may only look",
    "invalid": "A value is not valid",
}
_DETAILS = {
    "unauthorized": "Another key, or none, belongs to it.",
    "read_only": "What was asked for would change something.",
}
_HINTS = {
    "unauthorized": "Give the key in MOCO_API_KEY or --key; on the server's machine it is in "
    "api.key of the data folder. `moco config list` tells which one is sent.",
    "read_only": "Give the key of api.key, not that of read.key, in MOCO_API_KEY or --key.",
    "no_dataset": "`moco dataset ls` lists what there is.",
    "bad_spec": "Change it; `moco submit --dry-run` checks a job without running it.",
    "bad_cursor": "Give an id that the list showed, or leave --after out.",
    "name_taken": "Choose another --name; `moco dataset ls` lists those that are taken.",
    "path_not_allowed": "Leave --in-place out to send the images, or start the service with "
    "the folder in MOCO_ALLOWED_ROOTS.",
    "internal": "Report the request below; the service's log has its cause.",
}
_OF_STRANGERS = frozenset({404, 405, 501})
"""What something that is not mocoserve answers to a path that it does not know."""
_NOUNS = {"jobs": "job", "datasets": "dataset", "workers": "worker"}
_LISTS = {"jobs": "`moco jobs`", "datasets": "`moco dataset ls`", "workers": "`moco workers`"}
_HELPS = {
    "/v1/jobs": "`moco submit -d NAME --dry-run` shows every field and its value.",
    "/v1/datasets": "See `moco dataset add --help`.",
}


def code_of(problem: Problem) -> Exit | None:
    """The exit code, where the kind of the problem says more than its status does."""
    if problem.code == "foreign" and problem.status in _OF_STRANGERS:
        return Exit.UNREACHABLE
    return _CODES.get(problem.code)


def title_of(problem: Problem) -> str:
    """What is wrong."""
    if problem.code == "not_found":
        return f"There is no such {_NOUNS.get(_kind(problem), 'thing')}"
    return _TITLES.get(problem.code, problem.title)


def detail_of(problem: Problem) -> str:
    """Where it is wrong."""
    return _DETAILS.get(problem.code, problem.detail)


def hint_of(problem: Problem) -> str:
    """Return the next step for the user."""
    kind = _kind(problem)
    if problem.code == "not_found":
        return f"{_LISTS.get(kind, '`moco jobs`')} lists what there is."
    if problem.code == "wrong_state" and kind == "jobs":
        return f"`moco show {problem.instance.split('/')[3]}` tells how it stands."
    if problem.code == "invalid":
        return _correction(problem)
    return _HINTS.get(problem.code, problem.hint)


def _kind(problem: Problem) -> str:
    """`jobs` of `/v1/jobs/job_1/pause`, where the problem has such a path."""
    parts = problem.instance.split("/")
    return parts[2] if len(parts) > 3 else ""


def _correction(problem: Problem) -> str:
    in_body = all(field.pointer.startswith("#/") for field in problem.errors)
    help_ = _HELPS.get(problem.instance, "") if in_body else ""
    names = [field.pointer.rpartition("/")[2] for field in problem.errors]
    meant = _meant(names[0]) if names and problem.instance == "/v1/jobs" else ""
    return " ".join(word for word in ("Correct it.", meant, help_) if word)


def _meant(name: str) -> str:
    """The field of a job that looks like `name` but is not it."""
    from trainer.spec import JobSpec

    schema = JobSpec.model_json_schema()
    parts = (schema, *schema.get("$defs", {}).values())
    names = {field for part in parts for field in part.get("properties", {})}
    near = get_close_matches(name, names, n=1, cutoff=0.7)
    return f"Did you mean {near[0]}?" if near and name not in names else ""
