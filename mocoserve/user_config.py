"""User settings from the command line, the environment and files, with their origins.

The order is flag > environment > `./moco.toml` > the user's own file > default. Only the standard
library is loaded, because every command begins here.
"""

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

PROJECT_FILE = "moco.toml"
NO_FILES = "MOCO_NO_CONFIG"
"""Variable that, if it is not empty, keeps both files from being read."""
KEYS_TABLE = "keys"
"""Table in the user's file: server address -> key."""


class ConfigError(Exception):
    """Invalid configuration."""

    def __init__(self, title: str, *, detail: str = "", hint: str = "") -> None:
        """`title` says what is wrong, `detail` where, `hint` what to do next."""
        super().__init__(title)
        self.title, self.detail, self.hint = title, detail, hint


class BadConfig(ConfigError):
    """A file or a variable has an unknown setting or an invalid value."""


class Setting(NamedTuple):
    """One setting."""

    name: str
    kind: type
    """`int`, `Path`, or `str`."""
    env: str
    flag: str
    default: str | int | None
    help: str
    secret: bool = False
    most: int = 65_535
    """Maximum of a number."""


def _limit(name: str, help: str, default: int | None) -> Setting:
    """Return a setting of `moco up` in bytes or seconds, without a flag."""
    return Setting(name, int, f"MOCO_{name.upper()}", "", default, help, most=2**62)


DAY_S = 24 * 3600
RETENTION = (
    _limit("removable_bytes_max", "limit on the bytes of files that retention may delete", None),
    _limit("upload_kept_s", "retention of unfinished uploads, seconds", DAY_S),
    _limit("dataset_unusable_kept_s", "retention of failed datasets, seconds", 7 * DAY_S),
    _limit("checkpoint_kept_s", "retention of checkpoints after a job ends, seconds", 30 * DAY_S),
    _limit("event_kept_s", "retention of events after a job ends, seconds", 30 * DAY_S),
    _limit("job_kept_s", "retention of failed and cancelled jobs, seconds", None),
    _limit("log_kept_s", "retention of rotated logs, seconds", 30 * DAY_S),
)
"""Retention settings of the API of `moco up`; the same as in `service.settings`."""
SETTINGS = (
    Setting("url", str, "MOCO_URL", "--url", None, "server URL (default: the local `moco up`)"),
    Setting("api_key", str, "MOCO_API_KEY", "--key", None, "API key of the server", secret=True),
    Setting("data_dir", Path, "MOCO_DATA_DIR", "--data-dir", None, "data folder of `moco up`"),
    Setting("port", int, "MOCO_PORT", "--port", 8080, "API port of `moco up`; 0 picks a free one"),
    Setting("redis_url", str, "MOCO_REDIS_URL", "--redis", None, "external Redis for `moco up`"),
    Setting("device", str, "MOCO_DEVICE", "--device", "auto", "training device of `moco up`"),
    _limit("log_bytes_max", "log size at which a log file is rotated, bytes", 16 << 20),
    *RETENTION,
)
BY_NAME = {setting.name: setting for setting in SETTINGS}
Value = str | int | Path | None


class SettingValue(NamedTuple):
    """Value of a setting with its origin."""

    value: Value
    origin: str
    """Origin, such as `--url`, `MOCO_URL`, the path of a file, or `default`."""


@dataclass(frozen=True)
class Layer:
    """Settings from one file."""

    path: Path
    values: dict[str, Value] = field(default_factory=dict)
    keys: dict[str, str] = field(default_factory=dict)
    """Address of a server -> key; only in the user's file."""


@dataclass(frozen=True)
class Config:
    """Every layer below the flags."""

    environment: dict[str, Value]
    project: Layer
    user: Layer

    def find(self, name: str, *, flag: Value = None) -> SettingValue:
        """Return the effective value and its origin. Raises BadConfig for an invalid flag."""
        setting = BY_NAME[name]
        if isinstance(flag, str):
            flag = _checked(setting, flag, where="this command", key=setting.flag, base=None)
        if flag is not None:
            return SettingValue(flag, setting.flag)
        if (value := self.environment.get(name)) is not None:
            return SettingValue(value, setting.env)
        for layer in (self.project, self.user):
            if (value := layer.values.get(name)) is not None:
                return SettingValue(value, str(layer.path))
        if name == "data_dir":
            return SettingValue(default_data_dir(), "default")
        return SettingValue(setting.default, "default")

    @property
    def data_dir(self) -> Path:
        """Return the data folder of this machine."""
        return Path(str(self.find("data_dir").value))


NOTHING = Config({}, Layer(Path(PROJECT_FILE)), Layer(Path("config.toml")))
"""Return a configuration with nothing set, for commands that serve themselves."""


def load(environment: Mapping[str, str] | None = None, *, folder: Path | None = None) -> Config:
    """Read every layer. `folder` is the one with the project's file; left out: where we are.

    Raises BadConfig for a file or a variable that cannot be understood.
    """
    variables = os.environ if environment is None else environment
    project, user = (folder or Path.cwd()) / PROJECT_FILE, user_file(variables)
    if variables.get(NO_FILES):
        return Config(_of_environment(variables), Layer(project), Layer(user))
    return Config(_of_environment(variables), _read(project), _read(user))


def user_file(environment: Mapping[str, str] | None = None) -> Path:
    """Return `${XDG_CONFIG_HOME:-~/.config}/mocoserve/config.toml`."""
    variables = os.environ if environment is None else environment
    base = variables.get("XDG_CONFIG_HOME") or Path.home() / ".config"
    return Path(base) / "mocoserve" / "config.toml"


def default_data_dir() -> Path:
    """Return `${XDG_DATA_HOME:-~/.local/share}/mocoserve`."""
    base = os.environ.get("XDG_DATA_HOME") or Path.home() / ".local" / "share"
    return Path(base) / "mocoserve"


def _of_environment(variables: Mapping[str, str]) -> dict[str, Value]:
    """Return the variables that are set and not empty."""
    return {
        setting.name: _checked(setting, text, where=setting.env, key=setting.env, base=None)
        for setting in SETTINGS
        if (text := variables.get(setting.env))
    }


def _read(path: Path) -> Layer:
    try:
        text = path.read_text("utf-8")
    except FileNotFoundError:
        return Layer(path)
    except (OSError, UnicodeDecodeError) as error:
        raise BadConfig(
            f"{path} cannot be read",
            detail=str(getattr(error, "strerror", "") or "It is not UTF-8."),
            hint="Fix or remove the file.",
        ) from error
    import tomllib  # noqa: PLC0415  # most have no such file, and need not wait for this

    try:
        content = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise BadConfig(
            f"{path} is not valid TOML",
            detail=f"{error}.",
            hint='A line reads: url = "http://host:8080"',
        ) from error
    keys = _keys(path, text, content.pop(KEYS_TABLE, None))
    values = {name: _value(path, text, name, value) for name, value in content.items()}
    return Layer(path, values, keys)


def _value(path: Path, text: str, name: str, value: object) -> Value:
    where = f"{path}, {_line_of(text, name)}"
    setting = BY_NAME.get(name)
    if setting is None:
        from difflib import get_close_matches  # noqa: PLC0415  # only for a mistake

        near = get_close_matches(name, BY_NAME, n=1)
        meant = f" Did you mean {near[0]!r}?" if near else ""
        raise BadConfig(
            f"Unknown setting {name!r}",
            detail=f"In {where}.{meant}",
            hint=f"Settings: {', '.join(BY_NAME)}. Job settings belong in the job spec.",
        )
    return _checked(setting, value, where=where, key=name, base=path.parent)


def _checked(setting: Setting, value: object, *, where: str, key: str, base: Path | None) -> Value:
    """Return `value` in the setting's type. A path in a file is relative to that file."""
    if setting.kind is int:
        number = _number(value)
        if number is None or not 0 <= number <= setting.most:
            raise _wrong(key, f"a whole number from 0 to {setting.most}, not {value!r}", where)
        return number
    if not isinstance(value, str) or not value.strip():
        shown = "this" if setting.secret else repr(value)
        raise _wrong(key, f"text in quotes, not {shown}", where)
    if setting.name == "url" and not re.match(r"https?://[^/\s]+", value):
        raise _wrong(key, f"an address such as http://host:8080, not {value!r}", where)
    if setting.name == "redis_url" and not re.match(r"(rediss?|unix)://.", value):
        raise _wrong(key, f"an address such as redis://host:6379/0, not {value!r}", where)
    if setting.kind is Path:
        path = Path(value).expanduser()
        return path if base is None else base / path
    return value


def _number(value: object) -> int | None:
    if isinstance(value, bool):
        return None
    if isinstance(value, int):
        return value
    return int(value) if isinstance(value, str) and re.fullmatch(r"[0-9]{1,18}", value) else None


def _keys(path: Path, text: str, table: Any) -> dict[str, str]:  # noqa: ANN401  # any TOML value
    if table is None:
        return {}
    where = f"{path}, {_line_of(text, KEYS_TABLE)}"
    if path.name == PROJECT_FILE:
        raise BadConfig(
            f"[{KEYS_TABLE}] is not allowed in {PROJECT_FILE}",
            detail=f"In {where}. Project files are shared; keys must stay private.",
            hint=f"Move it to {user_file()}.",
        )
    if not isinstance(table, dict) or not all(isinstance(key, str) for key in table.values()):
        raise _wrong(KEYS_TABLE, 'a table of lines such as "http://host:8080" = "key"', where)
    return {str(url).rstrip("/"): key for url, key in table.items()}


def _wrong(key: str, must: str, where: str) -> BadConfig:
    return BadConfig(
        f"{key} must be {must}",
        detail=f"In {where}.",
        hint="`moco config list` shows the effective settings.",
    )


def _line_of(text: str, name: str) -> str:
    """Return the line that sets a name; the TOML reader does not keep lines."""
    pattern = re.compile(rf"""\s*\[?\s*["']?{re.escape(name)}["']?\s*[]=.]""")
    for number, line in enumerate(text.splitlines(), 1):
        if pattern.match(line):
            return f"line {number}"
    return f"key {name}"
