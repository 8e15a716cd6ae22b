"""The Python client: `from mocoserve import Client`."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mocoserve.client import Client

__all__ = ["Client"]


def __getattr__(name: str) -> object:
    """Import the client on first use: `moco --help` need not wait for httpx."""
    if name != "Client":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from mocoserve.client import Client  # noqa: PLC0415

    return Client
