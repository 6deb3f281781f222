"""How each guarantee is broken on purpose: one piece of text replaced, and the tests that must then fail.

docs/guarantees.md tells the promises. It names every mutation here, with the same tests; test_guarantees.py sees
to that, and to every `old` occurring exactly once. `mutate.py` runs them.
"""

from dataclasses import dataclass
from typing import Final

__all__ = ["MUTATIONS", "Mutation"]

MESSAGE: Final = "domain/message.py"
DIALOGUE: Final = "domain/dialogue.py"
COMMANDS: Final = "application/commands.py"
COMMIT: Final = "application/commit.py"
ROUND: Final = "application/round.py"
INBOX: Final = "infrastructure/sqlite/inbox.py"
APPENDING: Final = "infrastructure/sqlite/appending.py"
LEASES: Final = "infrastructure/sqlite/leases.py"
GATES: Final = "infrastructure/sqlite/gates.py"
WAITING_ROOMS: Final = "infrastructure/sqlite/waiting.py"
SHEDDING: Final = "application/shedding.py"
SUBSCRIPTION: Final = "application/subscription.py"
CODEC: Final = "application/codec.py"
RECORDER: Final = "application/recorder.py"
DATASTORE: Final = "infrastructure/sqlite/datastore.py"
RECORDERS: Final = "infrastructure/sqlite/recorders.py"
RUNNER: Final = "projections/runner.py"
SUBSCRIBED: Final = "tests/test_subscription.py::TestASubscription"
ENDING: Final = "tests/test_settling.py::TestSettling"
MODEL: Final = "projections/model.py"
FOLDING: Final = "projections/folding.py"
REBUILD: Final = "projections/rebuild.py"
REDIS_RECORDERS: Final = "infrastructure/redis_streams/recorders.py"
APPEND: Final = "infrastructure/redis_streams/scripts/append.lua"
TAKING: Final = "infrastructure/redis_streams/scripts/taking.lua"
INBOX_SCRIPT: Final = "infrastructure/redis_streams/scripts/inbox.lua"
CONNECTION: Final = "infrastructure/redis_streams/connection.py"

SERVICE: Final = "tests/test_service.py"
CLOSING: Final = f"{SERVICE}::TestCancellingAndClosing"
LOG: Final = "tests/test_sqlite_store.py::TestFileLog"
CAPACITY: Final = "tests/test_capacity.py"
DEAD: Final = "tests/test_dead_letters.py"
ORDERED: Final = "tests/test_ordered.py"
GATE_TESTS: Final = "tests/test_gates.py"
ADMISSION: Final = "tests/test_admission.py"
SHED: Final = "tests/test_shedding.py"
BACKTEST: Final = "tests/test_backtest.py"
ASKING: Final = "tests/test_asking.py"
OFFERS: Final = "tests/test_offers.py"
GATES_IN_FILE: Final = "tests/test_sqlite_store.py::TestFileGates"
SHEDDING_IN_FILE: Final = "tests/test_sqlite_store.py::TestFileShedding"
PERMITS: Final = "tests/test_permits.py::test_no_permit_is_lost_or_granted_twice"
AWAY: Final = "tests/test_redis_faults.py::TestServersThatGoAway"
LAYOUTS: Final = "tests/test_layouts.py"
IN_FILE: Final = "tests/test_sqlite_store.py::TestFileInbox"
FILES: Final = "tests/test_sqlite_files.py"
PROJECTIONS: Final = "tests/test_projections.py"
REBUILT: Final = "tests/test_rebuild.py"
POISON: Final = "tests/test_poison.py"
READ_SIDE: Final = "tests/test_read_side.py"
REPLIES: Final = "tests/test_redis_faults.py::TestLostReplies"
REFUSALS: Final = "tests/test_redis_refusals.py"
DOCTOR: Final = "tests/test_doctor.py"
OPERATIONS: Final = "tests/test_operations.py"
LOST: Final = "tests/test_lost_tail.py"
CONFORMANCE: Final = "tests/test_conformance.py"
DIRECTIONS: Final = "tests/test_directions.py"
FOLLOWED: Final = "tests/test_follow_findings.py"
EXPORT: Final = "tests/test_export.py"
RESTORING: Final = "application/restoring.py"
HOSTILE: Final = "tests/test_report_browser.py::TestHostileText::test_nothing_runs_of_what_a_dialogue_says"
RESTORED_STREAMS: Final = "application/restored_streams.py"


@dataclass(frozen=True)
class Mutation:
    """A change of the code that breaks a guarantee.

    Attributes:
        file: from the root of the project.
        old: text that occurs in it exactly once; `new` takes its place.
        tests: pytest's ids. They pass without the mutation, and at least one fails with it.
        hangs: running for longer than the time allowed counts as failing.
    """

    name: str
    file: str
    old: str
    new: str
    tests: tuple[str, ...]
    hangs: bool = False


MUTATIONS: Final = (
    Mutation(
        "roll-back-instead-of-commit",
        DATASTORE,
        "            if self.commit and exc_val is None:\n                self.connection.commit()",
        "            if self.commit and exc_val is None:\n                self.connection.rollback()",
        (
            f"{CLOSING}::test_what_was_stored_is_there_after_a_restart",
            f"{SERVICE}::TestSending::test_a_message_is_read_back_as_it_was_given",
            "tests/test_processes.py::test_every_message_acknowledged_before_a_kill_is_there",
        ),
    ),
    Mutation(
        "synchronous-normal",
        DATASTORE,
        'connection.execute(f"PRAGMA synchronous={self.synchronous}")',
        'connection.execute("PRAGMA synchronous=NORMAL")',
        (f"{FILES}::test_every_connection_writes_ahead_and_syncs_as_set",),
    ),
    Mutation(
        "let-not-a-number-pass",
        MESSAGE,
        "        if not math.isfinite(value):",
        "        if math.isinf(value):",
        ("tests/test_message.py::test_a_payload_outside_the_definition_is_refused_with_its_place",),
    ),
    Mutation(
        "take-subclasses-for-their-base",
        MESSAGE,
        "    if kind is int:",
        "    if isinstance(value, int):",
        ("tests/test_message.py::test_a_payload_outside_the_definition_is_refused_with_its_place",),
    ),
    Mutation(
        "store-true-as-1",
        MESSAGE,
        "        copies = _decoder.decode(encoded)",
        '        copies = _decoder.decode(encoded.replace(b"\\xc3", b"\\x01"))',
        ("tests/test_message.py::test_a_payload_comes_back_as_it_was_given",),
    ),
    Mutation(
        "keep-the-callers-own-messages",
        MESSAGE,
        "    return copies, len(encoded)",
        "    return list(messages), len(encoded)",
        ("tests/test_message.py::test_the_copy_is_out_of_reach_of_later_changes",),
    ),
    Mutation(
        "commit-what-was-written-before-an-error",
        DATASTORE,
        "            if self.commit and exc_val is None:",
        "            if self.commit:",
        (
            f"{LOG}::test_a_refused_append_leaves_neither_events_nor_keys",
            f"{LOG}::test_positions_stay_dense_after_refused_appends",
        ),
    ),
    Mutation(
        "leave-refused-messages-in-the-round",
        ROUND,
        "        self.dialogue.check(messages, waiting=len(self._waiting))\n"
        "        first = self.dialogue.message_count + len(self._waiting) + 1\n",
        "        first = self.dialogue.message_count + len(self._waiting) + 1\n"
        "        self._waiting.extend(messages)\n"
        "        self.dialogue.check(messages, waiting=len(self._waiting) - len(messages))\n"
        "        del self._waiting[-len(messages) :]\n",
        (f"{SERVICE}::TestRefusal::test_one_refused_command_of_a_round_fails_alone",),
    ),
    Mutation(
        "check-no-payload",
        MESSAGE,
        "        if type(message.payload) is not str:\n            _check(message.payload, (), 0)\n",
        "",
        (f"{SERVICE}::TestRefusal::test_it",),
    ),
    Mutation(
        "count-events-instead-of-messages",
        DIALOGUE,
        "        self.message_count += len(messages)",
        "        self.message_count += 1",
        (
            "tests/test_dialogue.py::TestOpen::test_more_than_1000_messages_are_several_events",
            "tests/test_reading.py::TestTranscript::test_sequences_are_dense_over_many_events",
        ),
    ),
    Mutation(
        "take-the-last-command-first",
        COMMIT,
        "from queue import SimpleQueue",
        "from queue import LifoQueue as SimpleQueue",
        (f"{SERVICE}::TestSending::test_messages_of_one_caller_keep_their_order",),
    ),
    Mutation(
        "wait-for-no-turn",
        "application/callosum.py",
        "        return self._turns.setdefault(dialogue, asyncio.Lock())",
        "        return asyncio.Lock()",
        (f"{SERVICE}::TestSending::test_a_large_batch_is_not_overtaken_in_its_dialogue",),
    ),
    Mutation(
        "let-a-few-messages-overtake",
        "application/callosum.py",
        "        if len(messages) <= FEW and not (self._turns and dialogue in self._turns):",
        "        if len(messages) <= FEW:",
        (f"{SERVICE}::TestSending::test_a_large_batch_is_not_overtaken_in_its_dialogue",),
    ),
    Mutation(
        "let-a-message-reply-to-itself",
        DIALOGUE,
        "            if not 1 <= in_reply_to < sequence:",
        "            if not 1 <= in_reply_to <= sequence:",
        (
            "tests/test_dialogue.py::TestOpen::test_a_reply_to_itself_a_later_or_no_message_is_refused",
            "tests/test_dialogue.py::TestRecorded::test_a_reply_to_a_later_message_is_refused_in_history_too",
        ),
    ),
    Mutation(
        "speak-in-a-closed-dialogue",
        DIALOGUE,
        "        if self.closed:\n",
        "        if False:\n",
        (
            "tests/test_dialogue.py::TestClosed::test_nothing_more_is_said",
            f"{SERVICE}::TestSending::test_closing_and_sending_at_once_lose_nothing",
        ),
    ),
    Mutation(
        "speak-in-a-recorded-dialogue",
        DIALOGUE,
        "        if self.kind is Kind.RECORDED:\n",
        "        if False:\n",
        ("tests/test_dialogue.py::TestRecorded::test_it_takes_no_more_messages_and_is_not_closed",),
    ),
    Mutation(
        "forget-the-keys",
        RECORDERS,
        "            c.executemany(_INSERT_KEY, keys)",
        "            del keys",
        (
            f"{SERVICE}::TestIdempotency::test_the_same_key_and_content_is_the_first_receipt_again",
            f"{SERVICE}::TestIdempotency::test_the_first_receipt_comes_again_after_a_restart",
        ),
    ),
    Mutation(
        "refuse-before-looking-for-the-key",
        COMMIT,
        "    keys = command.unknown_keys()",
        "    keys: Sequence[str] = ()",
        (f"{SERVICE}::TestIdempotency::test_the_first_receipt_comes_again_from_a_closed_dialogue",),
    ),
    Mutation(
        "take-any-content-under-a-key",
        COMMANDS,
        "        if self._digests[duplicate.key] != duplicate.digest:",
        "        if False:",
        (f"{SERVICE}::TestIdempotency::test_other_content_under_the_key_is_an_error",),
    ),
    Mutation(
        "take-the-time-for-content",
        MESSAGE,
        "msgspec.structs.replace(message, sent_at=None)",
        "message",
        (f"{SERVICE}::TestIdempotency::test_the_same_key_and_content_is_the_first_receipt_again",),
    ),
    Mutation(
        "store-a-version-twice",
        RECORDERS,
        '"UNIQUE (originator_id, originator_version))"',
        '"CHECK (position > 0))"',
        (
            f"{LOG}::test_a_refusal_names_every_aggregate_with_a_taken_version",
            "tests/test_processes.py::test_two_processes_in_the_same_dialogues_lose_and_repeat_nothing",
        ),
    ),
    Mutation(
        "lock-when-the-first-row-is-written",
        DATASTORE,
        '"BEGIN IMMEDIATE" if self.commit else "BEGIN"',
        '"BEGIN"',
        (f"{FILES}::test_an_append_has_the_lock_before_it_reads_the_last_position",),
    ),
    Mutation(
        "never-catch-up-with-another-process",
        COMMIT,
        "        moved = sum(log.catch_up(aggregate) for aggregate in command.aggregates) > 0\n",
        "        moved = False\n",
        ("tests/test_reading.py::test_a_reply_to_a_message_of_another_service_is_accepted",),
    ),
    Mutation(
        "skip-a-position",
        RECORDERS,
        "strict=True), head + 1)",
        "strict=True), head + 2)",
        (f"{LOG}::test_positions_stay_dense_after_refused_appends",),
    ),
    Mutation(
        "follow-the-clock-back",
        RECORDERS,
        "at = max(at, time_)",
        "at = time_",
        (f"{LOG}::test_times_never_decrease_when_the_clock_steps_back",),
    ),
    Mutation(
        "begin-the-chain-anew-with-every-entry",
        RECORDERS,
        "next_chain(chain, stored_digest(stored), at)",
        "next_chain(FIRST_CHAIN, stored_digest(stored), at)",
        (f"{LOG}::test_the_chain_can_be_recomputed_from_the_stored_events",),
    ),
    Mutation(
        "leave-the-state-out-of-the-digest",
        RECORDER,
        "        stored.state,\n    ):",
        "    ):",
        ("tests/test_verification.py::test_a_state_altered_by_one_bit_is_found",),
    ),
    Mutation(
        "trust-the-stored-chain",
        "application/verification.py",
        "        if chain != entry.chain:",
        "        if False:",
        (
            "tests/test_verification.py::test_a_state_altered_by_one_bit_is_found",
            "tests/test_verification.py::test_whatever_else_was_altered_is_found",
        ),
    ),
    Mutation(
        "look-an-unknown-topic-up-by-name",
        CODEC,
        "            raise UnknownTopicError(stored_event)",
        "            return super().to_domain_event(stored_event)",
        ("tests/test_codec.py::test_an_unknown_topic_is_an_error_that_names_the_position",),
    ),
    Mutation(
        "store-the-name-of-the-aggregate",
        CODEC,
        '_KNOWN_ELSEWHERE = {"originator_id", "originator_version", "originator_topic"}',
        '_KNOWN_ELSEWHERE = {"originator_id", "originator_version"}',
        (
            "tests/test_codec.py::test_a_state_is_the_events_own_fields_and_nothing_else",
            "tests/test_codec.py::test_an_event_comes_back_as_it_was",
        ),
    ),
    Mutation(
        "insert-a-field-in-the-middle-of-a-message",
        MESSAGE,
        "    payload: Payload = None\n    priority:",
        "    channel: str | None = None\n    payload: Payload = None\n    priority:",
        ("tests/test_codec.py::test_every_released_stored_form_loads",),
    ),
    Mutation(
        "store-the-first-of-a-batch",
        COMMANDS,
        "            self._first = draft.convey(self._messages, {}, asks=self._asks)",
        "            self._first = draft.convey(self._messages[:1], {}, asks=self._asks)",
        (f"{CLOSING}::test_a_cancelled_command_is_stored_whole_or_not_at_all",),
    ),
    Mutation(
        "run-what-was-cancelled",
        COMMIT,
        "            taken = [waiting for waiting in taken if not waiting.dropped()]\n",
        "",
        (f"{CLOSING}::test_a_command_that_waits_behind_another_is_dropped_by_cancelling",),
    ),
    Mutation(
        "refuse-what-was-taken-when-closing",
        COMMIT,
        "            if taken:\n",
        "            if taken and self._closed:\n"
        "                self._answer(taken, [CallosumClosedError()] * len(taken), lambda: None)\n"
        "            elif taken:\n",
        (f"{CLOSING}::test_closing_answers_what_was_taken_and_refuses_the_rest",),
    ),
    Mutation(
        "follow-from-one-event-too-early",
        "application/reading.py",
        "                after, chain = event.position, event.chain\n",
        "                after, chain = event.position - 1, None\n",
        (
            "tests/test_reading.py::TestFollow::test_history_comes_first_then_what_happens_live",
            "tests/test_reading.py::TestFollow::test_history_of_many_pages_is_complete",
        ),
    ),
    Mutation(
        "resume-from-the-beginning",
        "application/reading.py",
        "                events = await self.call(self._log.read, after=after, limit=_PAGE, chain=chain)\n",
        "                events = await self.call(self._log.read, after=0, limit=_PAGE)\n",
        ("tests/test_reading.py::TestFollow::test_it_resumes_after_any_position",),
    ),
    Mutation(
        "look-for-other-processes-ten-times-less",
        "infrastructure/sqlite/datastore.py",
        "LOOK_EVERY: Final = 0.0",
        "LOOK_EVERY: Final = 0.4",
        (f"{LOG}::test_appends_of_another_process_wake_within_50_ms",),
    ),
    Mutation(
        "give-every-import-new-ids",
        "application/transcripts.py",
        '        return uuid5(NAMESPACE, f"{canonical}\\n{occurrence}")',
        "        return UUID(bytes=os.urandom(16))",
        (
            "tests/test_processes.py::test_an_import_killed_in_the_middle_and_repeated_has_every_message_once",
            "tests/test_transcripts.py::test_an_id_is_of_the_canonical_json_and_the_occurrence",
        ),
    ),
    Mutation(
        "stop-at-a-broken-line",
        "application/transcripts.py",
        "            yield self._transcript(number, line)\n",
        "            yield (read := self._transcript(number, line))\n"
        "            if isinstance(read, BrokenLine):\n"
        "                return\n",
        ("tests/test_transcripts.py::test_a_first_line_that_is_cut_off_does_not_hide_the_others",),
    ),
    Mutation(
        "commit-the-checkpoint-before-the-rows",
        MODEL,
        "            rows.write(connection, boundary)\n",
        "        with self.writing() as connection:\n            rows.write(connection, boundary)\n",
        (f"{PROJECTIONS}::test_event_whose_rows_cannot_be_written_leaves_the_read_model_as_it_was",),
    ),
    Mutation(
        "write-without-looking-at-the-checkpoint",
        MODEL,
        "    if moved.rowcount != 1:",
        "    if False:",
        (f"{REBUILT}::test_retired_read_model_is_folded_no_further",),
    ),
    Mutation(
        "trust-a-read-model-of-another-log",
        FOLDING,
        "        if stored.epoch != ours.epoch:",
        "        if False:",
        (f"{PROJECTIONS}::test_read_model_of_another_log_is_folded_anew_and_says_so",),
    ),
    Mutation(
        "trust-a-read-model-of-another-history",
        FOLDING,
        "        return None if chain == stored.chain else",
        "        return None if chain else",
        (f"{PROJECTIONS}::test_read_model_of_another_log_is_folded_anew_and_says_so",),
    ),
    Mutation(
        "forget-the-measures-between-batches",
        "projections/cache.py",
        'decode_measures(measures[row["dialogue"]])',
        "Measures.empty(self._settings)",
        (f"{PROJECTIONS}::test_runner_goes_on_where_another_one_stopped",),
    ),
    Mutation(
        "open-any-database",
        DATASTORE,
        "                check_layout(connection, self.db_name)\n",
        "",
        (
            f"{FILES}::test_a_database_of_another_program_is_refused_and_left_as_it_is",
            f"{FILES}::test_a_database_of_a_newer_layout_is_refused_and_left_as_it_is",
        ),
    ),
    Mutation(
        "touch-before-looking",
        "projections/database.py",
        "        _check_owner(connection, path, application, layout)\n        _use_wal(connection)\n",
        "        _use_wal(connection)\n        _check_owner(connection, path, application, layout)\n",
        (f"{READ_SIDE}::test_a_views_file_of_another_program_is_refused_and_left_alone",),
    ),
    Mutation(
        "answer-from-wherever-the-fold-is",
        "application/read_side.py",
        "and says how far it goes\n        return head\n",
        "and says how far it goes\n        return 0\n",
        (f"{READ_SIDE}::test_metrics_include_what_was_stored_when_they_were_asked_for",),
    ),
    Mutation(
        "answer-from-any-logs-read-models",
        "application/read_side.py",
        "        if checkpoint.epoch != self._log.epoch:",
        "        if False:",
        (f"{READ_SIDE}::test_the_read_models_of_a_deleted_log_are_never_answered_with",),
    ),
    Mutation(
        "give-up-when-the-database-is-locked",
        RUNNER,
        "            except (LogOperationalError, OperationalError) as trouble:\n",
        "            except ZeroDivisionError as trouble:\n",
        (f"{READ_SIDE}::test_a_locked_database_makes_the_read_side_wait_and_go_on",),
    ),
    Mutation(
        "fail-the-round-for-one-unreadable-dialogue",
        COMMIT,
        "            unreadable[aggregate] = failure\n",
        "            raise failure\n",
        (f"{SERVICE}::test_an_event_that_cannot_be_read_fails_its_own_dialogue_only",),
    ),
    Mutation(
        "skip-the-stores-own-check",
        "application/verification.py",
        "    damage = log.recorder.check()\n",
        "    damage = None\n",
        ("tests/test_verification.py::test_a_damaged_page_is_found_by_the_stores_own_check",),
    ),
    Mutation(
        "append-on-the-event-loop",
        COMMIT,
        "        self._queue.put(waiting)\n",
        "        offers = self._bells.offers()\n"
        "        self._answer([waiting], self._commit([waiting.command], offers), offers.read())\n",
        (f"{CLOSING}::test_the_event_loop_and_readers_go_on_while_an_append_takes_its_time",),
    ),
    Mutation(
        "repeat-an-append-without-its-mark",
        REDIS_RECORDERS,
        "(*known, 1, who, *words)",
        "(*known, 0, who, *words)",
        (f"{REPLIES}::test_an_append_whose_reply_is_lost_is_stored_once_and_answered",),
    ),
    Mutation(
        "let-the-client-repeat",
        CONNECTION,
        "        with self.borrowed() as connection:\n"
        "            return connection.run(script, keys, arguments)\n",
        "        try:\n"
        "            with self.borrowed() as connection:\n"
        "                return connection.run(script, keys, arguments)\n"
        "        except ConnectionLostError:\n"
        "            return self.run(script, keys, arguments)\n",
        (f"{REPLIES}::test_an_append_whose_reply_is_lost_is_stored_once_and_answered",),
    ),
    Mutation(
        "take-any-repetition-for-the-first",
        APPEND,
        "or last[6] ~= ARGV[event + 3] or last[12] ~= ARGV[event + 5] then break end",
        "then break end",
        (f"{REPLIES}::test_a_real_conflict_is_one_although_its_reply_is_lost",),
    ),
    Mutation(
        "take-a-version-twice",
        APPEND,
        "    conflicts[#conflicts + 1] = number\n",
        "",
        ("tests/test_redis_faults.py::test_one_of_two_writers_wins_each_version",),
    ),
    Mutation(
        "overwrite-a-key",
        APPEND,
        "if #conflicts + #duplicates + #full + #lost + #shut > 0 then",
        "if #conflicts + #full + #lost + #shut > 0 then",
        (f"{SERVICE}::TestIdempotency::test_other_content_under_the_key_is_an_error",),
    ),
    Mutation(
        "write-before-the-permissions-are-known",
        APPEND,
        "if not permitted then",
        "if false then",
        (f"{REFUSALS}::TestPermissions::test_without_one_of_them_nothing_is_appended",),
    ),
    Mutation(
        "open-a-log-on-any-server",
        "infrastructure/redis_streams/factory.py",
        "            check(self.datastore)\n",
        "",
        (
            f"{DOCTOR}::TestARefusedServer::test_all_reasons_are_told_and_nothing_is_written",
            f"{DOCTOR}::TestARefusedServer::test_a_replica_takes_no_log",
            f"{DOCTOR}::TestAUserWithFewRights::test_an_append_that_would_end_half_way_is_refused_before",
        ),
    ),
    Mutation(
        "open-a-log-of-any-layout",
        "infrastructure/redis_streams/datastore.py",
        "        if reason := refusal(self.namespace, wire.text(layout)):\n",
        "        if reason := None:\n",
        (f"{DOCTOR}::TestARefusedServer::test_a_strange_log_is_refused_by_both",),
    ),
    Mutation(
        "tell-the-password",
        CONNECTION,
        'parts.netloc.rpartition("@")[2]\n    number',
        "parts.netloc\n    number",
        (
            f"{REFUSALS}::TestAuthentication::test_it_is_refused_without_telling_the_password",
            f"{REFUSALS}::TestAuthentication::test_the_right_one_opens_and_is_not_told_when_the_server_is_gone",
        ),
    ),
    Mutation(
        "tell-nobody-of-growth",
        APPEND,
        "  redis.call('PUBLISH', log, news)\n",
        "",
        (f"{ADMISSION}::TestAcrossProcesses::test_room_that_another_service_makes_is_heard_of",),
    ),
    Mutation(
        "give-up-following-when-the-store-is-away",
        "application/reading.py",
        "        if isinstance(error, LogLostError):\n",
        "        if error:\n",
        (f"{OPERATIONS}::TestARunningService::test_while_the_server_is_away_commands_fail_and_a_follower_waits",),
    ),
    Mutation(
        "end-a-subscription-with-a-read-that-fails",
        "infrastructure/subscription.py",
        "            except OperationalError as error:\n",
        "            except ZeroDivisionError as error:\n",
        (f"{REPLIES}::test_a_subscription_reads_later_what_it_cannot_read_at_first",),
    ),
    Mutation(
        "append-to-whatever-log-is-there",
        APPEND,
        "if tonumber(seen) ~= position or seen_chain ~= chain then",
        "if false then",
        (
            f"{LOST}::TestARecorder::test_refuses_to_append_until_the_loss_is_accepted",
            f"{LOST}::TestARecorder::test_is_not_deceived_by_others_at_the_same_positions",
        ),
    ),
    Mutation(
        "let-another-log-be-appended-to",
        APPEND,
        "if redis.call('HGET', meta, 'epoch') ~= epoch then return {'LOST', text(position)} end\n",
        "",
        (
            f"{OPERATIONS}::TestARunningService::test_it_is_told_that_another_log_is_there_even_if_it_had_seen_none",
        ),
    ),
    Mutation(
        "tell-an-aggregate-of-whatever-log-is-there",
        REDIS_RECORDERS,
        "            if tip != anchor and anchor[0] > 0 and",
        "            if False and",
        (
            f"{LOST}::TestARecorder::test_refuses_to_tell_an_aggregate",
            f"{LOST}::TestARecorder::test_is_not_deceived_by_others_at_the_same_positions",
        ),
    ),
    Mutation(
        "fail-for-ever-after-a-loss",
        COMMIT,
        "            log.accept_loss()\n",
        "            log.head()\n",
        (f"{LOST}::TestTheService::test_tells_the_first_sender_and_goes_on",),
    ),
    Mutation(
        "keep-what-was-derived-from-a-lost-entry",
        "application/log.py",
        "            self._cache.get(dialogue, evict=True)\n",
        "            self._cache.get(dialogue)\n",
        (
            f"{LOST}::TestTheService::test_tells_the_first_sender_and_goes_on",
            f"{LOST}::TestTheService::test_does_not_pass_over_what_took_the_lost_ones_place",
        ),
    ),
    Mutation(
        "read-on-past-a-lost-entry",
        "application/reading.py",
        "self._log.read, after=after, limit=_PAGE, chain=chain)\n                if not events and",
        "self._log.read, after=after, limit=_PAGE)\n                if not events and",
        (
            f"{LOST}::test_a_follower_is_told_when_others_took_the_place",
            f"{LOST}::test_a_follower_is_told_instead_of_led_past_the_gap",
        ),
    ),
    Mutation(
        "fold-on-past-a-lost-entry",
        "projections/feed.py",
        "chain=chain if position else None",
        "chain=None",
        (f"{OPERATIONS}::TestARunningService::test_it_is_told_that_an_older_log_was_restored",),
    ),
    Mutation(
        "keep-the-pages-that-were-read-before-a-loss",
        "projections/feed.py",
        "            self._pages.clear()  # they may",
        "            # they may",
        (f"{PROJECTIONS}::test_pages_that_were_read_before_a_loss_are_read_again",),
    ),
    Mutation(
        "keep-the-pages-of-another-log",
        FOLDING,
        "                self._feed.forget()\n",
        "                pass\n",
        (f"{PROJECTIONS}::test_pages_of_another_log_are_read_again",),
    ),
    Mutation(
        "leave-the-former-one-to-its-runners",
        REBUILD,
        "            set_active(served, active=False)\n",
        "",
        (f"{REBUILT}::test_retired_read_model_is_folded_no_further",),
    ),
    Mutation(
        "call-everything-identical",
        REBUILD,
        "            if digest(served, tables) == summed:",
        "            if digest(rebuilt, tables) == summed:",
        (f"{REBUILT}::test_first_row_that_differs_is_named_with_both_values",),
    ),
    Mutation(
        "begin-every-rebuild-anew",
        REBUILD,
        "        if served is not None and self.resumed_at > served:",
        "        if served is not None:",
        (f"{REBUILT}::test_rebuild_goes_on_where_an_earlier_one_stopped",),
    ),
    Mutation(
        "let-two-rebuild-at-once",
        "projections/models.py",
        '                connection.execute("BEGIN EXCLUSIVE")\n',
        '                connection.execute("BEGIN DEFERRED")\n',
        (f"{REBUILT}::test_second_rebuild_is_refused_while_one_is_under_way",),
    ),
    Mutation(
        "go-on-with-the-dialogue-of-a-parked-event",
        FOLDING,
        "                self._parked.setdefault(event.dialogue, event.position)\n",
        "                pass\n",
        (f"{POISON}::test_parked_event_stops_its_dialogue_and_no_other",),
    ),
    Mutation(
        "forget-after-a-restart-what-is-parked",
        FOLDING,
        "for event in reversed(parked) if event.dialogue}",
        "for event in () if event.dialogue}",
        (f"{POISON}::test_event_stays_parked_behind_after_a_restart",),
    ),
    Mutation(
        "park-the-whole-batch",
        FOLDING,
        "            if len(page) > 1:\n",
        "            if False:\n",
        (f"{POISON}::test_parked_event_stops_its_dialogue_and_no_other",),
    ),
    Mutation(
        "wait-for-ever-for-a-fold-that-hangs",
        RUNNER,
        "                runner.give_up_after(self._seconds)\n",
        "                pass\n",
        (f"{POISON}::test_parked_event_stops_its_dialogue_and_no_other",),
        hangs=True,
    ),
    Mutation(
        "keep-no-earlier-rows",
        MODEL,
        "WHEN old.{SINCE} < new.{SINCE}",
        "WHEN 0",
        ("tests/test_as_of.py::test_every_earlier_moment_equals_a_fold_up_to_there",),
        hangs=True,  # the search for the smallest history that shows it takes longer
    ),
    Mutation(
        "answer-as-of-the-boundary",
        "projections/as_of.py",
        "        if events:\n            rows =",
        "        if not events:\n            rows =",
        ("tests/test_as_of.py::test_every_earlier_moment_equals_a_fold_up_to_there",),
    ),
    Mutation(
        "answer-from-what-was-lost",
        "application/read_side.py",
        "            if runner is None or runner.ended or runner.paused or runner.error is not None:\n",
        "            if True:\n",
        (f"{LOST}::TestTheService::test_does_not_answer_from_what_was_lost",),
    ),
    Mutation(
        "leave-what-was-settled-in-its-lease",
        APPENDING,
        '"DELETE FROM inbox_held WHERE tract = ? AND lease = ? AND slot = ? RETURNING priority, recipient"',
        '"SELECT priority, recipient FROM inbox_held WHERE tract = ? AND lease = ? AND slot = ?"',
        (
            f"{IN_FILE}::test_what_is_settled_never_comes_back",
            f"{IN_FILE}::test_a_delivery_is_settled_once",
            f"{ENDING}::test_what_is_acked_never_comes_back",
        ),
    ),
    Mutation(
        "let-anyone-settle",
        APPENDING,
        "    if full or shut or lost:\n",
        "    if full or shut:\n",
        (
            f"{IN_FILE}::test_a_delivery_is_settled_once",
            f"{ENDING}::test_what_is_not_settled_in_time_goes_to_another",
        ),
    ),
    Mutation(
        "say-what-who-has-left-answers",
        COMMANDS,
        "        settling.consumer.check()  # or",
        "        # or",
        (f"{ENDING}::test_who_has_left_settles_nothing_and_says_nothing",),
    ),
    Mutation(
        "hand-out-whole-runs",
        LEASES,
        "        many = min(count, demand - len(handed))\n",
        "        many = count\n",
        (
            f"{IN_FILE}::test_no_more_is_handed_out_than_was_asked_for",
            "tests/test_subscription.py::TestASubscription::test_never_holds_more_than_it_asked_for",
        ),
    ),
    Mutation(
        "hand-out-in-the-order-of-arrival",
        LEASES,
        "ORDER BY urgency, slot LIMIT ?",
        "ORDER BY slot LIMIT ?",
        (f"{IN_FILE}::test_what_arrives_is_handed_out_by_priority_then_by_place",),
    ),
    Mutation(
        "give-more-before-the-ack-is-answered",
        SUBSCRIPTION,
        "return len(self._ready) + min(0, self._credit)",
        "return len(self._ready)",
        (f"{OFFERS}::test_one_that_asks_again_before_its_ack_is_answered_is_not_given_more",),
    ),
    Mutation(
        "leave-without-what-an-append-takes",
        SUBSCRIPTION,
        "        await self._unclaimed.wait()  #",
        "        #",
        (f"{OFFERS}::TestWhileAnAppendTakesForIt::test_cancelling_waits_and_gives_it_back",),
    ),
    Mutation(
        "believe-that-an-offer-gave-nothing",
        SUBSCRIPTION,
        "self._end_claim() or taken is None or more:",
        "self._end_claim() or more:",
        (f"{OFFERS}::test_what_an_append_of_unknown_outcome_gave_is_taken_again",),
    ),
    Mutation(
        "take-what-was-not-asked-for-for-held-back",
        SUBSCRIPTION,
        " and (len(held) > 0 or asked == 0)",
        " and len(held) > 0",
        (f"{SUBSCRIBED}::test_what_is_asked_for_while_it_looks_without_demand_is_looked_for_again",),
    ),
    Mutation(
        "give-what-has-waited-beyond-its-lease",
        SUBSCRIPTION,
        "            if not delivery.has_expired:\n",
        "            if delivery is not None:\n",
        (f"{ENDING}::test_what_has_waited_for_longer_than_its_lease_is_not_given_to_who_iterates",),
    ),
    Mutation(
        "miss-the-bell-while-an-append-takes",
        SUBSCRIPTION,
        "                self._missed = True  #",
        "                pass  #",
        (f"{OFFERS}::test_what_another_process_says_while_an_append_takes_is_taken_afterwards",),
    ),
    Mutation(
        "give-to-who-was-replaced",
        INBOX,
        "if not (waits(c, take) and is_newest(c, take)):",
        "if not waits(c, take):",
        (f"{IN_FILE}::test_who_was_replaced_is_given_nothing",),
    ),
    Mutation(
        "leave-the-older-consumer-its-leases",
        INBOX,
        "            for (lease,) in c.fetchall():\n",
        "            for (lease,) in ():\n",
        (f"{IN_FILE}::test_a_newer_consumer_of_the_same_name_takes_over",),
    ),
    Mutation(
        "let-everything-in",
        APPENDING,
        "        if not before.has_room_for(count - shed[tract]):\n",
        "        if False:\n",
        (
            f"{IN_FILE}::test_more_than_the_capacity_is_refused_whole",
            "tests/test_capacity.py::TestCapacity::test_commands_of_one_round_are_let_in_while_there_is_room",
        ),
    ),
    Mutation(
        "let-in-what-a-gate-refuses",
        APPENDING,
        "        if before.passage is Passage.SHUT:\n",
        "        if False:\n",
        (
            f"{GATES_IN_FILE}::test_nothing_is_let_into_a_tract_that_is_shut",
            f"{GATES_IN_FILE}::test_what_one_tract_refuses_is_refused_whole",
            PERMITS,
        ),
    ),
    Mutation(
        "let-in-what-a-gate-refuses-on-a-server",
        APPEND,
        "    if level[4] == 'shut' then",
        "    if false then",
        (PERMITS,),
    ),
    Mutation(
        "hand-out-what-a-gate-holds-back",
        "application/inbox.py",
        "        if self.passage is Passage.SHUT:\n",
        "        if False:\n",
        (f"{GATES_IN_FILE}::test_nothing_is_handed_out_of_a_tract_that_is_shut", PERMITS),
    ),
    Mutation(
        "hand-out-what-a-gate-holds-back-on-a-server",
        TAKING,
        "    if gate[1] == 'shut' then demand = 0 elseif probes",
        "    if probes",
        (PERMITS,),
    ),
    Mutation(
        "hand-out-without-permits",
        "application/inbox.py",
        "min(demand, self.permits) if self.passage is Passage.PROBING else demand",
        "demand",
        (
            f"{GATES_IN_FILE}::test_who_probes_hands_out_as_many_as_there_are_permits",
            f"{GATES_IN_FILE}::test_two_who_race_for_permits_are_given_no_more",
            PERMITS,
        ),
    ),
    Mutation(
        "hand-out-without-permits-on-a-server",
        TAKING,
        "demand = math.min(demand, tonumber(gate[3]))",
        "demand = demand",
        (PERMITS,),
    ),
    Mutation(
        "judge-an-append-by-the-gate-that-it-brings",
        RECORDERS,
        "        check(c, arrivals, settlements)\n",
        "        write(c, InboxChanges(), 0, (), 0, arrivals=(), settlements=(), gates=gates)\n"
        "        check(c, arrivals, settlements)\n",
        (f"{GATES_IN_FILE}::test_an_append_is_judged_by_what_was_before_it",),
    ),
    Mutation(
        "grant-permits-again-within-a-generation",
        GATES,
        "WHEN passage = 'probing' AND generation = ?3 THEN",
        "WHEN 0 THEN",
        (f"{GATES_IN_FILE}::test_no_permit_is_granted_twice_in_a_generation", PERMITS),
    ),
    Mutation(
        "grant-permits-again-within-a-generation-on-a-server",
        APPEND,
        "  if was[1] ~= 'probing' or was[2] ~= generation then",
        "  if true then",
        (PERMITS,),
    ),
    Mutation(
        "keep-the-permit-of-what-was-no-call",
        APPENDING,
        "    freed = not s.is_call and give_back(c, s.tract, s.lease, 1)\n",
        "    freed = False\n",
        (f"{GATES_IN_FILE}::test_the_permit_of_what_was_no_call_is_there_again", PERMITS),
    ),
    Mutation(
        "keep-the-permit-of-what-was-no-call-on-a-server",
        APPEND,
        "  if give_back(tract, lease, 1) then",
        "  if false then",
        (PERMITS,),
    ),
    Mutation(
        "keep-the-permits-of-leases-that-end",
        LEASES,
        "    freed = give_back(c, tract, lease, len(held))\n",
        "    freed = False\n",
        (
            f"{GATES_IN_FILE}::test_the_permits_of_a_lease_that_ends_are_there_again",
            f"{GATES_IN_FILE}::test_the_permits_of_a_consumer_that_is_replaced_are_there_again",
            PERMITS,
        ),
    ),
    Mutation(
        "keep-the-permits-of-leases-that-end-on-a-server",
        INBOX_SCRIPT,
        "  if #held > 0 and give_back(",
        "  if false and give_back(",
        (PERMITS,),
    ),
    Mutation(
        "give-a-permit-back-to-a-later-generation",
        GATES,
        "AND passage = 'probing' AND generation = ",
        "AND passage = 'probing' AND 0 < ",
        (f"{GATES_IN_FILE}::test_what_an_earlier_generation_handed_out_gives_no_permit_back", PERMITS),
    ),
    Mutation(
        "give-a-permit-back-to-a-later-generation-on-a-server",
        INBOX_SCRIPT,
        "redis.call('HGET', of('circuit', tract), lease) ~= gate[2] then",
        "not redis.call('HGET', of('circuit', tract), lease) then",
        (PERMITS,),
    ),
    Mutation(
        "ring-nobody-when-a-gate-opens",
        APPENDING,
        "        if gate.passage is not Passage.SHUT:\n",
        "        if False:\n",
        (f"{GATES_IN_FILE}::test_the_bell_rings_when_a_gate_lets_something_out",),
    ),
    Mutation(
        "ring-nobody-for-a-permit",
        APPENDING,
        "        return _follow(c, s) or freed\n",
        "        return _follow(c, s)\n",
        (f"{GATES_IN_FILE}::test_the_bell_rings_for_a_permit_that_is_there_again",),
    ),
    Mutation(
        "tell-nobody-of-room",
        RECORDERS,
        "        self.inbox.tell_room(changes.backlogs)\n",
        "",
        (f"{GATES_IN_FILE}::test_every_append_that_settles_tells_the_backlog",),
    ),
    Mutation(
        "leave-who-waits-for-room-after-a-lost-connection",
        "infrastructure/redis_streams/listener.py",
        "                    self._tell_room(tract, _UNKNOWN)\n",
        "",
        (f"{AWAY}::test_who_waits_for_room_is_told_to_look_when_the_server_is_back",),
    ),
    Mutation(
        "open-the-layout-before-as-it-is",
        DATASTORE,
        "        bring_up_to_date(c)\n",
        "",
        (
            f"{LAYOUTS}::TestSQLite::test_a_log_of_layout_2_goes_on",
            f"{LAYOUTS}::TestSQLite::test_its_tables_are_those_of_a_new_one",
        ),
    ),
    Mutation(
        "let-an-older-program-ignore-the-gates",
        "infrastructure/redis_streams/scripts/claim.lua",
        "  redis.call('HSET', meta, 'layout', ARGV[1])\n",
        "",
        (f"{LAYOUTS}::TestRedis::test_a_log_of_layout_2_goes_on",),
    ),
    Mutation(
        "refuse-replies-too",
        ROUND,
        "        self._exempt.add(sequence)\n",
        "",
        (
            "tests/test_capacity.py::TestCapacity::test_both_tracts_full_and_both_answering_do_not_block_each_other",
        ),
    ),
    Mutation(
        "redrive-with-the-old-attempts",
        APPENDING,
        "attempts = 0 if s.lease == DEAD_LETTERS else s.attempt - (s.then is Then.BACK)",
        "attempts = s.attempt - (s.then is Then.BACK)",
        (
            f"{IN_FILE}::test_a_dead_letter_that_is_redriven_is_as_new",
            f"{DEAD}::TestRedriving::test_it_is_delivered_as_if_for_the_first_time",
        ),
    ),
    Mutation(
        "free-dead-letters-with-the-leases",
        APPENDING,
        "recipient, near=near)\n",
        "recipient, near=near)\n        lend(c, s.tract, DEAD_LETTERS, '', due=0)\n",
        (f"{IN_FILE}::test_dead_letters_stay_when_a_consumer_joins_and_when_leases_end",),
    ),
    Mutation(
        "redrive-twice-what-two-ask-for",
        ROUND,
        "        if any(settlement in self.settlements for settlement in settlements):\n"
        "            raise RepeatedError\n",
        "",
        (f"{DEAD}::TestRedriving::test_two_in_one_round_redrive_a_letter_once",),
    ),
    Mutation(
        "hand-out-a-whole-line",
        "infrastructure/sqlite/lines.py",
        "    out = 0 if c.fetchone() else 1\n",
        "    out = a.count\n",
        (
            f"{IN_FILE}::test_an_ordered_tract_hands_out_one_message_of_a_dialogue_after_the_other",
            f"{ORDERED}::TestAnOrderedTract::test_to_competing_consumers_too",
        ),
    ),
    Mutation(
        "let-a-line-pass-its-dead-letter",
        APPENDING,
        "recipient, near=near)\n        return freed\n",
        "recipient, near=near)\n        return _follow(c, s)\n",
        (f"{ORDERED}::TestAnOrderedTract::test_behind_a_dead_letter_a_dialogue_waits_and_others_go_on",),
    ),
    Mutation(
        "deliver-answers-to-others",
        ROUND,
        "            if not answers:\n",
        "            if True:\n",
        (
            f"{ASKING}::TestAsking::test_the_answer_is_handed_to_nobody_else",
            f"{ASKING}::TestWithoutAnAnswer::test_a_late_answer_waits_for_who_asks_again",
        ),
    ),
    Mutation(
        "keep-all-replies-of-a-round",
        ROUND,
        "                self._answered.add(message.in_reply_to)\n",
        "",
        (f"{ASKING}::TestAsking::test_of_replies_that_come_at_once_one_answers_and_the_others_are_delivered",),
    ),
    Mutation(
        "keep-every-reply-to-a-question",
        DIALOGUE,
        "self.open_questions.union(asked).difference(answered)",
        "self.open_questions.union(asked)",
        (f"{ASKING}::TestAsking::test_a_third_reply_is_one_too",),
    ),
    Mutation(
        "look-for-an-answer-only-from-now-on",
        "application/asking.py",
        "                    if said.position <= since:",
        "                    if False:",
        (f"{ASKING}::TestWithoutAnAnswer::test_asking_again_with_the_key_finds_one_that_came_later",),
    ),
    Mutation(
        "tell-of-no-lost-lease",
        "application/explanation.py",
        "            yield from lost(step.attempt)\n",
        "",
        ("tests/test_explanation.py::TestAMessage::test_whose_leases_were_lost_says_so",),
    ),
    Mutation(
        "end-a-life-at-its-first-outcome",
        "application/explanation.py",
        "outcome.result is not Result.RETRIED and recorded.position > redriven",
        "True",
        ("tests/test_explanation.py::TestAMessage::test_has_each_attempt_with_consumer_outcome_and_error",),
    ),
    Mutation(
        "record-a-transition-again",
        "domain/gate.py",
        "        if transition.generation != self.last.generation + 1:\n            return\n",
        "",
        (
            "tests/test_gate.py::test_what_is_recorded_already_is_not_again",
            f"{GATE_TESTS}::TestAcrossProcesses::test_services_that_see_the_same_transition_record_it_once",
        ),
    ),
    Mutation(
        "press-again-what-is-behind",
        "domain/gate.py",
        "engaged == self.engaged or cause <= self.pressed_at",
        "engaged == self.engaged",
        ("tests/test_gate.py::test_backpressure_begins_and_ends_in_turn",),
    ),
    Mutation(
        "count-what-nobody-tried-to-the-end",
        "application/delivery.py",
        "generation=self.generation if end.counts else None",
        "generation=self.generation",
        (f"{GATE_TESTS}::TestCircuit::test_what_nobody_has_tried_to_the_end_is_no_call",),
    ),
    Mutation(
        "count-results-that-come-a-state-too-late",
        "domain/circuit.py",
        "if generation != self.generation or ",
        "if ",
        ("tests/test_circuit.py::TestClosed::test_it_does_not_count_a_call_of_another_generation",),
    ),
    Mutation(
        "leave-time-to-nobody",
        "application/gates.py",
        "        elif (due_at := gate.circuit.due_at()) is not None:\n            self._look_at(due_at / 1000)\n",
        "",
        (f"{GATE_TESTS}::TestCircuit::test_it_tries_with_its_permits_and_closes_when_these_go_well",),
    ),
    Mutation(
        "tell-the-store-of-no-transition",
        ROUND,
        "    if not (configured or moved):\n",
        "    if not configured:\n",
        (f"{GATE_TESTS}::TestCircuit::test_while_it_is_open_nothing_is_let_in_or_handed_out",),
    ),
    Mutation(
        "refuse-what-has-its-receipt",
        "application/admission.py",
        "count == 0 or any(message.idempotency_key is not None for message in messages)",
        "count == 0",
        (f"{ADMISSION}::TestRefusing::test_what_is_recorded_gets_its_receipt_though_the_tract_is_full",),
    ),
    Mutation(
        "let-the-last-to-come-go-first",
        "application/waiting.py",
        "(self._line.appendleft if first else self._line.append)(turn)",
        "self._line.appendleft(turn)",
        (f"{ADMISSION}::TestWaiting::test_the_first_to_come_is_the_first_to_be_let_in",),
    ),
    Mutation(
        "let-in-above-the-low-watermark",
        "application/waiting.py",
        "(head.count <= room and below_low >= 0)",
        "head.count <= room",
        (f"{ADMISSION}::TestWaiting::test_who_waits_is_let_in_when_the_backlog_is_down_to_the_low_watermark",),
    ),
    Mutation(
        "let-a-process-go-ahead",
        WAITING_ROOMS,
        "if self.others is None:",
        "if self.others is None or True:",
        (f"{GATES_IN_FILE}::test_no_waiting_room_gets_ahead_by_more_than_once_for_each_of_its_senders",),
    ),
    Mutation(
        "forget-what-was-let-in",
        WAITING_ROOMS,
        "max(rounds, others or 0.0) if idle else rounds",
        "others or 0.0 if idle else rounds",
        (f"{GATES_IN_FILE}::test_who_leaves_and_comes_again_is_as_far_ahead_as_before",),
    ),
    Mutation(
        "wait-for-a-process-that-died",
        WAITING_ROOMS,
        "now + ROOM_LEASE",
        "now + 60 * ROOM_LEASE",
        (f"{GATES_IN_FILE}::test_nobody_waits_for_one_that_does_not_ask_any_more",),
    ),
    Mutation(
        "name-one-of-those-that-are-shed",
        SHEDDING,
        "[message for _, message in shed])",
        "[message for _, message in shed][:1])",
        (
            f"{SHED}::TestMakingRoom::test_as_many_as_are_needed",
            f"{SHED}::TestManySenders::test_each_is_delivered_or_shed_and_there_is_never_too_much",
        ),
    ),
    Mutation(
        "keep-what-was-held-to-be-shed",
        SHEDDING,
        "        if not hold.has_left:\n",
        "        if True:\n",
        (
            f"{SHED}::TestInBetween::test_what_is_refused_meanwhile_puts_all_back",
            f"{SHED}::TestInBetween::test_who_is_cancelled_leaves_all_as_it_was",
        ),
    ),
    Mutation(
        "take-more-room-than-is-shed",
        APPENDING,
        "        if not before.has_room_for(count - shed[tract]):\n",
        "        if not before.has_room_for(0 if shed[tract] else count):\n",
        (
            f"{SHEDDING_IN_FILE}::test_more_than_what_is_shed_needs_room_of_its_own",
            f"{SHED}::TestInBetween::test_what_others_take_the_room_of_is_made_again",
        ),
    ),
    Mutation(
        "take-more-room-than-is-shed-on-a-server",
        APPEND,
        "    local more = counted.bounded - (shed[tract] or 0)\n",
        "    local more = shed[tract] and 0 or counted.bounded\n",
        (f"{SHED}::TestInBetween::test_what_others_take_the_room_of_is_made_again",),
    ),
    Mutation(
        "shed-what-is-as-urgent",
        "infrastructure/sqlite/shedding.py",
        "(tract, recipient, 9 - below, count)",
        "(tract, recipient, 8 - below, count)",
        (
            f"{SHED}::TestBeingRefused::test_where_nothing_is_less_urgent",
            f"{SHEDDING_IN_FILE}::test_at_any_time_it_is_what_sorting_all_that_waits_gives",
        ),
    ),
    Mutation(
        "shed-what-is-as-urgent-on-a-server",
        "infrastructure/redis_streams/scripts/take_lowest.lua",
        "  if tonumber(priority) < below then\n",
        "  if tonumber(priority) <= below then\n",
        (f"{SHED}::TestBeingRefused::test_where_nothing_is_less_urgent",),
    ),
    Mutation(
        "hold-what-is-not-enough",
        "infrastructure/sqlite/shedding.py",
        "    if sum(run[2] for run in runs) >= count:\n",
        "    if runs:\n",
        (f"{SHEDDING_IN_FILE}::test_where_there_are_fewer_none_is_held",),
    ),
    Mutation(
        "record-none-of-the-refusals",
        "application/admission.py",
        "            self._recording = self._loop.call_at(at, self._record)\n",
        "            pass\n",
        (f"{ADMISSION}::TestRefusing::test_how_many_were_refused_and_waited_is_recorded",),
    ),
    Mutation(
        "correct-for-one-test-only",
        "application/significance.py",
        "(len(ps) - rank) * ps[place]",
        "ps[place]",
        (
            "tests/test_study.py::test_of_pure_noise_hardly_more_than_one_study_of_twenty_finds_something",
            "tests/test_significance.py::test_holm_corrects_step_by_step",
        ),
    ),
    Mutation(
        "draw-without-a-seed",
        "application/significance.py",
        "rng=np.random.default_rng(SEED)",
        "rng=np.random.default_rng()",
        ("tests/test_significance.py::test_drawn_partitions_are_close_to_all_and_always_the_same",),
    ),
    Mutation(
        "claim-that-an-estimate-is-exact",
        "projections/backtest.py",
        "        if self._guesses_from is None:\n            self._guesses_from = position\n",
        "        del position\n",
        (f"{BACKTEST}::TestWithOtherSettings::test_one_that_never_trips_says_from_where_it_is_a_guess",),
    ),
    Mutation(
        "let-time-go-by-in-the-wrong-state",
        "projections/backtest.py",
        "    course.spend(circuit.state, -late)\n",
        "",
        (
            f"{BACKTEST}::TestWithTheSettingsThatWereInForce::test_it_comes_to_the_very_transitions_that_are_recorded",
        ),
    ),
    Mutation(
        "find-a-monologue-one-message-late",
        "domain/monologue.py",
        "            if self.count >= self.messages:\n",
        "            if self.count > self.messages:\n",
        (
            f"{DIRECTIONS}::test_monologue_is_twenty_messages_in_one_direction",
            f"{CONFORMANCE}::test_what_is_found_is_what_the_labels_say",
        ),
    ),
    Mutation(
        "go-on-with-a-turn-that-is-over",
        "domain/monologue.py",
        "            self.direction = Direction.INTRA.value  # the turn that was under way is over\n",
        "            pass\n",
        (
            f"{DIRECTIONS}::test_monologue_is_over_when_the_other_tract_says_something",
            f"{DIRECTIONS}::test_run_in_any_split_is_found_in_as_its_messages_are",
        ),
    ),
    Mutation(
        "take-eighty-percent-for-more",
        "domain/dominance.py",
        "        limit = int(round(self.share * window, 9))\n",
        "        limit = int(round(self.share * window, 9)) - 1\n",
        (
            f"{DIRECTIONS}::test_dominance_is_more_than_eighty_percent_of_fifty",
            f"{CONFORMANCE}::test_what_is_found_is_what_the_labels_say",
        ),
    ),
    Mutation(
        "join-stretches-that-only-touch",
        "domain/dominance.py",
        "        if before is None or self.direction != direction or before.last_sequence < first_sequence:\n",
        "        if before is None or self.direction != direction or before.last_sequence + 1 < first_sequence:\n",
        (
            f"{DIRECTIONS}::test_stretches_of_dominance_that_only_touch_are_two",
            f"{DIRECTIONS}::test_dominance_agrees_with_its_definition",
        ),
    ),
    Mutation(
        "leave-episodes-out-of-the-findings",
        "projections/changes.py",
        "        if isinstance(scope, UUID):\n            self.found(",
        "        if isinstance(scope, Kind):\n            self.found(",
        (f"{CONFORMANCE}::test_what_is_found_is_what_the_labels_say",),
    ),
    Mutation(
        "let-messages-within-a-tract-end-a-stall",
        "projections/consciousness.py",
        "        if across := directions.rstrip(_WITHIN):\n",
        "        if across := directions:\n",
        (f"{CONFORMANCE}::test_a_dialogue_stalls_after_so_long_without_an_answer",),
    ),
    Mutation(
        "tell-a-stall-whenever-it-is-asked",
        "projections/findings.py",
        "        activities.c.asked_at > silent_since(before.now, seconds), ",
        "        activities.c.asked_at > 0, ",
        (f"{FOLLOWED}::TestStalls::test_a_stall_is_told_once_when_it_begins",),
    ),
    Mutation(
        "leave-half-of-a-position-untold",
        "projections/findings.py",
        "in_order.where(findings.c.position <= reached)",
        "in_order.where(findings.c.position <= reached).limit(_AT_ONCE)",
        (f"{FOLLOWED}::test_history_of_any_length_is_told_in_order",),
    ),
    Mutation(
        "mix-the-figures-of-two-thresholds",
        "projections/consciousness.py",
        '        del values["stall_seconds"]  # by which no row is made; who asks goes by it\n',
        '        del values["stall_seconds"], values["monologue_messages"]\n',
        (
            "tests/test_pattern_settings.py::test_every_threshold_of_what_is_stored_is_part_of_the_version",
            "tests/test_pattern_settings.py::test_another_threshold_builds_a_read_model_beside_the_old_one",
        ),
    ),
    Mutation(
        "tell-what-looks-like-bytes-as-bytes",
        "application/event_json.py",
        '            return {f"${key}": _told(value[key])}\n',
        "            return {key: _told(value[key])}\n",
        ("tests/test_event_json.py::test_every_payload_comes_back_as_the_same_bytes",),
    ),
    Mutation(
        "import-with-the-times-of-today",
        RESTORING,
        "            times=times,\n",
        "",
        (f"{EXPORT}::test_a_live_log_comes_back_whole",),
    ),
    Mutation(
        "take-what-stands-there-for-equal",
        RESTORED_STREAMS,
        "entry.topic == line.stored.topic and entry.state == line.stored.state",
        "entry.topic == line.stored.topic",
        (f"{EXPORT}::TestALineThatCannotBeRestored::test_has_another_content_than_the_log",),
    ),
    Mutation(
        "import-from-the-middle",
        RESTORED_STREAMS,
        "        if version != known.version + 1:\n",
        "        if version < known.version + 1:\n",
        (f"{EXPORT}::TestALineThatCannotBeRestored::test_is_of_an_aggregate_whose_beginning_is_missing",),
    ),
    Mutation(
        "import-no-keys",
        RESTORING,
        "        if message.idempotency_key is not None\n",
        "        if message.idempotency_key is not None and False\n",
        (f"{EXPORT}::test_history_is_not_delivered_and_what_is_said_after_it_is",),
    ),
    Mutation(
        "import-no-gates",
        RESTORING,
        "if (change := gate_change(gate, events)) is not None]",
        "if (change := gate_change(gate, [])) is not None]",
        (f"{EXPORT}::test_the_gates_are_as_their_events_tell",),
    ),
    Mutation(
        "record-while-importing",
        "application/gates.py",
        "if self._closed or self._held:",
        "if self._closed:",
        (f"{EXPORT}::TestALogWhoseCircuitHasOpened::test_is_restored_by_a_service_that_watches_its_gates",),
    ),
    Mutation(
        "go-on-from-another-chain",
        "application/reading.py",
        "if seen is not None and seen != chain:",
        "if seen is not None and not chain:",
        ("tests/test_follow_gap.py::TestFollowingFromAKnownChain::test_is_told_that_another_event_stands_there",),
        hangs=True,
    ),
    Mutation(
        "step-without-coordination",
        "projections/steps.py",
        "            dialogue.measures.add(direction, position, message.sent_at)\n",
        "            dialogue.measures.balance.add(direction, message.sent_at)\n",
        ("tests/test_steps.py::test_every_step_has_the_figures_of_a_query_as_of_it",),
    ),
    Mutation(
        "end-the-element-of-a-report",
        "interface/report/page.py",
        '.replace("<", "\\\\u003c")',
        "",
        (HOSTILE,),
    ),
    Mutation(
        "write-what-was-said-as-html",
        "interface/report/page.js",
        "made.append(text.slice(after));",
        "made.innerHTML += text.slice(after);",
        (HOSTILE,),
    ),
)
