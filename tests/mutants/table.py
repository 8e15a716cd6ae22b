"""The defects. Each breaks one promise, and names the tests that hold it."""

from typing import Final

from tests.mutants.runner import Mutant

LUA = "service/store/functions/"
AHEAD = "tests/service/ledger/test_write_ahead.py::test_"
REBUILT = "tests/service/ledger/test_reconcile.py::test_"
PAGES = "tests/service/test_pages.py::test_"
QUEUE = "tests/service/store/test_queue.py::test_"
JOBS = "tests/service/store/test_jobs.py::test_"
MODEL = "tests/service/store/test_model.py::test_the_store_lives_as_the_model_does"
CHECKPOINTS = "tests/trainer/test_checkpoints.py::test_"
CUTS = "tests/trainer/test_resume.py::test_a_chain_of_cuts_ends_in_the_same_bits[sgd-bf16-mlp]"

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
        "  R('ZADD', K.leases, now_tick() + ttl, id)\n  return { 'OK', j.desired }",
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
        "R('HINCRBY', K.job .. j.id, 'attempt', 1), worker_id",
        "R('HINCRBY', K.job .. j.id, 'attempt', 0), worker_id",
        (MODEL,),
    ),
    Mutant(
        "a repeated claim takes another job",
        LUA + "queue.lua",
        "  R('SET', K.nonce .. nonce, j.id, 'EX', DAY_S)\n",
        "",
        (QUEUE + "the_same_nonce_answers_the_same_lease_and_never_a_second_one",),
    ),
    Mutant(
        "a nonce opens a lease that is over",
        LUA + "queue.lua",
        "return j and held(j, j.attempt .. ':' .. nonce) and lease_of(j) or { 'EMPTY' }",
        "return j and lease_of(j) or { 'EMPTY' }",
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
        "R('ZPOPMIN', K.ready .. args[i])[1]",
        "R('ZRANGE', K.ready .. args[i], 0, 0)[1]",
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
        "service/store/boot.py",
        "if found.get(name) != wanted:",
        'if found.get(name) != wanted and name != "appendfsync":',
        ("tests/service/store/test_boot.py::test_a_setting_that_loses_writes_is_refused_by_name",),
    ),
)

WORKER: Final = (
    Mutant(
        "artifacts are told without a look at the disk",
        "worker/job.py",
        "            publish.verify(attempt.out, published)\n",
        "            pass\n",
        (
            "tests/worker/test_job.py::"
            "test_artifacts_that_are_not_what_was_told_are_never_published",
        ),
    ),
    Mutant(
        "a checkpoint is told without a look at the disk",
        "worker/job.py",
        "if not publish.is_whole(self._attempt.out, checkpoint):",
        "if False:",
        (
            "tests/worker/test_job.py::"
            "test_the_pointer_does_not_move_to_a_checkpoint_that_is_not_whole",
        ),
    ),
    Mutant(
        "only the size of an artifact is looked at",
        "worker/publish.py",
        "return digest.hexdigest() == file.sha256",
        "return True",
        ("tests/worker/test_publish.py::test_a_file_that_is_not_as_announced_is_named",),
    ),
    Mutant(
        "a refused renewal is ignored",
        "worker/lease.py",
        "                self.lose()\n                return\n",
        "                continue\n",
        ("tests/worker/test_lease.py::test_a_refusal_is_final",),
    ),
    Mutant(
        "an outage is taken for a lost lease",
        "worker/lease.py",
        "                self.away = True\n                continue\n",
        "                self.lose()\n                return\n",
        ("tests/worker/test_lease.py::test_an_outage_changes_nothing",),
    ),
    Mutant(
        "the outbox hides that the lease is lost",
        "worker/outbox.py",
        'LOG.warning("the store takes no more of this attempt: %s", error)\n'
        "            self._on_lost()\n",
        'LOG.warning("the store takes no more of this attempt: %s", error)\n',
        ("tests/worker/test_outbox.py::test_a_refusal_ends_it_and_nothing_more_is_sent",),
    ),
    Mutant(
        "events of an outage are thrown away",
        "worker/outbox.py",
        "self._sending = self._sending or self._buffer.take(BATCH_EVENTS)",
        "self._sending = self._buffer.take(BATCH_EVENTS)",
        ("tests/worker/test_outbox.py::test_an_outage_delays_and_loses_nothing",),
    ),
    Mutant(
        "a killed process spends the user's retries",
        "worker/settle.py",
        'return Verdict("release", LOST, f"The training process {_how(status)}")',
        'return Verdict("fail", LOST, f"The training process {_how(status)}", retry=True)',
        ("tests/worker/test_settle.py::test_a_death_without_a_result_is_a_lost_worker_in_words",),
    ),
)

LEDGERS: Final = (
    Mutant(
        "a submit is not written down",
        "service/ledger/desk.py",
        'is_mine = write.begin(folder, line)\n        reach("api.pre_submit")',
        'is_mine = True\n        reach("api.pre_submit")',
        (AHEAD + "a_submit_is_on_the_disk_with_every_name_before_redis_knows",),
    ),
    Mutant(
        "a line of a ledger is not synced",
        "service/ledger/write.py",
        "            os.fsync(handle)\n        except OSError:",
        "        except OSError:",
        (AHEAD + "a_submit_is_on_the_disk_with_every_name_before_redis_knows",),
    ),
    Mutant(
        "the name of a ledger's folder is not synced",
        "service/ledger/write.py",
        "        _sync(folder)\n        _sync(folder.parent)\n",
        "        _sync(folder)\n",
        (AHEAD + "a_submit_is_on_the_disk_with_every_name_before_redis_knows",),
    ),
    Mutant(
        "a refused submit stays on the disk",
        "service/ledger/desk.py",
        "        except (IdempotencyConflict, NotFound, WrongState):\n"
        "            self._take_back(folder, job_id, is_mine=is_mine)\n",
        "        except (IdempotencyConflict, NotFound, WrongState):\n",
        (AHEAD + "what_redis_refuses_is_taken_back",),
    ),
    Mutant(
        "a control is not written down",
        "service/ledger/desk.py",
        '        self._note(folder, verb, seen, op)\n        reach("api.pre_control")',
        '        reach("api.pre_control")',
        (AHEAD + "a_control_is_on_the_disk_before_redis_knows",),
    ),
    Mutant(
        "half a line stays in a ledger",
        "service/ledger/write.py",
        "                os.ftruncate(handle, held)\n",
        "                pass\n",
        (AHEAD + "a_line_that_the_disk_refuses_is_taken_back",),
    ),
    Mutant(
        "after a rebuild attempts are counted anew",
        "service/ledger/fold.py",
        "return max([0, *self.attempts, *(line.attempt for line in self.controls)])",
        "return 0",
        (REBUILT + "any_lives_are_rebuilt",),
    ),
    Mutant(
        "a rebuild forgets idempotency keys",
        "service/ledger/fold.py",
        "        idem_key=told.idem_key,\n",
        '        idem_key="",\n',
        (REBUILT + "a_key_still_answers_the_same_job",),
    ),
    Mutant(
        "a rebuild runs what has ended again",
        "service/ledger/fold.py",
        "return next((line for line in lines if isinstance(line, AttemptEnded)), None)",
        "return None",
        (REBUILT + "any_lives_are_rebuilt",),
    ),
)

EDGE: Final = (
    Mutant(
        "a key is compared by its beginning",
        "service/session.py",
        "return hashlib.sha256(key).digest()",
        "return hashlib.sha256(key[:16]).digest()",
        ("tests/service/test_auth.py::test_every_route_needs_the_key",),
    ),
    Mutant(
        "the key that may only look may change",
        "service/auth.py",
        'if role == "read" and not safe:',
        "if False:",
        (PAGES + "the_read_key_looks_and_changes_nothing",),
    ),
    Mutant(
        "another site may use a session",
        "service/auth.py",
        "if by_cookie and not safe and not same_origin(headers):",
        "if False:",
        (PAGES + "only_our_own_pages_may_use_a_session_to_change_things",),
    ),
    Mutant(
        "a session has no end",
        "service/session.py",
        "if found is None or int(found[2]) < self._now_s():",
        "if found is None:",
        (PAGES + "a_session_ends_with_its_time_its_key_and_any_changed_letter",),
    ),
    Mutant(
        "the key is not asked for",
        "service/auth.py",
        "            if refusal is not None:\n",
        "            if False:\n",
        ("tests/service/test_auth.py::test_every_route_needs_the_key",),
    ),
    Mutant(
        "metrics and health are open",
        "service/auth.py",
        "            if refusal is not None:\n",
        '            if refusal is not None and scope["path"] not in {"/metrics", "/livez"}:\n',
        ("tests/service/test_auth.py::test_every_route_needs_the_key",),
    ),
    Mutant(
        "the sha256 of an upload is not compared",
        "service/uploads.py",
        "if told.sha256 is not None and sha256 != told.sha256:",
        "if False:",
        ("tests/service/test_uploads.py::test_wrong_bytes_are_dropped",),
    ),
    Mutant(
        "the offset of an upload is not compared",
        "service/uploads.py",
        "if told.offset not in (0, held):",
        "if told.offset > held:",
        ("tests/service/test_uploads.py::test_a_wrong_offset_tells_the_right_one",),
    ),
    Mutant(
        "a resumed upload is hashed from where it goes on",
        "service/uploads.py",
        "        hasher.update(block)\n    check_space",
        '        hasher.update(b"")\n    check_space',
        ("tests/service/test_uploads.py::test_in_pieces_at_random_bytes",),
    ),
    Mutant(
        "two senders may write one upload",
        "service/uploads.py",
        "    except BlockingIOError:\n        return False\n",
        "    except BlockingIOError:\n        return True\n",
        ("tests/service/test_uploads.py::test_one_sender_at_a_time",),
    ),
    Mutant(
        "more bytes than announced are written",
        "service/uploads.py",
        "if place + len(block) > told.size_bytes:",
        "if False:",
        ("tests/service/test_uploads.py::test_chunked_with_a_told_size",),
    ),
)

FILES: Final = (
    Mutant(
        "a file is not synced",
        "trainer/files.py",
        "        os.fsync(file.fileno())\n",
        "",
        (CHECKPOINTS + "files_are_on_the_disk_before_the_name_is",),
    ),
    Mutant(
        "the names in a folder are not synced",
        "trainer/files.py",
        "        os.fsync(handle)\n",
        "        pass\n",
        (CHECKPOINTS + "files_are_on_the_disk_before_the_name_is",),
    ),
    Mutant(
        "a checkpoint is written in its place",
        "trainer/checkpoints.py",
        'temporary = folder / f"{meta.step:09d}.tmp"\n    remove(temporary)',
        'temporary = folder / f"{meta.step:09d}"\n    remove(temporary)',
        (CHECKPOINTS + "files_are_on_the_disk_before_the_name_is",),
    ),
    Mutant(
        "the name of a checkpoint is not synced",
        "trainer/checkpoints.py",
        '        reach("checkpoint.post_rename")\n        sync_folder(folder)\n',
        '        reach("checkpoint.post_rename")\n',
        (CHECKPOINTS + "files_are_on_the_disk_before_the_name_is",),
    ),
    Mutant(
        "damage to a manifest passes",
        "trainer/checkpoints.py",
        "if manifest != manifest.sealed() or data != _json(manifest):",
        "if False:",
        (CHECKPOINTS + "any_damage_is_found_and_the_one_before_is_taken",),
    ),
    Mutant(
        "the bytes of a checkpoint are not verified",
        "trainer/checkpoints.py",
        "if len(data) != file.size_bytes or hashlib.sha256(data).hexdigest() != file.sha256:",
        "if len(data) != file.size_bytes:",
        (CHECKPOINTS + "any_damage_is_found_and_the_one_before_is_taken",),
    ),
    Mutant(
        "after a damaged checkpoint there is no other",
        "trainer/checkpoints.py",
        "            reasons.append(str(error))\n",
        "            reasons.append(str(error))\n            break\n",
        (CHECKPOINTS + "any_damage_is_found_and_the_one_before_is_taken",),
    ),
    Mutant(
        "a full disk leaves half of a checkpoint",
        "trainer/files.py",
        "    except OSError as error:\n        remove(leftover)\n",
        "    except OSError as error:\n",
        (CHECKPOINTS + "a_full_disk_leaves_nothing_half_written",),
    ),
    Mutant(
        "artifacts appear before they are whole",
        "trainer/exports/files.py",
        'folder.with_name(folder.name + ".tmp")',
        "folder",
        ("tests/trainer/exports/test_publish.py::test_a_full_disk_leaves_the_files_of_before",),
    ),
)

RESUMES: Final = (
    Mutant(
        "running means are not restored",
        "trainer/state.py",
        "    try:\n        method.load_state_dict(own)\n",
        '    own = {name: value for name, value in own.items() if "running_" not in name}\n'
        "    try:\n        method.load_state_dict(own, strict=False)\n",
        (CUTS,),
    ),
    Mutant(
        "the pointer of the negatives is not restored",
        "trainer/state.py",
        "    try:\n        method.load_state_dict(own)\n",
        '    own = {name: value for name, value in own.items() if "pointer" not in name}\n'
        "    try:\n        method.load_state_dict(own, strict=False)\n",
        (CUTS,),
    ),
    Mutant(
        "the negatives are not restored",
        "trainer/state.py",
        "    try:\n        method.load_state_dict(own)\n",
        '    own = {name: value for name, value in own.items() if "negatives.keys" not in name}\n'
        "    try:\n        method.load_state_dict(own, strict=False)\n",
        (CUTS,),
    ),
    Mutant(
        "the key encoder is not restored",
        "trainer/state.py",
        "    try:\n        method.load_state_dict(own)\n",
        '    own = {name: value for name, value in own.items() if not name.startswith("key")}\n'
        "    try:\n        method.load_state_dict(own, strict=False)\n",
        (CUTS,),
    ),
    Mutant(
        "the state of the optimizer is not restored",
        "trainer/state.py",
        "            optimizer.state[parameter][key] = _like(parameter, value)\n",
        "            pass\n",
        (CUTS,),
    ),
    Mutant(
        "the warm-up is a step ahead",
        "trainer/optim.py",
        "    epoch = step / horizon.steps_per_epoch\n",
        "    epoch = (step + 1) / horizon.steps_per_epoch\n",
        ("tests/trainer/test_optim.py::test_warm_up_and_cosine_per_step_is_version_3",),
    ),
    Mutant(
        "a resumed run repeats a step",
        "trainer/assemble.py",
        "        step=meta.step,\n",
        "        step=meta.step - 1,\n",
        (CUTS,),
    ),
    Mutant(
        "an attempt on another machine passes for the same",
        "trainer/assemble.py",
        "sorted({*meta.differs, *differing(meta.fingerprint, causes)})",
        "sorted(meta.differs)",
        ("tests/trainer/test_resume.py::test_another_thread_count_goes_on_but_is_stamped",),
    ),
    Mutant(
        "chance depends on the attempt",
        "trainer/run.py",
        "seed=self.spec.seed, epoch=epoch, view=view)",
        "seed=self.spec.seed + self.keeper.newest_step, epoch=epoch, view=view)",
        (CUTS,),
    ),
)

MUTANTS: Final = (*LEASES, *SUBMISSIONS, *WORKER, *LEDGERS, *EDGE, *FILES, *RESUMES)
