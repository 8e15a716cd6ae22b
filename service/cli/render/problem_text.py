"""Text for a problem of the API: exit code, title, next step.

The API describes problems in terms of headers and paths. For the codes below, the text says what
a user of `moco` can do about them; all other problems keep the text of the API.
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
    "unauthorized": "The server rejected the key",
    "read_only": "This key is read-only",
    "invalid": "Invalid value",
}
_DETAILS = {
    "unauthorized": "The key is missing or belongs to another server.",
    "read_only": "This command changes something.",
}
_HINTS = {
    "unauthorized": "Set MOCO_API_KEY or --key. On the server, the key is in api.key in the "
    "data folder. `moco config list` shows which key is sent.",
    "read_only": "Set MOCO_API_KEY or --key to the key in api.key, not the one in read.key.",
    "no_dataset": "`moco dataset ls` lists all datasets.",
    "bad_spec": "Fix it; `--dry-run` checks a job without running it.",
    "bad_cursor": "Use an id from the list, or omit --after.",
    "path_not_allowed": "Omit --in-place to upload the images, or start the service with "
    "the folder in MOCO_ALLOWED_ROOTS.",
    "internal": "Report the request id below; the service log has the cause.",
}
_OF_STRANGERS = frozenset({404, 405, 501})
"""Bodies of 404 responses of servers that are not mocoserve."""
_NOUNS = {"jobs": "job", "datasets": "dataset", "weights": "weights", "workers": "worker"}
_LISTS = {
    "jobs": "`moco jobs`",
    "datasets": "`moco dataset ls`",
    "weights": "`moco weights ls`",
    "workers": "`moco workers`",
}
_HELPS = {
    "/v1/jobs": "`moco submit -d NAME --dry-run` shows every field and its value.",
    "/v1/datasets": "See `moco dataset add --help`.",
    "/v1/weights": "`moco weights add FILE --name NAME` sets another name.",
}


def code_of(problem: Problem) -> Exit | None:
    """Return the exit code where the kind of the problem is more exact than its status."""
    if problem.code == "foreign" and problem.status in _OF_STRANGERS:
        return Exit.UNREACHABLE
    return _CODES.get(problem.code)


def title_of(problem: Problem) -> str:
    """Return the title: what is wrong."""
    if problem.code == "not_found":
        return f"{_NOUNS.get(_kind(problem), 'resource').capitalize()} not found"
    return _TITLES.get(problem.code, problem.title)


def detail_of(problem: Problem) -> str:
    """Return the detail: where it is wrong."""
    return _DETAILS.get(problem.code, problem.detail)


def hint_of(problem: Problem) -> str:
    """Return the hint: the next step for the user."""
    kind = _kind(problem)
    if problem.code == "not_found":
        return f"{_LISTS.get(kind, '`moco jobs`')} lists all of them."
    if problem.code == "name_taken":
        names = _LISTS["weights" if problem.instance == "/v1/weights" else "datasets"]
        return f"Choose another --name; {names} lists the names in use."
    if problem.code == "wrong_state" and kind == "jobs":
        return f"`moco show {problem.instance.split('/')[3]}` shows its status."
    if problem.code == "invalid":
        return _correction(problem)
    return _HINTS.get(problem.code, problem.hint)


def _kind(problem: Problem) -> str:
    """Return `jobs` for `/v1/jobs/job_1/pause`, where the problem has such a path."""
    parts = problem.instance.split("/")
    return parts[2] if len(parts) > 3 else ""


def _correction(problem: Problem) -> str:
    in_body = all(field.pointer.startswith("#/") for field in problem.errors)
    help_ = _HELPS.get(problem.instance, "") if in_body else ""
    names = [field.pointer.rpartition("/")[2] for field in problem.errors]
    is_spec = in_body and problem.instance == "/v1/jobs"
    meant = _closest(names[0]) if names and is_spec else ""
    return " ".join(word for word in ("Fix it.", meant, help_) if word)


def _closest(name: str) -> str:
    """Return the field of a job spec whose name is similar to `name`."""
    from trainer.spec.job import JobSpec

    schema = JobSpec.model_json_schema()
    parts = (schema, *schema.get("$defs", {}).values())
    names = {field for part in parts for field in part.get("properties", {})}
    near = get_close_matches(name, names, n=1, cutoff=0.7)
    return f"Did you mean {near[0]}?" if near and name not in names else ""
