"""System calls of processes, in order, recorded by strace.

All processes are followed by one strace, which stops each of them at the beginning and at the end
of a call; so if one call ended before another began, it stands so in the log.
"""

import re
import subprocess
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

CALLS = ("write", "writev", "pwrite64", "sendto", "sendmsg", "fsync", "fdatasync", "rename")
SHOWN_BYTES = 600
_LINE = re.compile(
    r"(?P<pid>\d+) +(?:(?P<name>\w+)\((?P<args>.*)|<\.\.\. (?P<resumed>\w+) resumed>(?P<rest>.*))"
)
_UNFINISHED = " <unfinished ...>"
_RESULT = re.compile(r"\)? += (?P<result>-?\d+|\?)(?: .*)?$")
_HANDLE = re.compile(r"\d+<(?P<what>[^>]*)>")
_TEXT = re.compile(r'"((?:[^"\\]|\\.)*)"')


@dataclass(frozen=True)
class Call:
    """One call of the kernel. `began` and `ended` are lines of the log."""

    pid: int
    name: str
    args: str
    began: int
    ended: int
    result: int

    @property
    def path(self) -> str:
        """The open file that the call is about: a path, or its kind (`pipe:[7]`)."""
        handle = _HANDLE.match(self.args)
        return handle["what"] if handle else ""

    @property
    def texts(self) -> tuple[str, ...]:
        """Quoted arguments: the data that is written, or the names of a rename."""
        return tuple(_TEXT.findall(self.args))

    @property
    def is_to_socket(self) -> bool:
        return self.path.startswith(("socket:", "UNIX", "TCP"))

    def says(self, *words: str) -> bool:
        """Return whether all these words are in what is written."""
        text = "".join(self.texts)
        return all(word in text for word in words)


def parse(lines: Iterable[str]) -> list[Call]:
    """The calls that ended, in the order in which they began. Signals and exits are left out."""
    calls: list[Call] = []
    open_: dict[int, Call] = {}
    for number, line in enumerate(lines):
        match = _LINE.match(line.rstrip("\n"))
        if match is None:
            continue
        pid = int(match["pid"])
        if match["resumed"]:
            begun = open_.pop(pid, None)
            if begun is None or begun.name != match["resumed"]:
                continue  # it began before the log
            call, text = begun, begun.args + match["rest"]
        else:
            call, text = Call(pid, match["name"], "", number, number, 0), match["args"]
            if text.endswith(_UNFINISHED):
                open_[pid] = replace(call, args=text.removesuffix(_UNFINISHED))
                continue
        end = _RESULT.search(text)
        if end is not None and end["result"] != "?":
            args = text[: end.start()]
            calls.append(replace(call, args=args, ended=number, result=int(end["result"])))
    return sorted(calls, key=lambda call: call.began)


@contextmanager
def followed(pids: Iterable[int], log: Path) -> Iterator[None]:
    """Follow these processes, with their threads and the children they make, into `log`."""
    command = ["strace", "-f", "-y", "-qq", f"-s{SHOWN_BYTES}", f"-etrace={','.join(CALLS)}"]
    command += [f"-o{log}", *(f"-p{pid}" for pid in pids)]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    try:
        _wait_attached(process, pids)
        yield
    finally:
        process.terminate()
        process.communicate(timeout=10.0)


def _wait_attached(process: "subprocess.Popen[str]", pids: Iterable[int]) -> None:
    """Until each of them has strace as its tracer."""
    until_s = time.monotonic() + 10.0
    for pid in pids:
        while f"TracerPid:\t{process.pid}\n" not in Path(f"/proc/{pid}/status").read_text():
            if process.poll() is not None or time.monotonic() > until_s:
                process.terminate()
                raise CannotTrace(process.communicate()[1].strip() or "strace cannot attach")
            time.sleep(0.01)


class CannotTrace(Exception):
    """This machine does not let one process follow another."""
