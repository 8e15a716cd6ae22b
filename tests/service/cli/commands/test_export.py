"""`moco export`: files for a Prometheus and a Grafana of the user's own."""

import json
import os
import subprocess
from pathlib import Path

import pytest
import yaml

from tests.support.client.moco_command import Moco, answer
from tests.support.system.required_tools import needs
from trainer.util.atomic_files import write_synced

REPO = Path(__file__).resolve().parents[4]
DASHBOARDS = ("api", "overview", "training", "workers")


def files(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def test_grafana_gets_four_dashboards_and_their_provisioning(moco: Moco, tmp_path: Path) -> None:
    out = tmp_path / "new" / "grafana"
    done = moco("export", "grafana", str(out), "--prometheus-url", "http://prom:9090")
    assert done.exit_code == 0, done.stderr
    found = files(out)
    assert sorted(Path(line) for line in done.stdout.split()) == [out / name for name in found]
    for name in DASHBOARDS:
        path = f"dashboards/mocoserve-{name}.json"
        assert (
            found[path] == (REPO / "service/observability/grafana" / Path(path).name).read_bytes()
        )
    source = yaml.safe_load(found["provisioning/datasources/mocoserve.yml"])["datasources"][0]
    assert (source["type"], source["url"]) == ("prometheus", "http://prom:9090")
    provider = yaml.safe_load(found["provisioning/dashboards/mocoserve.yml"])["providers"][0]
    assert provider["options"]["path"] == str(out / "dashboards")
    assert str(out / "provisioning") in done.stderr


def test_prometheus_gets_the_targets_that_are_named(moco: Moco, tmp_path: Path) -> None:
    out, key = tmp_path / "prometheus", tmp_path / "a key"
    key.write_text("x" * 40)
    targets = ("--api", "a:1", "--state", "s:2", "--worker", "w:3", "--worker", "[::1]:4")
    done = moco("export", "prometheus", str(out), *targets, "--key-file", str(key), "--json")
    assert answer(done)["data"] == [
        str(out / name) for name in ("prometheus.yml", "rules.yml", "alerts.yml", "runbook.md")
    ]
    config = yaml.safe_load((out / "prometheus.yml").read_text())
    shown = {
        job["job_name"]: job["static_configs"][0]["targets"] for job in config["scrape_configs"]
    }
    assert shown == {"moco-api": ["a:1"], "moco-worker": ["w:3", "[::1]:4"], "moco-state": ["s:2"]}
    compose = yaml.safe_load((REPO / "docker/prometheus/prometheus.yml").read_text())
    assert set(shown) == {job["job_name"] for job in compose["scrape_configs"]}
    assert config["global"] == compose["global"]
    for job in config["scrape_configs"]:
        assert job["authorization"]["credentials_file"] == str(key)
    alerts = yaml.safe_load((out / "alerts.yml").read_text())
    urls = [r["annotations"]["runbook_url"] for g in alerts["groups"] for r in g["rules"]]
    assert {url.partition("#")[0] for url in urls} == {str(out / "runbook.md")}


def test_prometheus_gets_the_targets_of_the_service_that_runs_here(
    moco: Moco, tmp_path: Path
) -> None:
    data = tmp_path / "data"
    data.mkdir(exist_ok=True)
    metrics = {
        "api": "http://127.0.0.1:81/metrics",
        "state": "http://127.0.0.1:82/metrics",
        "worker": "http://127.0.0.1:83/metrics",
        "worker-ingest": "http://127.0.0.1:84/metrics",
    }
    (data / "server.json").write_text(json.dumps({"url": "x", "pid": 1, "metrics": metrics}))
    done = moco("export", "prometheus", str(tmp_path / "out"), "--data-dir", str(data))
    assert done.exit_code == 0, done.stderr
    assert "No key at" in done.stderr
    config = yaml.safe_load((tmp_path / "out" / "prometheus.yml").read_text())
    shown = [job["static_configs"][0]["targets"] for job in config["scrape_configs"]]
    assert shown == [["127.0.0.1:81"], ["127.0.0.1:83", "127.0.0.1:84"], ["127.0.0.1:82"]]


@needs("promtool")
def test_promtool_takes_the_config_as_it_is(moco: Moco, tmp_path: Path) -> None:
    key = tmp_path / 'k"ey'
    key.write_text("x" * 40)
    assert moco("export", "prometheus", str(tmp_path / "o"), "--key-file", str(key)).exit_code == 0
    done = subprocess.run(
        ["promtool", "check", "config", str(tmp_path / "o" / "prometheus.yml")],
        check=False,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("what", ["grafana", "prometheus"])
def test_nothing_is_replaced_unless_it_is_forced(moco: Moco, tmp_path: Path, what: str) -> None:
    out = tmp_path / "out"
    assert moco("export", what, str(out)).exit_code == 0
    whole_files = files(out)
    mine = next(iter(whole_files))
    (out / mine).write_text("mine")
    (out / "notes.txt").write_text("also mine")
    before = files(out)
    refused = moco("export", what, str(out))
    assert refused.exit_code == 1
    assert "--force" in refused.stderr
    assert files(out) == before
    assert moco("export", what, str(out), "--force").exit_code == 0
    assert files(out) == whole_files | {"notes.txt": b"also mine"}
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".")] == []


@pytest.mark.parametrize("there", [False, True], ids=["new folder", "old folder"])
def test_a_full_disk_leaves_everything_as_it_was(
    moco: Moco, tmp_path: Path, there: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "out"
    if there:
        out.mkdir()
        (out / "alerts.yml").write_text("mine")

    def full(path: Path, data: bytes) -> str:
        if path.name == "alerts.yml":
            raise OSError(28, os.strerror(28), str(path))
        return write_synced(path, data)

    monkeypatch.setattr("service.cli.atomic_downloads.write_synced", full)
    done = moco("export", "prometheus", str(out), "--force")
    assert done.exit_code == 1
    assert "No space left" in done.stderr
    assert (files(out) if out.exists() else None) == ({"alerts.yml": b"mine"} if there else None)
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".")] == []


def test_a_folder_in_the_place_of_a_file_is_told(moco: Moco, tmp_path: Path) -> None:
    (tmp_path / "out" / "alerts.yml").mkdir(parents=True)
    done = moco("export", "prometheus", str(tmp_path / "out"), "--force")
    assert done.exit_code == 1
    assert "alerts.yml" in done.stderr
    assert files(tmp_path / "out") == {}


@pytest.mark.parametrize("address", ["http://x:1", "x", "x:port", ":1", "x:70000"])
def test_an_address_that_is_none_is_told(moco: Moco, tmp_path: Path, address: str) -> None:
    done = moco("export", "prometheus", str(tmp_path / "out"), "--worker", address)
    assert done.exit_code == 1
    assert "127.0.0.1:9103" in done.stderr
    assert not (tmp_path / "out").exists()
