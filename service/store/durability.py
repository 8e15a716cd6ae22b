"""Check that a server cannot lose acknowledged writes."""

from typing import Final

import redis

from service.store.redis_client import RedisClient
from service.store.store_errors import Misconfigured

_SETTINGS: Final = {
    "appendonly": ("yes", "acknowledged jobs would be lost at a restart"),
    "appendfsync": ("always", "the last second of acknowledged jobs could be lost"),
    "maxmemory-policy": ("noeviction", "jobs would be evicted when memory is short"),
}
_OLDEST: Final = (7, 0)


def check(client: RedisClient) -> None:
    """Check that the server keeps every acknowledged write.

    Raises:
        Misconfigured: names the setting and the command that corrects it.
        StoreUnavailable: no answer in time.
    """
    _check_server(client.run(lambda client: client.info()))
    settings = client.run(_read_settings)
    for name, (wanted, risk) in _SETTINGS.items():
        if settings.get(name) != wanted:
            raise Misconfigured(
                f"Redis has {name}={settings.get(name)}, so {risk}. Run "
                f"`CONFIG SET {name} {wanted}` and put `{name} {wanted}` into its "
                "configuration file."
            )


def _check_server(info: dict[str, object]) -> None:
    version = str(info.get("redis_version", "0"))
    if tuple(map(int, version.split(".")[:2])) < _OLDEST:
        raise Misconfigured(f"Redis is version {version}; 7.0 or newer, or Valkey, is needed.")
    if info.get("role") != "master":
        raise Misconfigured(
            "Redis is a replica (role=slave). Name the primary in MOCO_REDIS_URL, or run "
            "`REPLICAOF NO ONE` on this server."
        )


def _read_settings(client: redis.Redis) -> dict[str, str]:
    try:
        values = client.config_get(*_SETTINGS)
    except redis.ResponseError as error:
        raise Misconfigured(
            f"Redis does not show its settings ({error}). Allow this user `CONFIG GET`, so that "
            "appendonly, appendfsync and maxmemory-policy can be checked."
        ) from error
    return {str(name): str(value) for name, value in values.items()}
