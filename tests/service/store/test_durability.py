"""A server that could lose what it acknowledged is refused, with the command that mends it."""

from pathlib import Path

import pytest

from service.store import durability
from service.store.embedded.server import RunningRedis
from service.store.redis_client import RedisClient
from service.store.store import open_store
from service.store.store_errors import Misconfigured, StoreUnavailable
from service.store.store_settings import StoreSettings
from tests.support.service.redis import running_redis


@pytest.mark.parametrize(
    ("setting", "wrong", "right"),
    [
        ("appendonly", "no", "yes"),
        ("appendfsync", "everysec", "always"),
        ("appendfsync", "no", "always"),
        ("maxmemory-policy", "allkeys-lru", "noeviction"),
    ],
)
def test_a_setting_that_loses_writes_is_refused_by_name(
    redis_server: RunningRedis, setting: str, wrong: str, right: str
) -> None:
    client = RedisClient(redis_server.url, timeout_s=1.5)
    durability.check(client)
    client.run(lambda client: client.config_set(setting, wrong))
    try:
        with pytest.raises(Misconfigured, match=f"CONFIG SET {setting} {right}") as refused:
            open_store(StoreSettings(redis_url=redis_server.url))
        assert f"{setting}={wrong}" in str(refused.value)
    finally:
        client.run(lambda client: client.config_set(setting, right))
        client.close()


def test_a_replica_is_refused(tmp_path: Path) -> None:
    with running_redis(tmp_path) as server:
        client = RedisClient(server.url, timeout_s=1.5)
        client.run(lambda client: client.replicaof("127.0.0.1", 1))
        with pytest.raises(Misconfigured, match="REPLICAOF NO ONE"):
            durability.check(client)
        client.close()


def test_a_server_that_hides_its_settings_is_refused(redis_server: RunningRedis) -> None:
    client = RedisClient(redis_server.url, timeout_s=1.5)
    client.run(
        lambda client: client.acl_setuser(
            "blind", enabled=True, passwords=["+pw"], categories=["+@all"], commands=["-config"]
        )
    )
    path = redis_server.url.partition("@")[2]
    blind = RedisClient(f"unix://blind:pw@{path}", timeout_s=1.5)
    try:
        with pytest.raises(Misconfigured, match="CONFIG GET"):
            durability.check(blind)
    finally:
        client.run(lambda client: client.acl_deluser("blind"))
        blind.close()
        client.close()


def test_a_wrong_password_is_told(redis_server: RunningRedis) -> None:
    path = redis_server.url.partition("@")[2]
    with pytest.raises(StoreUnavailable, match="password"):
        open_store(StoreSettings(redis_url=f"unix://:wrong@{path}"))


def test_without_any_server_the_next_step_is_told(tmp_path: Path) -> None:
    with pytest.raises(Misconfigured, match="MOCO_REDIS_URL"):
        open_store(StoreSettings(data_dir=tmp_path, redis_url=None))
