"""Defects of the functions in Redis, of what guards them, and of the ledgers."""

from typing import Final

from tests.mutants.runner import Mutant

LUA = "service/store/lua/"
AHEAD = "tests/service/ledger/test_write_ahead.py::test_"
FOLD = "tests/service/ledger/test_replay.py::test_"
REBUILT = "tests/service/ledger/test_reconcile.py::test_"
QUEUE = "tests/service/store/test_job_queue.py::test_"
JOBS = "tests/service/store/test_job_store.py::test_"
MODEL = "tests/service/store/test_model.py::test_the_store_lives_as_the_model_does"

LEASES: Final = (
    Mutant(
        "the token is not compared",
        LUA + "common.lua",
        " and j.token == token\nend",
        "\nend",
        (QUEUE + "a_zombie_is_refused_at_every_call_and_changes_nothing",),
    ),
    Mutant(
        "the state is not compared",
        LUA + "common.lua",
        "return j and (j.status == 'running' or j.status == 'stopping') and j.token == token",
        "return j and j.token == token",
        (QUEUE + "no_token_is_the_token_of_nobody",),
    ),
    Mutant(
        "a lease is kept after its end",
        LUA + "common.lua",
        "  R('ZREM', K.leases, j.id)\n",
        "",
        (MODEL,),
    ),
    Mutant(
        "a renewal renews nothing",
        LUA + "queue.lua",
        "  R('ZADD', K.leases, over, id)\n  return { 'OK', j.desired }",
        "  return { 'OK', j.desired }",
        (QUEUE + "renew_keeps_a_lease_for_as_long_as_it_is_called",),
    ),
    Mutant(
        "the checkpoint pointer may fall",
        LUA + "queue.lua",
        "if j.checkpoint == '' or step >= tonumber(j.checkpoint_step) then",
        "if true then",
        (QUEUE + "the_checkpoint_pointer_never_goes_back",),
    ),
    Mutant(
        "a tick is not compared",
        LUA + "queue.lua",
        "if now_tick() ~= seen then return { 'OK', now_tick() } end",
        "",
        (QUEUE + "only_one_of_many_reapers_moves_a_tick",),
    ),
    Mutant(
        "the number of an attempt is not raised",
        LUA + "queue.lua",
        "R('HINCRBY', K.job .. j.id, 'attempt', 1), row.worker_id",
        "R('HINCRBY', K.job .. j.id, 'attempt', 0), row.worker_id",
        (MODEL,),
    ),
    Mutant(
        "a repeated claim takes another job",
        LUA + "queue.lua",
        "  R('SET', K.nonce .. who.nonce, j.id, 'EX', DAY_S)\n",
        "",
        (QUEUE + "the_same_nonce_answers_the_same_lease_and_never_a_second_one",),
    ),
    Mutant(
        "a nonce opens a lease that is over",
        LUA + "queue.lua",
        "return held(j, j.attempt .. ':' .. who.nonce) and lease_of(j) or { 'EMPTY' }",
        "return lease_of(j)",
        (QUEUE + "the_same_nonce_answers_the_same_lease_and_never_a_second_one",),
    ),
    Mutant(
        "an end that is repeated is refused",
        LUA + "common.lua",
        "return j and token ~= '' and j.ended_token == token and j.ended_verb == verb",
        "return false",
        (QUEUE + "after_its_end_an_attempt_is_refused_but_for_the_very_same_call",),
    ),
    Mutant(
        "a lost job is not queued again",
        LUA + "common.lua",
        "  enqueue(j, now, true)\n",
        "",
        (QUEUE + "what_comes_back_stands_at_the_front",),
    ),
    Mutant(
        "a claimed job stays in line",
        LUA + "queue.lua",
        "  leave_line(j)\n  j.attempt, j.worker_id",
        "  j.attempt, j.worker_id",
        (QUEUE + "claim_takes_pools_in_order_and_no_other",),
    ),
    Mutant(
        "losses have no end",
        LUA + "common.lua",
        "if j.desired == '' and idle >= tonumber(losses_max) then",
        "if false then",
        (QUEUE + "losses_without_progress_end_a_job_and_progress_forgives_them",),
    ),
    Mutant(
        "a preemption is charged as a loss",
        LUA + "queue.lua",
        "if asked or why.code == 'preempted' then rest",
        "if asked then rest",
        (QUEUE + "a_release_that_is_our_fault_is_bounded_and_a_preemption_is_not",),
    ),
    Mutant(
        "a cancel is forgotten when the worker is lost",
        LUA + "common.lua",
        "  if j.desired == 'cancel' then return move(j, 'cancelled', now, CANCELLED) end\n",
        "",
        (QUEUE + "a_lost_job_goes_where_the_user_wants_it",),
    ),
    Mutant(
        "an event that is sent again is doubled",
        LUA + "queue.lua",
        "for place = math.max(known, first), total - 1 do",
        "for place = first, total - 1 do",
        (QUEUE + "append_sent_again_doubles_nothing_even_with_more_behind",),
    ),
    Mutant(
        "a succeeded job may be resumed",
        LUA + "jobs.lua",
        "resume = { paused = 'queued',",
        "resume = { succeeded = 'queued', paused = 'queued',",
        (JOBS + "control_follows_the_table_and_refuses_the_rest",),
    ),
)

SUBMISSIONS: Final = (
    Mutant(
        "an idempotency key is ignored",
        LUA + "jobs.lua",
        "    if known[1] then return made(known[2], known[2] == a.id and 0 or 1) end\n",
        "",
        (JOBS + "an_idempotency_key_replays_the_same_body_and_refuses_another",),
    ),
    Mutant(
        "another body under the same key is taken",
        LUA + "jobs.lua",
        "    if known[1] and known[1] ~= a.fingerprint then return { 'CONFLICT' } end\n",
        "",
        (JOBS + "an_idempotency_key_replays_the_same_body_and_refuses_another",),
    ),
    Mutant(
        "a submission that is sent again starts anew",
        LUA + "jobs.lua",
        "  if R('EXISTS', K.job .. a.id) == 1 then return made(a.id, 0) end\n"
        "  if a.kind == 'ingest'",
        "  if a.kind == 'ingest'",
        (JOBS + "submit_sent_twice_makes_one_job",),
    ),
    Mutant(
        "a server that may lose a second is accepted",
        "service/store/durability.py",
        "if settings.get(name) != wanted:",
        'if settings.get(name) != wanted and name != "appendfsync":',
        (
            "tests/service/store/test_durability.py::test_a_setting_that_loses_writes_is_refused_by_name",
        ),
    ),
)

LEDGERS: Final = (
    Mutant(
        "a submit is not written down",
        "service/ledger/journaled_store.py",
        "zip(pending, ledger_writer.begin_all(firsts, each=each), strict=True)",
        "zip(pending, [True] * len(firsts), strict=True)",
        (AHEAD + "a_submit_is_on_the_disk_with_every_name_before_redis_knows",),
    ),
    Mutant(
        "a line of a ledger is not synced",
        "service/ledger/ledger_writer.py",
        "            os.fsync(self.handle)\n        except OSError:",
        "        except OSError:",
        (AHEAD + "a_submit_is_on_the_disk_with_every_name_before_redis_knows",),
    ),
    Mutant(
        "the name of a ledger's folder is not synced",
        "service/ledger/ledger_writer.py",
        "(error := _unsynced(above))}",
        "(error := None)}",
        (AHEAD + "a_submit_is_on_the_disk_with_every_name_before_redis_knows",),
    ),
    Mutant(
        "a refused submit stays on the disk",
        "service/ledger/journaled_store.py",
        "return isinstance(answer, IdempotencyConflict | NotFound | WrongState)",
        "return False",
        (AHEAD + "what_redis_refuses_is_taken_back",),
    ),
    Mutant(
        "a control is not written down",
        "service/ledger/journaled_store.py",
        "            ledger.append(_control(verb, record, op))\n"
        '            failpoint("api.pre_control")',
        '            failpoint("api.pre_control")',
        (AHEAD + "a_control_is_on_the_disk_before_redis_knows",),
    ),
    Mutant(
        "half a line stays in a ledger",
        "service/ledger/ledger_writer.py",
        "                os.ftruncate(self.handle, held)\n",
        "                pass\n",
        (AHEAD + "a_line_that_the_disk_refuses_is_taken_back",),
    ),
    Mutant(
        "after a rebuild attempts are counted anew",
        "service/ledger/replay.py",
        "return max([0, *self.attempts, *(line.attempt for line in self.controls)])",
        "return 0",
        (FOLD + "the_attempt_is_the_highest_number_seen",),
    ),
    Mutant(
        "a refused control is followed at a rebuild",
        "service/ledger/replay.py",
        "return tuple(line for line in mine if line.op not in refused)",
        "return tuple(mine)",
        (FOLD + "a_refused_control_changes_nothing",),
    ),
    Mutant(
        "a rebuild forgets idempotency keys",
        "service/ledger/replay.py",
        "        idem_key=submitted.idem_key,\n",
        '        idem_key="",\n',
        (REBUILT + "a_key_still_answers_the_same_job",),
    ),
    Mutant(
        "a rebuild runs what has ended again",
        "service/ledger/replay.py",
        "return next((line for line in lines if isinstance(line, AttemptEnded)), None)",
        "return None",
        (FOLD + "every_two_controls_after_every_end",),
    ),
)

DATASETS = "tests/service/store/test_dataset_life.py::test_"
DOOMED = "tests/service/ledger/test_dataset_deletion.py::test_"
RETENTION = "tests/service/maintenance/test_retention.py::test_"
OF_DATASETS = (
    Mutant(
        "a job keeps no test dataset from being deleted",
        "service/store/lua/common.lua",
        "    if dataset then found[dataset] = true end\n",
        "",
        (DATASETS + "a_job_that_has_not_ended_keeps_its_datasets[test_dataset-queued]",),
    ),
    Mutant(
        "a replacement takes its name at once",
        "service/store/lua/datasets.lua",
        "  if takes then take_name",
        "  if true then take_name",
        (DATASETS + "names_lead_where_the_model_says",),
    ),
    Mutant(
        "a deletion that was cut short is forgotten",
        "service/ledger/replay.py",
        "            request = line\n",
        "            request = None\n",
        (DOOMED + "a_deletion_that_was_cut_short_is_carried_out",),
    ),
    Mutant(
        "checkpoints go before Redis is asked",
        "service/maintenance/retention.py",
        "    attempts = context.store.jobs.forget_checkpoints(id)\n",
        "    attempts = 99\n",
        (RETENTION + "a_job_that_is_resumed_meanwhile_keeps_its_checkpoint",),
    ),
)

CRASHES = "tests/service/ledger/test_crashes.py::test_"
KILLED = "tests/service/ledger/test_killed.py::test_"
CUT_SHORT = CRASHES + "no_deletion_that_was_cut_short_loses_a_job_or_brings_one_back"
DELETIONS: Final = (
    Mutant(
        "a deletion of a job that runs is written down",
        "service/ledger/journaled_store.py",
        "            has_ended = record.status in TERMINAL\n",
        "            has_ended = True\n",
        (CUT_SHORT,),
    ),
    Mutant(
        "a deletion is not written down",
        "service/ledger/journaled_store.py",
        "            has_ended = record.status in TERMINAL\n",
        "            has_ended = False\n",
        (AHEAD + "a_deletion_is_on_the_disk_before_redis_knows",),
    ),
    Mutant(
        "an open deletion is not settled at the start",
        "service/ledger/reconcile.py",
        "settle_deletions(store, data_dir, with_deletions(data_dir, names))",
        "0",
        (CUT_SHORT,),
    ),
    Mutant(
        "an open deletion is not settled when Redis answers again",
        "service/ledger/deletions.py",
        "    for name in journal.unsettled.copy():",
        "    for name in set[str]():",
        (CUT_SHORT,),
    ),
    Mutant(
        "a deletion stands though the job was claimed since",
        "service/ledger/replay.py",
        "return max(job.own, default=0) > line.attempt",
        "return False",
        (FOLD + "a_deletion_is_void_once_the_job_was_claimed_again",),
    ),
    Mutant(
        "a deletion of an older version stands though the job ended since",
        "service/ledger/replay.py",
        " or max(times, default=0.0) > line.at_s",
        "",
        (FOLD + "an_end_after_an_older_deletion_voids_it",),
    ),
    Mutant(
        "a deletion that was outlived is not refused at the start",
        "service/ledger/deletions.py",
        "                ledger.append(Refused(op=line.op))\n",
        "                pass\n",
        (REBUILT + "a_deletion_that_was_outlived_is_refused_at_the_next_start",),
    ),
    Mutant(
        "two writers of one ledger do not wait for each other",
        "service/ledger/ledger_writer.py",
        "        fcntl.flock(handle, fcntl.LOCK_EX)\n",
        "",
        (AHEAD + "a_request_waits_until_the_one_before_has_its_answer",),
    ),
    Mutant(
        "a deletion of a dataset in use is written down",
        "service/ledger/journaled_store.py",
        "            is_free = not self.store.datasets.users(id)\n",
        "            is_free = True\n",
        (
            "tests/service/ledger/test_dataset_deletion.py::"
            "test_a_deletion_cut_short_while_a_job_needed_the_dataset_is_void",
        ),
    ),
    Mutant(
        "a job that was attempted loses to one with its key",
        "service/ledger/reconcile.py",
        '[replace(old, idem_key="") for old in taken if old.attempt]',
        "[]",
        (REBUILT + "a_job_that_was_attempted_survives_another_with_its_key",),
    ),
)

DAMAGE = "tests/service/store/test_damage.py::test_"
STAMP = "tests/service/ledger/test_stamp.py::test_"
MIXED = "tests/service/ledger/test_mixed_versions.py::test_"
VERSIONS: Final = (
    Mutant(
        "a server that lost its second half is believed",
        "service/store/damage.py",
        "return offset < tail.start or _EXEC in tail.data[offset - tail.start :]",
        "return False",
        (DAMAGE + "a_damaged_file_is_set_aside_and_every_job_is_there_again",),
    ),
    Mutant(
        "every torn end counts as damage",
        "service/store/damage.py",
        "return offset < tail.start or _EXEC in tail.data[offset - tail.start :]",
        "return True",
        ("tests/service/store/test_embedded.py::test_a_half_written_last_record_is_dropped",),
    ),
    Mutant(
        "a newer layout is opened",
        "service/ledger/stamp.py",
        'if stamp.get("layout", 1) > LAYOUT:',
        "if False:",
        (STAMP + "a_newer_layout_is_refused_in_words_before_anything_is_touched",),
    ),
    Mutant(
        "unknown fields of a stamp are lost",
        "service/ledger/stamp.py",
        "json.dumps(stamp | ours, indent=1)",
        "json.dumps(ours, indent=1)",
        (STAMP + "a_folder_without_a_stamp_is_stamped_and_unknown_fields_are_kept",),
    ),
    Mutant(
        "a line with one more field is dropped",
        "trainer/schema/base.py",
        'model_config = ConfigDict(extra="allow")',
        'model_config = ConfigDict(extra="forbid")',
        (MIXED + "lines_with_more_fields_are_read_and_kept",),
    ),
    Mutant(
        "a ledger that forbids older readers is read",
        "service/ledger/ledger_reader.py",
        "if version > VERSION:",
        "if False:",
        (MIXED + "a_ledger_that_forbids_older_readers_is_refused_in_words",),
    ),
)

STORE: Final = (*LEASES, *SUBMISSIONS, *LEDGERS, *DELETIONS, *VERSIONS, *OF_DATASETS)
