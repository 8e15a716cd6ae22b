import pytest

from trainer.schema.events import Ended, FileRecord, Published
from worker.attempt.decision import Decision, decide

FILES = Published(folder="artifacts", files=(FileRecord(name="a", size_bytes=1, sha256="0"),))
DONE = Ended(outcome="succeeded", step=10)
STOPPED = Ended(outcome="stopped", code="stopped", step=5)


def failed(code: str) -> Ended:
    return Ended(outcome="failed", code=code, message="why", hint="what next")


@pytest.mark.parametrize("asked", [True, False])
def test_a_result_that_succeeded_completes_even_if_a_stop_came_too_late(asked: bool) -> None:
    assert decide(DONE, 0, asked_to_stop=asked, published=FILES) == Decision("complete")


def test_the_result_speaks_before_the_exit_code() -> None:
    assert decide(DONE, -9, asked_to_stop=False, published=FILES).act == "complete"
    assert decide(failed("oom"), 0, asked_to_stop=False, published=None).code == "oom"


@pytest.mark.parametrize("ended", [None, STOPPED])
def test_what_we_stopped_is_handed_back_free_of_charge(ended: Ended | None) -> None:
    decision = decide(ended, -15, asked_to_stop=True, published=None)
    assert decision == Decision("release", "preempted")


@pytest.mark.parametrize(
    ("code", "act", "retry"),
    [
        ("oom", "fail", True),
        ("nonfinite_loss", "fail", True),
        ("bad_spec", "fail", False),
        ("bad_dataset", "fail", False),
        ("dataset_missing", "fail", False),
        ("bad_checkpoint", "fail", False),
        ("internal", "fail", False),
        ("storage", "release", False),
        ("device", "release", False),
    ],
)
def test_a_failure_is_the_users_or_ours(code: str, act: str, retry: bool) -> None:
    decision = decide(failed(code), 0, asked_to_stop=False, published=None)
    assert (decision.act, decision.code, decision.retry) == (act, code, retry)
    assert decision.message == "why"


@pytest.mark.parametrize(
    ("status", "word"), [(-9, "memory"), (-11, "SIGSEGV"), (-7, "SIGBUS"), (1, "exit code 1")]
)
def test_a_death_without_a_result_is_a_lost_worker_in_words(status: int, word: str) -> None:
    decision = decide(None, status, asked_to_stop=False, published=None)
    assert (decision.act, decision.code) == ("release", "worker_lost")
    assert word in decision.message


def test_success_without_files_is_a_defect_of_ours() -> None:
    decision = decide(DONE, 0, asked_to_stop=False, published=None)
    assert (decision.act, decision.code) == ("fail", "internal")


@pytest.mark.parametrize(
    ("message", "told"),
    [
        ("upload.part holds no image.", "The upload holds no image."),
        ("The entry a.png of upload.part is damaged.", "The entry a.png of the upload is damaged."),
        ("photos holds no image.", "photos holds no image."),
    ],
)
def test_what_was_sent_is_not_called_by_our_name_for_it(message: str, told: str) -> None:
    ended = Ended(outcome="failed", code="bad_dataset", message=message, hint="h")
    assert decide(ended, 0, asked_to_stop=False, published=None).message == told
