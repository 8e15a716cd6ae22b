"""`python -m service`: the API. `python -m service exporter`: the state exporter."""

import os
import socket
import sys

from pydantic import ValidationError

from service.api.deps import Services
from service.app import create_app
from service.ledger.stamp import check_layout
from service.ledger.store_identity import ensure_identity
from service.server.api_keys import WeakKey, load_keys
from service.server.asgi_server import (
    NotLoopback,
    check_host,
    client_timeouts_of,
    make_server,
    tune_gc,
)
from service.server.listeners import PortTaken, bound, handed_over
from service.server.logging import configure
from service.settings import ApiSettings
from service.state_exporter import create_exporter
from service.store.store import Store, open_store
from service.store.store_errors import StoreError
from trainer.schema.errors import StorageError
from trainer.util import failpoints
from trainer.util.failpoints import BadFailpoints

BAD_SETTINGS = os.EX_CONFIG
NO_STORE = os.EX_UNAVAILABLE


def main(arguments: list[str]) -> int:
    """Serve until a signal says stop. Answers the exit status of the process."""
    if arguments not in ([], ["exporter"]):
        print("Usage: python -m service [exporter]", file=sys.stderr)
        return os.EX_USAGE
    try:
        failpoints.check()
        settings = ApiSettings()
        _serve(settings, is_exporter=bool(arguments))
    except ValidationError as error:
        for row in error.errors():
            name = "MOCO_" + str(row["loc"][0]).upper()
            print(f"{name}: {row['msg']}", file=sys.stderr)
        return BAD_SETTINGS
    except (WeakKey, NotLoopback, PortTaken, BadFailpoints) as error:
        print(error, file=sys.stderr)
        return BAD_SETTINGS
    except (StorageError, OSError) as error:
        print(f"The data folder cannot be used: {error}", file=sys.stderr)
        return BAD_SETTINGS
    except StoreError as error:
        print(f"The store cannot be opened: {error}", file=sys.stderr)
        return NO_STORE
    return os.EX_OK


def _serve(settings: ApiSettings, *, is_exporter: bool) -> None:
    host = settings.exporter_host if is_exporter else settings.host
    port = settings.exporter_port if is_exporter else settings.port
    check_host(host, allow_remote=settings.allow_remote)
    check_layout(settings.data_dir)
    load_keys(settings)  # raises WeakKey before anything else is touched
    store = open_store(settings)
    try:
        with _listener(settings, host, port, is_exporter=is_exporter) as listener:
            configure()
            _serve_on(listener, settings, store, is_exporter=is_exporter)
    finally:
        store.close()


def _listener(settings: ApiSettings, host: str, port: int, *, is_exporter: bool) -> socket.socket:
    """Bind the port before anything is changed. Raises PortTaken."""
    if settings.listen_fd is not None:
        return handed_over(settings.listen_fd)
    return bound(host, port, variable="MOCO_EXPORTER_PORT" if is_exporter else "MOCO_PORT")


def _serve_on(
    listener: socket.socket, settings: ApiSettings, store: Store, *, is_exporter: bool
) -> None:
    if not is_exporter:
        ensure_identity(store, settings.data_dir)
    app = create_exporter(settings, store) if is_exporter else create_app(settings, store)
    parts: Services = app.state.services
    tune_gc()
    server = make_server(
        app,
        host=listener.getsockname()[0],
        port=listener.getsockname()[1],
        on_shutdown=parts.broadcaster.stop,
        timeouts=client_timeouts_of(settings),
        on_slow=(lambda _: None) if is_exporter else parts.on_slow,
    )
    server.run([listener])


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
