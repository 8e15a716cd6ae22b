"""docker-compose.yml against the compose schema, and against the files and settings it names."""

import json
import re
from importlib.resources import files
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from service.settings import ApiSettings
from tests.support.system.required_tools import needs_package
from worker.settings import WorkerSettings

REPO = Path(__file__).resolve().parents[2]
TEXT = (REPO / "docker-compose.yml").read_text()
COMPOSE: dict[str, Any] = yaml.safe_load(TEXT)
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
OURS = ("api", "exporter", "worker", "worker-cpu", "ingest")


@needs_package("check-jsonschema")
def test_it_fits_the_schema_of_the_compose_specification() -> None:
    """The schema is the one that the check-jsonschema package carries."""
    vendored = files("check_jsonschema") / "builtin_schemas" / "vendor"
    schema = json.loads((vendored / "compose-spec.json").read_text())
    jsonschema.validate(COMPOSE, schema)
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(COMPOSE | {"services": {"api": {"imagine": "x"}}}, schema)


def test_every_part_is_there() -> None:
    assert set(SERVICES) == {*OURS, "valkey", "prometheus", "grafana"}


def test_what_depends_on_something_healthy_depends_on_something_that_is_checked() -> None:
    for service in SERVICES.values():
        needed = service.get("depends_on", {})
        for name in needed:
            assert name in SERVICES
        for name, how in needed.items() if isinstance(needed, dict) else ():
            assert how["condition"] == "service_healthy"
            assert "healthcheck" in SERVICES[name] or "build" in SERVICES[name]


def test_named_files_volumes_and_secrets_exist() -> None:
    for service in SERVICES.values():
        if "build" in service:
            assert (REPO / service["build"]["dockerfile"]).is_file()
        for volume in service.get("volumes", ()):
            source = volume.split(":")[0]
            exists = (REPO / source).exists() if source.startswith(".") else source in _volumes()
            assert exists, volume
        assert set(service.get("secrets", ())) <= set(COMPOSE["secrets"])


def _volumes() -> set[str]:
    return set(COMPOSE["volumes"])


def test_every_image_has_a_version() -> None:
    built = {service["image"] for service in SERVICES.values() if "build" in service}
    for service in SERVICES.values():
        assert service["image"] in built or re.fullmatch(r"[\w/-]+:v?\d[\w.]*", service["image"])


def test_only_loopback_is_published() -> None:
    for service in SERVICES.values():
        for port in service.get("ports", ()):
            assert port.startswith("127.0.0.1:")


def test_settings_that_are_named_exist() -> None:
    """A misspelt variable would be ignored without a word."""
    fields = set(ApiSettings.model_fields) | set(WorkerSettings.model_fields)
    for name in OURS:
        for variable in SERVICES[name]["environment"]:
            assert variable.startswith("MOCO_")
            assert variable.removeprefix("MOCO_").lower() in fields


def test_secrets_come_from_the_environment_and_must_be_given() -> None:
    example = (REPO / ".env.example").read_text()
    wanted = set(re.findall(r"(?<!\$)\$\{(\w+):\?", TEXT))
    assert wanted == {
        *("MOCO_API_KEY", "MOCO_SCRAPE_KEY"),
        *("MOCO_REDIS_PASSWORD", "GRAFANA_PASSWORD"),
    }
    for name in wanted:
        assert f"{name}=\n" in example
    assert not re.search(r"(?i)(password|key|secret): *[\"']?[a-z0-9]{6,}[\"']?$", TEXT, re.M)


def test_the_store_loses_nothing() -> None:
    command = SERVICES["valkey"]["command"][-1]
    for words in ("--appendonly yes", "--appendfsync always", "--maxmemory-policy noeviction"):
        assert words in command
    assert "--requirepass" in command
    assert SERVICES["valkey"]["volumes"] == ["valkey:/data"]


def test_a_gpu_is_reserved_for_the_worker_and_only_for_it() -> None:
    reserved = {name for name, service in SERVICES.items() if "deploy" in service}
    assert reserved == {"worker"}
    device = SERVICES["worker"]["deploy"]["resources"]["reservations"]["devices"][0]
    assert device == {"driver": "nvidia", "count": "all", "capabilities": ["gpu"]}
    assert SERVICES["worker"]["shm_size"] == "1g"
    assert SERVICES["worker"]["profiles"] == ["gpu"]
    assert SERVICES["worker-cpu"]["profiles"] == ["cpu"]
    assert SERVICES["worker-cpu"]["environment"]["MOCO_DEVICE"] == "cpu"
    assert SERVICES["ingest"]["environment"]["MOCO_POOLS"] == "ingest"


def test_a_worker_may_save_before_it_is_killed() -> None:
    grace_s = WorkerSettings.model_fields["grace_s"].default
    for name in ("worker", "worker-cpu", "ingest"):
        assert int(SERVICES[name]["stop_grace_period"].removesuffix("s")) >= 2 * grace_s


def test_containers_have_no_rights_that_they_do_not_need() -> None:
    for service in SERVICES.values():
        assert service["cap_drop"] == ["ALL"]
        assert service["read_only"] is True
        assert service["security_opt"] == ["no-new-privileges:true"]
        assert "privileged" not in service
