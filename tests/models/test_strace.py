"""The reader of strace's log, on lines that strace wrote."""

from tests.support.system.strace import parse

LOG = r"""
41 write(3</data/c/1.tmp/state>, "ab\"c)= 7", 9) = 9
41 fsync(3</data/c/1.tmp/state> <unfinished ...>
42 sendto(5<socket:[77]>, "*3\r\n$5\r\nFCALL\r\n", 15, 0, NULL, 0 <unfinished ...>
42 <... sendto resumed>) = 15
41 <... fsync resumed>) = 0
41 --- SIGCHLD {si_signo=SIGCHLD, si_code=CLD_EXITED} ---
41 rename("/data/c/1.tmp", "/data/c/1") = 0
41 fsync(4</data/c>) = -1 EIO (Input/output error)
43 <... fsync resumed>) = 0
42 writev(6<UNIX:[1->2]>, [{iov_base="+OK", iov_len=3}], 1) = 3
42 write(7<pipe:[9]>, "x", 1 <unfinished ...>
42 +++ killed by SIGKILL +++
""".strip()


def test_calls_are_read_with_their_begin_and_end() -> None:
    calls = parse(LOG.splitlines())
    assert [(call.pid, call.name, call.began, call.ended, call.result) for call in calls] == [
        (41, "write", 0, 0, 9),
        (41, "fsync", 1, 4, 0),
        (42, "sendto", 2, 3, 15),
        (41, "rename", 6, 6, 0),
        (41, "fsync", 7, 7, -1),
        (42, "writev", 9, 9, 3),
    ]


def test_what_a_call_is_about() -> None:
    write, sync, send, rename, failed, reply = parse(LOG.splitlines())
    assert write.path == sync.path == "/data/c/1.tmp/state"
    assert write.texts == (r"ab\"c)= 7",)
    assert rename.texts == ("/data/c/1.tmp", "/data/c/1")
    assert (send.is_to_socket, reply.is_to_socket, write.is_to_socket) == (True, True, False)
    assert send.says("FCALL")
    assert not send.says("FCALL", "moco_submit")
    assert failed.path == "/data/c"
