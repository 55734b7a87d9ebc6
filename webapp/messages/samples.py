"""A past for the demo: some weeks of messages by two people, for the list and the overview."""

import random
from datetime import datetime, timedelta

import sqlalchemy as sa
from sqlalchemy.orm import Session

from webapp.database import transaction
from webapp.database.models import Member, Message, MessageTemplate
from webapp.messages import overview, transitions
from webapp.rules.outcomes import Actor, Outcome, Reason, first_outcome

ACCOUNT = "1234567"
WEEKS = 12
WEEKEND = (5, 6)
TEXTS = {
    "Appointment": "A reminder of your appointment tomorrow at 10:30. Call us if you cannot come.",
    "Glasses ready": "Your glasses are ready. You can pick them up until 18:00.",
    "": "Thanks for calling. We will get back to you today.",
}
FATES = {
    (Outcome.ACCEPTED, ""): 93,
    (Outcome.REFUSED, Reason.REJECTED): 3,
    (Outcome.REFUSED, Reason.BALANCE): 1,
    (Outcome.NOT_SENT, Reason.UNREACHABLE): 1,
    (Outcome.CANCELLED, ""): 2,
}
"""What became of them, and how often of a hundred."""


class NotEmpty(Exception):
    """Somebody uses this database."""


def fill() -> int:
    """Make the messages; returns how many. Raises `NotEmpty` for a database with any member."""
    dice = random.Random(2026)  # noqa: S311 (the same past every time)
    with transaction() as session:
        if session.scalar(sa.select(sa.exists().where(Member.id.is_not(None)))):
            raise NotEmpty
        people = [
            Member(account_id=ACCOUNT, sub="w0", name="Anna Sommer", is_admin=True),
            Member(account_id=ACCOUNT, sub="w1", name="Ben Wagner"),
        ]
        session.add_all(people)
        session.flush()
        templates = _templates(session, people[0])
        made = [
            _message(moment, dice, people, templates)
            for days_ago in range(1, 7 * WEEKS)
            for moment in _moments(days_ago, dice)
        ]
        session.add_all(made)
        session.flush()
        _settle(session, made, dice)
    overview.count_ended_days()
    return len(made)


def _templates(session: Session, owner: Member) -> dict[str, str]:
    """The ids of the message templates, by name."""
    made = [
        MessageTemplate(account_id=ACCOUNT, name=name, text=text, changed_by_id=owner.id)
        for name, text in TEXTS.items()
        if name
    ]
    session.add_all(made)
    session.flush()
    return {one.name: one.id for one in made}


def _moments(days_ago: int, dice: random.Random) -> list[datetime]:
    """When messages were sent on that day: in office hours, few at weekends."""
    day = overview.today() - timedelta(days=days_ago)
    count = dice.randint(0, 2) if day.weekday() in WEEKEND else dice.randint(4, 16)
    begins, _ = overview.bounds_of(day)
    return [begins + timedelta(minutes=dice.randint(8 * 60, 18 * 60)) for _ in range(count)]


def _message(
    moment: datetime, dice: random.Random, people: list[Member], templates: dict[str, str]
) -> Message:
    name = dice.choice(list(TEXTS))
    writer = dice.choice(people)
    return Message(
        member_id=writer.id,
        account_id=ACCOUNT,
        extension_id=dice.choice(("s0", "s1")) if writer.is_admin else "s2",
        recipient=f"+4917139200{dice.randint(60, 89)}",
        text=TEXTS[name],
        segment_count=1,
        outcome=first_outcome(Outcome.SENDING),
        template_id=templates.get(name),
        created_at=moment,
    )


def _settle(session: Session, messages: list[Message], dice: random.Random) -> None:
    """Let each end in one of the ways; somebody has seen to what did not go."""
    fates = dice.choices(list(FATES), list(FATES.values()), k=len(messages))
    for outcome, reason in FATES:
        its = zip(messages, fates, strict=True)
        ids = [message.id for message, fate in its if fate == (outcome, reason)]
        done_at = None if outcome == Outcome.ACCEPTED else Message.created_at
        change = transitions.change_to(outcome, Actor.CLAIMANT).where(Message.id.in_(ids))
        values = {"reason": reason, "settled_at": Message.created_at, "done_at": done_at}
        session.execute(change.values(values), execution_options={"synchronize_session": False})
