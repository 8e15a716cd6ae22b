"""Flag > environment > ./moco.toml > user's file > default; and who is told which key."""

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from mocoserve.server_address import NoKey, find, locate
from mocoserve.user_config import SETTINGS, BadConfig, load
from service.cli.commands.config import masked
from service.cli.main import app

URL, KEY = "http://team:8080", "a-secret-of-more-than-sixteen"


class Places:
    """A project's folder, a home, and the variables."""

    def __init__(self, base: Path) -> None:
        self.project, self.user = base / "project", base / "config" / "mocoserve"
        self.project.mkdir()
        self.user.mkdir(parents=True)
        self.env = {"XDG_CONFIG_HOME": str(base / "config")}
        self.data_dir = base / "data"
        self.data_dir.mkdir()

    def write(self, *, project: str | None = None, user: str | None = None) -> None:
        if project is not None:
            (self.project / "moco.toml").write_text(project)
        if user is not None:
            (self.user / "config.toml").write_text(user)

    def run(self, *arguments: str, **env: str) -> Result:
        result = CliRunner().invoke(app, list(arguments), env={**self.env, **env})
        assert "Traceback" not in result.output
        return result

    def listed(self, *flags: str, **env: str) -> dict[str, tuple[Any, str]]:
        result = self.run("config", "list", "--json", *flags, **env)
        assert result.exit_code == 0, result.output
        rows = json.loads(result.stdout)["data"]
        assert [row["name"] for row in rows] == [setting.name for setting in SETTINGS]
        return {row["name"]: (row["value"], row["origin"]) for row in rows}


@pytest.fixture
def places(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Places:
    for setting in SETTINGS:
        monkeypatch.delenv(setting.env, raising=False)
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "share"))
    made = Places(tmp_path)
    monkeypatch.chdir(made.project)
    return made


def test_each_layer_beats_those_below(places: Places) -> None:
    assert places.listed()["port"] == (8080, "default")
    assert places.listed()["url"] == (None, "default")
    places.write(user=f'url = "http://user"\nport = 1\napi_key = "{KEY}"\n')
    user = str(places.user / "config.toml")
    assert places.listed()["url"] == ("http://user", user)
    assert places.listed()["port"] == (1, user)
    places.write(project='url = "http://project"\n')
    project = str(places.project / "moco.toml")
    assert places.listed()["url"] == ("http://project", project)
    assert places.listed()["port"] == (1, user)
    found = places.listed(MOCO_URL="http://env", MOCO_PORT="2")
    assert found["url"] == ("http://env", "MOCO_URL")
    assert found["port"] == (2, "MOCO_PORT")
    found = places.listed("--url", "http://flag", MOCO_URL="http://env")
    assert found["url"] == ("http://flag", "--url")
    assert places.listed(MOCO_URL="")["url"] == ("http://project", project)


def test_secrets_are_masked(places: Places) -> None:
    places.write(user=f'url = "{URL}"\napi_key = "{KEY}"\n')
    told = places.run("config", "list")
    assert KEY not in told.output
    assert f"****{KEY[-4:]}" in told.stdout
    assert masked("short") == "****"


def test_a_path_of_a_file_begins_where_the_file_lies(places: Places) -> None:
    places.write(project='data_dir = "data"\n')
    assert places.listed()["data_dir"][0] == str(places.project / "data")
    places.write(project='data_dir = "~/data"\n')
    assert places.listed()["data_dir"][0] == str(Path.home() / "data")


def test_the_files_are_named(places: Places) -> None:
    places.write(project="")
    lines = places.run("config", "path").stdout.splitlines()
    user = places.user / "config.toml"
    assert lines == [str(places.project / "moco.toml"), f"{user} (not found)"]
    data = json.loads(places.run("config", "path", "--json").stdout)["data"]
    assert [row["exists"] for row in data] == [True, False]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ('\nurll = "x"\n', ("Unknown setting 'urll'", "line 2", "Did you mean 'url'?")),
        ("epochs = 5\n", ("Unknown setting 'epochs'", "line 1", "spec")),
        ('port = "many"\n', ("port must be a whole number", "line 1")),
        ("port = 70000\n", ("port must be a whole number", "70000")),
        ("port = true\n", ("port must be a whole number",)),
        ("# first\nurl = 5\n", ("url must be text in quotes", "line 2")),
        ('url = "team:8080"\n', ("url must be an address", "http://host:8080")),
        ("api_key = 5\n", ("api_key must be text",)),
        ("url = \n", ("is not valid TOML", "line 1")),
        ('[keys]\n"http://x" = "y"\n', ("[keys] is not allowed", "line 1")),
        ("[url]\nx = 1\n", ("url must be text", "line 1")),
    ],
)
def test_a_mistake_names_the_file_and_the_line(
    places: Places, text: str, words: tuple[str, ...]
) -> None:
    places.write(project=text)
    for command in (("config", "list"), ("jobs",), ("doctor",), ("up",)):
        result = places.run(*command)
        assert result.exit_code == 2, result.output
        assert "moco.toml" in result.stderr
        assert all(word in result.stderr for word in words), result.stderr
        assert "next: " in result.stderr
    assert places.run("config", "path").exit_code == 0
    assert places.run("--help").exit_code == 0
    assert places.run("config", "list", MOCO_NO_CONFIG="1").exit_code == 0


def test_a_wrong_variable_is_named(places: Places) -> None:
    result = places.run("config", "list", MOCO_PORT="many")
    assert (result.exit_code, "In MOCO_PORT" in result.stderr) == (2, True)


def test_a_file_that_is_no_text(places: Places) -> None:
    (places.project / "moco.toml").write_bytes(b"\xff\xfe")
    assert "UTF-8" in places.run("jobs").stderr
    (places.project / "moco.toml").unlink()
    (places.project / "moco.toml").mkdir()
    assert places.run("jobs").exit_code == 2


# keys go only to servers that they are for


def test_a_projects_server_gets_no_key_of_the_user(places: Places) -> None:
    """A folder from a stranger names a server of the stranger's."""
    places.write(project='url = "http://stranger"\n', user=f'url = "{URL}"\napi_key = "{KEY}"\n')
    (places.data_dir / "api.key").write_text("of this machine")
    (places.data_dir / "server.json").write_text('{"url": "http://127.0.0.1:8080"}')
    with pytest.raises(NoKey, match="No key for the server"):
        find(None, None, places.data_dir, config=load(places.env))
    assert places.run("jobs").exit_code == 3
    assert find("http://x", None, places.data_dir, config=load(places.env)).key == KEY


@pytest.mark.parametrize(
    ("project", "user", "env", "key"),
    [
        ("", f'[keys]\n"{URL}/" = "named"\n', {}, "named"),
        ("", f'api_key = "mine"\n[keys]\n"{URL}" = "named"\n', {}, "named"),
        ('api_key = "shared"\n', 'api_key = "mine"\n', {}, "shared"),
        ("", "", {"MOCO_API_KEY": "given"}, "given"),
    ],
)
def test_a_projects_server_gets_the_key_that_is_for_it(
    places: Places, project: str, user: str, env: dict[str, str], key: str
) -> None:
    places.write(project=f'url = "{URL}"\n{project}', user=user)
    config = load({**places.env, **env})
    assert find(None, None, places.data_dir, config=config) == (URL, key)


def test_a_projects_data_folder_draws_out_no_key_either(places: Places) -> None:
    (places.project / "trap").mkdir()
    (places.project / "trap" / "server.json").write_text('{"url": "http://stranger"}')
    places.write(project='data_dir = "trap"\n', user='api_key = "mine"\n')
    config = load(places.env)
    found = locate(config, url=None, key=None, data_dir=config.data_dir)
    assert (found.url.value, found.key.value) == ("http://stranger", None)
    (places.project / "trap" / "api.key").write_text("of the stranger")
    assert find(None, None, None, config=config).key == "of the stranger"


def test_a_wrong_table_of_keys(places: Places) -> None:
    places.write(user='[keys]\n"http://x" = 5\n')
    with pytest.raises(BadConfig, match="keys must be a table"):
        load(places.env)
