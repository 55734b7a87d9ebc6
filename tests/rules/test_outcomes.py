"""A message's life as one table: which outcome may become which, and by whom."""

import pytest

from webapp.rules.outcomes import (
    BY_WISH,
    FIRST_OUTCOMES,
    MAY_BECOME,
    NEEDS_RESUME,
    WAITING,
    Actor,
    Outcome,
    allowed_from,
    first_outcome,
    require_allowed,
)

FINAL = {
    Outcome.ACCEPTED,
    Outcome.SCHEDULED,
    Outcome.REFUSED,
    Outcome.NOT_SENT,
    Outcome.CANCELLED,
}


def may_become(old: Outcome) -> set[Outcome]:
    return {new for changes in MAY_BECOME[old].values() for new in changes}


def test_every_outcome_has_its_row_and_final_ones_become_nothing() -> None:
    assert set(MAY_BECOME) == set(Outcome)
    assert {old for old in Outcome if not may_become(old)} == FINAL


def test_what_may_have_gone_out_is_never_sent_again() -> None:
    for outcome in (Outcome.UNKNOWN, *FINAL):
        assert may_become(outcome).isdisjoint({Outcome.SENDING, *WAITING, *NEEDS_RESUME})


def test_a_message_is_claimed_only_while_it_waits_and_only_by_the_worker() -> None:
    assert allowed_from(Outcome.SENDING, Actor.WORKER) == WAITING
    for by in set(Actor) - {Actor.WORKER}:
        assert allowed_from(Outcome.SENDING, by) == ()


def test_what_is_being_sent_is_changed_by_its_claimant_or_becomes_unknown() -> None:
    assert set(MAY_BECOME[Outcome.SENDING]) == {Actor.CLAIMANT, Actor.WORKER}
    assert MAY_BECOME[Outcome.SENDING][Actor.WORKER] == {Outcome.UNKNOWN}
    for old in set(Outcome) - {Outcome.SENDING}:
        assert Actor.CLAIMANT not in MAY_BECOME[old]


def test_only_a_click_lets_paused_and_missed_messages_wait_again() -> None:
    for new in WAITING:
        for by in (Actor.WORKER, Actor.HISTORY):
            assert allowed_from(new, by) == ()
        assert set(NEEDS_RESUME) <= set(allowed_from(new, Actor.PERSON))


def test_the_history_only_turns_an_unknown_message_into_a_sent_one() -> None:
    by_history = {old: changes.get(Actor.HISTORY, set()) for old, changes in MAY_BECOME.items()}
    assert by_history.pop(Outcome.UNKNOWN) == {Outcome.ACCEPTED, Outcome.SCHEDULED}
    assert not any(by_history.values())


def test_a_wish_becomes_what_the_claimant_may_write() -> None:
    assert set(BY_WISH.values()) <= set(MAY_BECOME[Outcome.SENDING][Actor.CLAIMANT])


@pytest.mark.parametrize("new", Outcome)
@pytest.mark.parametrize("old", Outcome)
def test_a_change_that_is_not_in_the_table_raises(old: Outcome, new: Outcome) -> None:
    for by in Actor:
        if old in allowed_from(new, by):
            require_allowed(old, new, by)
        else:
            with pytest.raises(ValueError, match="does not become"):
                require_allowed(old, new, by)


@pytest.mark.parametrize("outcome", Outcome)
def test_a_new_message_waits_or_is_being_sent_or_was_stopped_while_it_was_made(
    outcome: Outcome,
) -> None:
    if outcome in (*WAITING, Outcome.SENDING, Outcome.PAUSED, Outcome.CANCELLED):
        assert first_outcome(outcome) == outcome
    else:
        assert outcome not in FIRST_OUTCOMES
        with pytest.raises(ValueError, match="no message begins"):
            first_outcome(outcome)
