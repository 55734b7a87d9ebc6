"""Telling of alerts, each once by each outlet, and at most once in a quarter of an hour.

An outlet's turn is taken in the database before anything leaves: `next_at` moves on by 15 minutes.
So of several processes one tells, and if it is killed before it has noted that it did, another
tells again after that time. An alert may come twice then, and is never lost: mail knows no
"exactly once". An outlet that fails is tried again after growing pauses, for as long as it takes.
"""

import logging
from collections import Counter, defaultdict
from collections.abc import Collection, Mapping, Sequence
from datetime import datetime, timedelta

import sqlalchemy as sa

from webapp.alerts import episodes, outlets
from webapp.alerts.outlets import OutletFailed
from webapp.alerts.troubles import Key, Trouble
from webapp.config import settings
from webapp.database import db, end_read, insert_missing, rows_changed, transaction
from webapp.database.models import Alert, AlertOutlet
from webapp.i18n import alerts as words
from webapp.i18n.alerts import Item
from webapp.rules.alerts import AlertKind, Outlet, OutletProblem
from webapp.rules.times import now
from webapp.telemetry import metrics

log = logging.getLogger(__name__)

COLLECTED_FOR = timedelta(minutes=15)
PAUSES = tuple(timedelta(minutes=minutes) for minutes in (1, 2, 5, 15, 30, 60))
"""After the first failure, the second, …; from then on the last."""
TOLD_AT = {Outlet.MAIL: Alert.mailed_at, Outlet.WEBHOOK: Alert.posted_at}


def look_and_tell(*, worker_is_silent: bool | None) -> None:
    """Find what has begun and what is over, and tell what nobody was told of yet. No transaction is
    open while a mail is sent."""
    active = outlets.active()
    _keep_outlets(active)
    present = episodes.update(worker_is_silent=worker_is_silent)
    for outlet in active:
        _tell(outlet, present)


def states() -> list[AlertOutlet]:
    """How the outlets fare that are set up; one that was never used is not among them."""
    query = sa.select(AlertOutlet).where(AlertOutlet.name.in_(outlets.active()))
    return list(db.session.scalars(query.order_by(AlertOutlet.name)))


def untold(outlet: Outlet) -> Sequence[Alert]:
    """What it has not told of yet."""
    query = sa.select(Alert).where(TOLD_AT[outlet].is_(None)).order_by(Alert.id)
    return db.session.scalars(query).all()


def _keep_outlets(active: Collection[Outlet]) -> None:
    """Have a row for each outlet that is set up. A new one does not tell of what is over."""
    known = set(db.session.scalars(sa.select(AlertOutlet.name)))
    if known == set(active):
        return
    with transaction() as session:
        for outlet in set(active) - known:
            over = sa.update(Alert).where(Alert.ended_at.is_not(None), TOLD_AT[outlet].is_(None))
            rows_changed(session, over.values({TOLD_AT[outlet]: now()}))
            insert_missing(session, [AlertOutlet(name=outlet)], ("name",))
        session.execute(sa.delete(AlertOutlet).where(AlertOutlet.name.not_in(active)))


def _tell(outlet: Outlet, present: Mapping[Key, Trouble]) -> None:
    alerts = untold(outlet)
    if not alerts or not _take_turn(outlet):
        return
    items = items_of(alerts, present)
    end_read()
    try:
        problem = outlets.send(
            outlet, words.subject(items), words.body(items, _link), _link(items[0])
        )
    except OutletFailed as failed:
        _note_failure(outlet, failed)
    else:
        _note_told(outlet, alerts[-1].id, problem)


def _take_turn(outlet: Outlet) -> bool:
    """Whether it is this outlet's time, and ours to use it. A time that is too far away was written
    when the clock was ahead."""
    at = now()
    is_due = sa.or_(AlertOutlet.next_at <= at, AlertOutlet.next_at > at + PAUSES[-1])
    mine = sa.update(AlertOutlet).where(AlertOutlet.name == outlet, is_due)
    query = sa.select(AlertOutlet.name).where(AlertOutlet.name == outlet, is_due)
    if db.session.scalar(query) is None:
        return False
    with transaction() as session:
        return rows_changed(session, mine.values(next_at=at + COLLECTED_FOR)) == 1


def _note_told(outlet: Outlet, last_id: int, problem: OutletProblem | None) -> None:
    """All up to this one; what has begun since has a higher id. `problem`: not all of its addresses
    took it."""
    at = now()
    with transaction() as session:
        told = sa.update(Alert).where(Alert.id <= last_id, TOLD_AT[outlet].is_(None))
        count = rows_changed(session, told.values({TOLD_AT[outlet]: at}))
        well = {"told_at": at, "failures": 0, "problem": problem or ""}
        rows_changed(session, _of(outlet).values(well))
    log.info("%d alerts were told by %s", count, outlet)
    metrics.count_alert(outlet, "told")


def _note_failure(outlet: Outlet, failed: OutletFailed) -> None:
    """Pause, longer with each failure; at least a quarter of an hour if it may have arrived."""
    state = db.session.get_one(AlertOutlet, outlet, populate_existing=True)
    pause = PAUSES[min(state.failures, len(PAUSES) - 1)]
    if failed.may_have_arrived:
        pause = max(pause, COLLECTED_FOR)
    badly = {"failures": state.failures + 1, "problem": failed.problem}
    with transaction() as session:
        rows_changed(session, _of(outlet).values(next_at=now() + pause, **badly))
    log.warning("alerts could not be told by %s: %s", outlet, failed.problem)
    metrics.count_alert(outlet, "failed")


def _of(outlet: Outlet) -> sa.Update:
    return sa.update(AlertOutlet).where(AlertOutlet.name == outlet)


def items_of(alerts: Collection[Alert], present: Mapping[Key, Trouble]) -> list[Item]:
    """What is to be told, one for each kind, with the counts of now where it lasts."""
    by_kind: dict[AlertKind, list[Alert]] = defaultdict(list)
    for alert in alerts:
        by_kind[AlertKind(alert.kind)].append(alert)
    return [_item(kind, by_kind[kind], present) for kind in AlertKind if kind in by_kind]


def _item(kind: AlertKind, alerts: list[Alert], present: Mapping[Key, Trouble]) -> Item:
    things = {alert.about: alert for alert in alerts}
    counts = Counter[str]()
    for about, alert in things.items():
        lasting = present.get((kind, about)) if alert.ended_at is None else None
        counts[about] = lasting.count if lasting else alert.count
    return Item(
        kind=kind,
        things=len(things),
        count=counts.total(),
        only=next(iter(things)) if len(things) == 1 else "",
        is_over=all(alert.ended_at is not None for alert in things.values()),
    )


def _link(item: Item) -> str:
    """The page that says more."""
    if item.kind in (AlertKind.HOLD, AlertKind.WORKER):
        return f"{settings.public_url}/operator"
    if item.kind == AlertKind.BATCH and item.only:
        return f"{settings.public_url}/batches/{item.only}"
    return f"{settings.public_url}/messages?tab=attention"


def delete_old(older_than: datetime) -> None:
    """Delete what was over before that time."""
    with transaction() as session:
        session.execute(sa.delete(Alert).where(Alert.ended_at < older_than))
