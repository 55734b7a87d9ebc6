"""`make mutations`: remove each guard that keeps messages single and true, and see a test turn red.

Each is removed by an exact replacement of text in a copy of the tree, where the tests named beside
it then run. At least one of them must fail: a guard whose removal nobody notices is not guarded.
First the same tests run on the tree as it is, so that red means something. If a
guard's text is no longer found, this script fails and has to follow the code.
"""

import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

PROJECT = Path(__file__).resolve().parent.parent
COPIED = ("webapp", "templates", "static", "tests", "pyproject.toml")
AT_ONCE = 2
LIMIT_S = 600
TESTS_FAILED = 1
"""pytest's exit code for "ran, and some failed"; others mean that nothing was tested."""

Edit = tuple[str, str, str]
"""A file below `webapp/`, the guard's text, and what stands there without the guard."""


class GuardMoved(Exception):
    """A guard's text is not in its file exactly once."""


@dataclass(frozen=True, slots=True)
class Mutation:
    """A guard, how to remove it, and the tests that must notice."""

    name: str
    edits: tuple[Edit, ...]
    tests: tuple[str, ...]


MUTATIONS = (
    Mutation(
        "what somebody did on purpose is no trouble, until its time has passed",
        (
            (
                "alerts/troubles.py",
                "NEEDS_ATTENTION, unseen, ~on_purpose",
                "NEEDS_ATTENTION, unseen",
            ),
        ),
        ("alerts/test_telling.py::test_what_somebody_did_on_purpose_is_not_told",),
    ),
    Mutation(
        "an outlet's turn is taken before anything leaves",
        (
            (
                "alerts/telling.py",
                "return rows_changed(session, mine.values(next_at=at + COLLECTED_FOR)) == 1",
                "return True",
            ),
        ),
        (
            "alerts/test_telling.py::test_what_comes_within_a_quarter_of_an_hour_is_collected",
            "alerts/test_telling.py::test_of_several_processes_one_tells",
        ),
    ),
    Mutation(
        "a mail that may have arrived is not told again at once",
        (("alerts/telling.py", "if failed.may_have_arrived:", "if False:"),),
        (
            "alerts/test_telling.py::"
            "test_a_mail_that_may_have_arrived_is_not_told_again_within_a_quarter_of_an_hour",
        ),
    ),
    Mutation(
        "no password to a server that cannot prove its name",
        (
            (
                "alerts/outlets.py",
                "connection.starttls(context=ssl.create_default_context())",
                "connection.starttls(context=ssl._create_unverified_context())",
            ),
        ),
        (
            "alerts/test_outlets.py::"
            "test_a_password_is_not_told_to_a_server_that_cannot_prove_its_name",
        ),
    ),
    Mutation(
        "a form's token is unique",
        (
            (
                "messages/submit.py",
                "    used = Submission(\n        id=submission.id,",
                "    used = Submission(\n        id=secrets.token_hex(16),",
            ),
        ),
        ("web/test_faults_pages.py::test_f36_fifty_parallel_posts_of_one_form_are_one_message",),
    ),
    Mutation(
        "a token is bound to its content",
        (
            (
                "database/idempotency.py",
                "(used.content_hash, used.member_id) != (content_hash, submission.member_id)",
                "used.member_id != submission.member_id",
            ),
        ),
        (
            "web/test_faults_pages.py"
            "::test_f39_a_used_form_with_other_content_sends_nothing_and_keeps_the_text[changed0]",
        ),
    ),
    Mutation(
        "a claim is conditional",
        (
            (
                "messages/claims.py",
                "chosen.where(transitions.CAN_CLAIM, ",
                "chosen.where(",
            ),
            (
                "messages/transitions.py",
                "sa.update(table(Message)).where(CAN_CLAIM)",
                "sa.update(table(Message))",
            ),
        ),
        ("messages/test_faults_worker.py::test_f60_a_message_that_is_too_late_is_asked_about",),
    ),
    Mutation(
        "a claim is committed before anything is sent",
        (
            (
                "messages/submit.py",
                "    known = _insert(member, batch, messages, used, credentials)\n",
                "    early = sending.attempt(Claim(messages[0], at), credentials, 9)\n"
                "    known = _insert(member, batch, messages, used, credentials)\n",
            ),
            (
                "messages/submit.py",
                "        sending.deliver(Claim(messages[0], at), known)\n",
                "        sending.record_result(messages[0], early)\n",
            ),
        ),
        (
            "web/test_faults_pages.py"
            "::test_f53_a_full_disk_before_the_claim_sends_nothing_and_keeps_the_text",
        ),
    ),
    Mutation(
        "only a click lets a paused message go on",
        (
            (
                "rules/outcomes.py",
                "        Actor.WORKER: {Outcome.MISSED},",
                "        Actor.WORKER: {Outcome.MISSED, Outcome.SENDING},",
            ),
        ),
        ("messages/test_transitions.py::test_a_function_makes_its_changes_and_no_others[claim]",),
    ),
    Mutation(
        "an interrupted send becomes unknown (made: waiting again)",
        (
            (
                "messages/sweep.py",
                "transitions.change_to(Outcome.UNKNOWN, Actor.WORKER)",
                "sa.update(Message).where(sending).values(outcome=Outcome.QUEUED)",
            ),
        ),
        (
            "web/test_faults_pages.py"
            "::test_a_send_interrupted_81_seconds_ago_is_unknown_when_it_is_read[{page}]",
        ),
    ),
    Mutation(
        "a POST is not repeated",
        (
            (
                "sipgate/transport.py",
                "max_retries=0)",
                "max_retries=__import__('urllib3').Retry(3, allowed_methods=None))",
            ),
        ),
        (
            "messages/test_faults_send.py"
            "::test_f08_a_line_that_ends_after_the_request_leaves_the_outcome_unknown",
        ),
    ),
    Mutation(
        "a redirect is not followed",
        (
            (
                "sipgate/client.py",
                "response = self._transport.send(request, stream=True)",
                "session = requests.Session()\n"
                "                transport.prepare(session, self._transport)\n"
                "                response = session.send(request, stream=True)",
            ),
            ("sipgate/transport.py", '        resp.headers.pop("Location", None)\n', ""),
            ("sipgate/transport.py", "    session.max_redirects = 0\n", ""),
        ),
        ("messages/test_faults_send.py::test_f14_a_redirect_on_the_same_host_is_not_followed",),
    ),
    Mutation(
        "a page is no answer",
        (
            ("sipgate/responses.py", " or self.is_html:", ":"),
            ("sipgate/responses.py", "return is_empty or self._is_called_json", "return True"),
        ),
        (
            "messages/test_faults_send.py::test_f12_a_page_instead_of_an_answer_leaves_the_outcome_unknown",
        ),
    ),
    Mutation(
        "one deadline for the whole answer",
        (
            (
                "sipgate/transport.py",
                "        self._sock.settimeout(self._exchange.remaining_s())\n        count",
                "        count",
            ),
        ),
        (
            "messages/test_faults_send.py::test_f11_a_body_that_drips_is_read_no_longer_than_the_deadline",
        ),
    ),
    Mutation(
        "a wish waits with the row",
        (
            (
                "messages/transitions.py",
                "_change_by_wish(columns) if follows_wish else _change_by_result(columns)",
                "_change_by_result(columns)",
            ),
        ),
        (
            "messages/test_wishes.py"
            "::test_f67_a_planned_message_withdrawn_while_it_is_being_sent_is_never_sent_later",
            "messages/test_wishes.py::test_f67_a_message_for_now_can_be_withdrawn_in_another_tab",
        ),
    ),
    Mutation(
        "a claim has an age",
        (
            (
                "sipgate/transport.py",
                "if not self.request_began and steady_s() > self.begin_by:",
                "if False:",
            ),
        ),
        (
            "processes/test_killed.py"
            "::test_f68_a_worker_frozen_before_its_request_does_not_begin_it_when_it_wakes",
        ),
    ),
    Mutation(
        "one refresh at a time",
        (("signin/tokens.py", "return lease if taken == 1 else None", "return lease"),),
        (
            "signin/test_faults_login.py"
            "::test_f25_eight_threads_that_need_a_refresh_make_one_and_all_go_on[sipgate]",
        ),
    ),
    Mutation(
        "a sign-in's state is used once",
        (
            (
                "signin/flow.py",
                "sa.delete(SignIn)\n            .where(",
                "sa.select(SignIn).where(",
            ),
            ("signin/flow.py", "            .returning(SignIn)\n", ""),
        ),
        ("signin/test_faults_login.py::test_f31_a_callback_twice_at_once_exchanges_its_code_once",),
    ),
    Mutation(
        "hold of a copy",
        (("database/installation.py", "copies.is_copy(row.mark, file)", "False"),),
        (
            "database/test_copies.py::test_f69_an_old_copy_put_back_over_itself_is_on_hold_and_sends_nothing"
            "[write_over]",
        ),
    ),
    Mutation(
        "forget keeps the form's id",
        (
            (
                "jobs/retention.py",
                "sa.update(Submission).where(which).values(erased)",
                "sa.delete(Submission).where(which)",
            ),
        ),
        (
            "web/test_used_forms.py"
            "::test_f71_a_form_whose_message_was_erased_sends_nothing_and_gets_a_new_id[by_forget]",
        ),
    ),
    Mutation(
        "an outcome is not lost with the next claim",
        (
            (
                "messages/sending.py",
                "        opened = _record_alone(message, result)\n"
                "        following = claims.find(next_one)\n"
                "        return Delivered(opened, following is not None, following)\n",
                "        return Delivered()\n",
            ),
        ),
        (
            "messages/test_next_claim.py"
            "::test_an_outcome_is_not_lost_with_the_next_claim[sqlite-False-fail]",
        ),
    ),
    Mutation(
        "the next one's claim may have been committed although its write failed",
        (
            (
                "messages/sending.py",
                "        following = claims.find(next_one)\n",
                "        following = None\n",
            ),
        ),
        (
            "database/test_two_databases.py"
            "::test_f52_a_lost_answer_to_the_commit_of_a_result_and_a_claim_sends_both_once[0]",
        ),
    ),
    Mutation(
        "nothing is claimed on hold, after an outcome",
        (("messages/claims.py", "    if batch.hold_reason:\n", "    if False:\n"),),
        (
            "messages/test_next_claim.py"
            "::test_on_hold_since_the_request_the_outcome_is_written_and_nothing_claimed[sqlite]",
        ),
    ),
    Mutation(
        "an answer that changes the batch claims no other",
        (
            (
                "messages/batches.py",
                "result.reason not in (*STOPS_BATCH, Reason.RATE_LIMITED)",
                "result.reason != Reason.RATE_LIMITED",
            ),
        ),
        (
            "messages/test_next_claim.py"
            "::test_an_answer_that_stops_the_batch_claims_no_other[sqlite-402]",
        ),
    ),
    Mutation(
        "a limit counts in one statement",
        (
            (
                "database/limits.py",
                'counts["count"] < sa.bindparam("limit", type_=sa.Integer)',
                "sa.true()",
            ),
        ),
        ("database/test_limits.py::test_of_many_at_once_no_more_are_let_in",),
    ),
    Mutation(
        "what is somebody else's is not there",
        (
            (
                "messages/visibility.py",
                "    if row.account_id != member.account_id:\n        return False\n"
                "    return owns(member, row) or sees_account(member)\n",
                "    return True\n",
            ),
        ),
        ("web/test_access.py::test_nobody_sees_the_message_of_another[karl]",),
    ),
    Mutation(
        "a spreadsheet's reach is measured before it is read",
        (
            (
                "list_reader.py",
                "        if self.last_row * self.last_column > MAX_CELLS:",
                "        if False:",
            ),
        ),
        ("lists/test_bombs.py::test_a_bomb_is_refused_at_once[far cell]",),
    ),
    Mutation(
        "a row that is hidden in the spreadsheet is marked",
        (
            (
                "list_reader.py",
                "            self.sheet.hidden_rows.append((self.row, self.row))",
                "            pass",
            ),
        ),
        ("lists/test_trap_files.py",),
    ),
    Mutation(
        "two stray quotation marks swallow nobody",
        (("list_reader.py", "    refuse_swallowed(rows, separator)\n", ""),),
        ("lists/test_kinds.py::test_b12_a_stray_quotation_mark_swallows_nobody",),
    ),
    Mutation(
        "a reminder is not claimed after its appointment",
        (
            (
                "messages/claims.py",
                "has_meaning = sa.or_(_messages.not_after.is_(None), _messages.not_after > at)",
                "has_meaning = sa.true()",
            ),
        ),
        ("lists/test_reminders.py::test_after_an_outage_nobody_is_reminded_of_what_is_over",),
    ),
    Mutation(
        "a reminder's request does not begin after its appointment",
        (("messages/sending.py", "if message.not_after is not None:", "if False:"),),
        (
            "lists/test_reminders.py::"
            "test_a_claim_from_before_the_appointment_does_not_begin_after_it",
        ),
    ),
    Mutation(
        "a number that lost digits is not repaired",
        (
            (
                "rules/numbers.py",
                "        if len(others) == exponent >= _E164_MIN_DIGITS - 1:",
                "        if exponent >= _E164_MIN_DIGITS - 1:",
            ),
        ),
        ("rules/test_numbers.py::test_a_number_that_lost_digits_is_somebody_elses",),
    ),
)


def main() -> int:
    """Run everything, print who noticed what, and return 0 if every removal was noticed."""
    started = time.monotonic()
    try:
        with ThreadPoolExecutor(AT_ONCE) as pool:
            sound = pool.submit(_is_sound)
            killers = list(pool.map(_killer_of, MUTATIONS))
    except GuardMoved as moved:
        sys.exit(f"{moved}: let tests/mutations.py follow the code")
    for mutation, killer in zip(MUTATIONS, killers, strict=True):
        sys.stdout.write(f"{'noticed' if killer else 'SURVIVED'}: {mutation.name}\n    {killer}\n")
    count = sum(bool(killer) for killer in killers)
    if not sound.result():
        sys.stdout.write("The tests fail without any removal, so this says nothing.\n")
    sys.stdout.write(f"{count} of {len(MUTATIONS)}, {round(time.monotonic() - started)} seconds\n")
    return 0 if sound.result() and count == len(MUTATIONS) else 1


def _is_sound() -> bool:
    """Whether all the tests pass on the tree as it is."""
    with tempfile.TemporaryDirectory(prefix="team-sms-sound-") as folder:
        _copy_to(Path(folder))
        code, output = _run_tests([test for one in MUTATIONS for test in one.tests], Path(folder))
    if code:
        sys.stdout.write(output)
    return code == 0


def _killer_of(mutation: Mutation) -> str:
    """The first test that notices the removal, with its words, or an empty text."""
    with tempfile.TemporaryDirectory(prefix="team-sms-mutation-") as folder:
        _copy_to(Path(folder))
        for edit in mutation.edits:
            _remove(edit, Path(folder))
        code, output = _run_tests(list(mutation.tests), Path(folder))
    failed = re.search(r"^FAILED tests/(.+)", output, re.MULTILINE)
    if code == TESTS_FAILED and failed:
        return failed[1]
    if code:
        sys.stdout.write(f"--- {mutation.name}: pytest ended with {code}\n{output}\n")
    return ""


def _copy_to(folder: Path) -> None:
    leave_out = shutil.ignore_patterns("__pycache__", "node_modules", "instance")
    for name in COPIED:
        source = PROJECT / name
        if source.is_dir():
            shutil.copytree(source, folder / name, ignore=leave_out)
        else:
            shutil.copy(source, folder / name)


def _remove(edit: Edit, folder: Path) -> None:
    name, guard, without = edit
    path = folder / "webapp" / name
    text = path.read_text(encoding="utf-8")
    if text.count(guard) != 1:
        raise GuardMoved(f"webapp/{name} has this {text.count(guard)} times: {guard!r}")
    path.write_text(text.replace(guard, without), encoding="utf-8")


def _run_tests(tests: list[str], folder: Path) -> tuple[int, str]:
    """pytest's exit code and output; 124 if it took too long."""
    command = [sys.executable, "-m", "pytest", "-q", "--tb=line", "-p", "no:cacheprovider"]
    try:
        done = subprocess.run(
            [*command, *(f"tests/{test}" for test in tests)],
            cwd=folder,
            env={**os.environ, "COLUMNS": "300"},  # room for the words of the failure
            capture_output=True,
            text=True,
            timeout=LIMIT_S,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return 124, "took too long"
    return done.returncode, done.stdout + done.stderr


if __name__ == "__main__":
    sys.exit(main())
