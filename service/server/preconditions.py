"""Preconditions of a request (RFC 9110, section 13)."""

from service.server.problems import Problem


def tag_matches(header: str, etag: str) -> bool:
    """Return whether If-None-Match names `etag`, by weak comparison (13.1.2)."""
    tags = {tag.removeprefix("W/") for tag in _tags(header)}
    return "*" in tags or etag in tags


def require_match(if_match: str | None, etag: str | None) -> None:
    """Raise Problem `precondition_failed` unless If-Match allows the request (13.1.1).

    `etag` is the tag of what the path names, None for a thing that has none. The comparison is
    strong: a weak tag never matches.
    """
    if if_match is None:
        return
    tags = _tags(if_match)
    if "*" not in tags and (etag is None or etag not in tags):
        raise Problem("precondition_failed", f"header/if-match: {if_match[:128]}")


def _tags(header: str) -> set[str]:
    return {tag.strip() for tag in header.split(",")}
