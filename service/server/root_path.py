"""The path under which a proxy serves the API, such as `/moco`."""

from starlette.types import Scope


def mount(scope: Scope, root_path: str) -> None:
    """Note the prefix in `scope`, whether or not the proxy has taken it off the path."""
    if not root_path:
        return
    scope["root_path"] = root_path
    if not _is_under(scope["path"], root_path):
        scope["path"] = root_path + scope["path"]
        scope["raw_path"] = root_path.encode() + scope.get("raw_path", b"")


def route_path(scope: Scope) -> str:
    """Return the path without the prefix, as the routes have it."""
    path: str = scope["path"]
    root_path: str = scope.get("root_path", "")
    return path[len(root_path) :] if _is_under(path, root_path) else path


def _is_under(path: str, root_path: str) -> bool:
    return path == root_path or path.startswith(f"{root_path}/")
