"""The defects. Each breaks one promise, and names the tests that hold it."""

from typing import Final

from tests.mutants.devices import DEVICES
from tests.mutants.fast import FAST
from tests.mutants.gangs import GANGS
from tests.mutants.gpu_kernels import GPU_KERNELS
from tests.mutants.gpu_steps import GPU_STEPS
from tests.mutants.gpus import GPUS
from tests.mutants.learning import LEARNING
from tests.mutants.placement import PLACEMENTS
from tests.mutants.resumes import RESUMES
from tests.mutants.runner import Mutant
from tests.mutants.slots import SLOTS
from tests.mutants.store import STORE

PAGES = "tests/service/web/test_pages.py::test_"
CHECKPOINTS = "tests/trainer/checkpoint/test_checkpoint_files.py::test_"

WORKER: Final = (
    Mutant(
        "artifacts are told without a look at the disk",
        "worker/attempt/attempt_runner.py",
        "            verify_published(workspace.out, published)\n",
        "            pass\n",
        (
            "tests/worker/attempt/test_attempt_runner.py::"
            "test_artifacts_that_are_not_what_was_told_are_never_published",
        ),
    ),
    Mutant(
        "a checkpoint is told without a look at the disk",
        "worker/attempt/attempt_runner.py",
        "if not is_checkpoint_whole(self._workspace.out, checkpoint):",
        "if False:",
        (
            "tests/worker/attempt/test_attempt_runner.py::"
            "test_the_pointer_does_not_move_to_a_checkpoint_that_is_not_whole",
        ),
    ),
    Mutant(
        "only the size of an artifact is looked at",
        "worker/attempt/verify_files.py",
        " and sha256_of(path) == file.sha256",
        "",
        (
            "tests/worker/attempt/test_verify_files.py::test_a_file_that_is_not_as_announced_is_named",
        ),
    ),
    Mutant(
        "a refused renewal is ignored",
        "worker/health/lease_renewer.py",
        "                self.lose()\n                return\n",
        "                continue\n",
        ("tests/worker/health/test_lease_renewer.py::test_a_refusal_is_final",),
    ),
    Mutant(
        "an outage is taken for a lost lease",
        "worker/health/lease_renewer.py",
        "                self.away = True\n                continue\n",
        "                self.lose()\n                return\n",
        ("tests/worker/health/test_lease_renewer.py::test_an_outage_changes_nothing",),
    ),
    Mutant(
        "the event sender hides that the lease is lost",
        "worker/attempt/event_sender.py",
        'LOG.warning("the store takes no more of this attempt: %s", error)\n'
        "            self._on_lost()\n",
        'LOG.warning("the store takes no more of this attempt: %s", error)\n',
        (
            "tests/worker/attempt/test_event_sender.py::test_a_refusal_ends_it_and_nothing_more_is_sent",
        ),
    ),
    Mutant(
        "events of an outage are thrown away",
        "worker/attempt/event_sender.py",
        "self._sending = self._sending or self._buffer.take(BATCH_EVENTS)",
        "self._sending = self._buffer.take(BATCH_EVENTS)",
        ("tests/worker/attempt/test_event_sender.py::test_an_outage_delays_and_loses_nothing",),
    ),
    Mutant(
        "a killed process spends the user's retries",
        "worker/attempt/decision.py",
        'return Decision("release", LOST, f"The training process {describe_exit(status)}")',
        'return Decision("fail", LOST, f"The training process {describe_exit(status)}", '
        "retry=True)",
        (
            "tests/worker/attempt/test_decision.py::test_a_death_without_a_result_is_a_lost_worker_in_words",
        ),
    ),
)

EDGE: Final = (
    Mutant(
        "a key is compared by its beginning",
        "service/server/api_keys.py",
        "return hashlib.sha256(key).digest()",
        "return hashlib.sha256(key[:16]).digest()",
        ("tests/service/server/test_auth.py::test_every_route_needs_the_key",),
    ),
    Mutant(
        "the key that may only look may change",
        "service/server/auth.py",
        'return method in SAFE and (role == "read" or path in SCRAPED)',
        "return True",
        (PAGES + "the_read_key_looks_and_changes_nothing",),
    ),
    Mutant(
        "another site may use a session",
        "service/server/auth.py",
        "if by_cookie and not safe and not same_origin(headers):",
        "if False:",
        (PAGES + "only_our_own_pages_may_use_a_session_to_change_things",),
    ),
    Mutant(
        "a session has no end",
        "service/server/sessions.py",
        "if match is None or int(match[2]) < self._now_s():",
        "if match is None:",
        (PAGES + "a_session_ends_with_its_time_its_key_and_any_changed_letter",),
    ),
    Mutant(
        "the key is not asked for",
        "service/server/auth.py",
        "            if refusal is not None:\n",
        "            if False:\n",
        ("tests/service/server/test_auth.py::test_every_route_needs_the_key",),
    ),
    Mutant(
        "metrics and health are open",
        "service/server/auth.py",
        "            if refusal is not None:\n",
        '            if refusal is not None and scope["path"] not in {"/metrics", "/livez"}:\n',
        ("tests/service/server/test_auth.py::test_every_route_needs_the_key",),
    ),
    Mutant(
        "the sha256 of an upload is not compared",
        "service/datasets/uploads.py",
        "if offer.sha256 is not None and sha256 != offer.sha256:",
        "if False:",
        ("tests/service/datasets/test_uploads.py::test_wrong_bytes_are_dropped",),
    ),
    Mutant(
        "the offset of an upload is not compared",
        "service/datasets/uploads.py",
        "if offer.offset not in (0, held):",
        "if offer.offset > held:",
        ("tests/service/datasets/test_uploads.py::test_a_wrong_offset_tells_the_right_one",),
    ),
    Mutant(
        "a resumed upload is hashed from where it goes on",
        "service/datasets/uploads.py",
        "        hasher.update(block)\n    check_space",
        '        hasher.update(b"")\n    check_space',
        ("tests/service/datasets/test_uploads.py::test_in_pieces_at_random_bytes",),
    ),
    Mutant(
        "two senders may write one upload",
        "service/datasets/uploads.py",
        "    except BlockingIOError:\n        return False\n",
        "    except BlockingIOError:\n        return True\n",
        ("tests/service/datasets/test_uploads.py::test_one_sender_at_a_time",),
    ),
    Mutant(
        "more bytes than announced are written",
        "service/datasets/uploads.py",
        "if offset + len(block) > offer.size_bytes:",
        "if False:",
        ("tests/service/datasets/test_uploads.py::test_chunked_with_a_told_size",),
    ),
)

FILES: Final = (
    Mutant(
        "a file is not synced",
        "trainer/util/atomic_files.py",
        "        os.fsync(file.fileno())\n",
        "",
        (CHECKPOINTS + "files_are_on_the_disk_before_the_name_is",),
    ),
    Mutant(
        "the names in a folder are not synced",
        "trainer/util/atomic_files.py",
        "        os.fsync(handle)\n",
        "        pass\n",
        (CHECKPOINTS + "files_are_on_the_disk_before_the_name_is",),
    ),
    Mutant(
        "a checkpoint is written in its place",
        "trainer/checkpoint/checkpoint_files.py",
        'temporary = folder / f"{meta.step:09d}.tmp"\n    remove(temporary)',
        'temporary = folder / f"{meta.step:09d}"\n    remove(temporary)',
        (CHECKPOINTS + "files_are_on_the_disk_before_the_name_is",),
    ),
    Mutant(
        "the name of a checkpoint is not synced",
        "trainer/checkpoint/checkpoint_files.py",
        '        failpoint("checkpoint.post_rename")\n        sync_folder(folder)\n',
        '        failpoint("checkpoint.post_rename")\n',
        (CHECKPOINTS + "files_are_on_the_disk_before_the_name_is",),
    ),
    Mutant(
        "damage to a manifest passes",
        "trainer/checkpoint/checkpoint_files.py",
        "if manifest != manifest.sealed() or data != _json(manifest):",
        "if False:",
        ("tests/trainer/checkpoint/test_bit_flips.py::test_every_bit_of_the_manifest",),
    ),
    Mutant(
        "the bytes of a checkpoint are not verified",
        "trainer/checkpoint/checkpoint_files.py",
        "if len(data) != file.size_bytes or hashlib.sha256(data).hexdigest() != file.sha256:",
        "if len(data) != file.size_bytes:",
        (CHECKPOINTS + "any_damage_is_found_and_the_one_before_is_taken",),
    ),
    Mutant(
        "after a damaged checkpoint there is no other",
        "trainer/checkpoint/checkpoint_files.py",
        "            reasons.append(str(error))\n",
        "            reasons.append(str(error))\n            break\n",
        (CHECKPOINTS + "any_damage_is_found_and_the_one_before_is_taken",),
    ),
    Mutant(
        "a full disk leaves half of a checkpoint",
        "trainer/util/atomic_files.py",
        "    except OSError as error:\n        remove(leftover)\n",
        "    except OSError as error:\n",
        (CHECKPOINTS + "a_full_disk_leaves_nothing_half_written",),
    ),
    Mutant(
        "artifacts appear before they are whole",
        "trainer/exports/atomic_folder.py",
        'folder.with_name(folder.name + ".tmp")',
        "folder",
        ("tests/trainer/exports/test_publish.py::test_a_full_disk_leaves_the_files_of_before",),
    ),
)

MUTANTS: Final = (
    *STORE,
    *PLACEMENTS,
    *WORKER,
    *EDGE,
    *FILES,
    *RESUMES,
    *FAST,
    *GPU_KERNELS,
    *GPU_STEPS,
    *GPUS,
    *LEARNING,
    *DEVICES,
    *SLOTS,
    *GANGS,
)
