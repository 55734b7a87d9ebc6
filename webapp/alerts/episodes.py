"""When each trouble began and ended. One that comes back is a new episode, and told again.

Any number of processes may look at the same time: whoever changes something has the table alone,
and looks again before.
"""

import logging
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import sqlalchemy as sa
from sqlalchemy.orm import Session

from webapp.alerts import troubles
from webapp.alerts.troubles import Key, Trouble
from webapp.database import db, insert_missing, locks, rows_changed, transaction
from webapp.database.models import Alert
from webapp.rules.alerts import AlertKind
from webapp.rules.times import now

log = logging.getLogger(__name__)


CHUNK = 1000
"""A statement takes only so many values."""


@dataclass(frozen=True, slots=True)
class Changes:
    begun: Mapping[Key, Trouble]
    ended: Sequence[int]
    """The ids of the episodes."""

    def __bool__(self) -> bool:
        return bool(self.begun or self.ended)


def update(*, worker_is_silent: bool | None) -> dict[Key, Trouble]:
    """Write down what has begun and what is over; returns what is wrong now."""
    present, changes = _look(db.session, worker_is_silent)
    if not changes:
        return present
    with transaction() as session:
        locks.have_alone(session, "alerts")
        present, changes = _look(session, worker_is_silent)
        for first in range(0, len(changes.ended), CHUNK):
            over = changes.ended[first : first + CHUNK]
            ending = sa.update(Alert).where(Alert.id.in_(over), Alert.ended_at.is_(None))
            rows_changed(session, ending.values(ended_at=now()))
        if changes.begun:
            begun = [_next(session, key, trouble) for key, trouble in changes.begun.items()]
            insert_missing(session, begun, ("kind", "about", "episode"))
    for kind, about in changes.begun:
        log.warning("alert: %s %s", kind, about)
    return present


def _look(session: Session, worker_is_silent: bool | None) -> tuple[dict[Key, Trouble], Changes]:
    present = troubles.present(session, worker_is_silent=worker_is_silent)
    query = sa.select(Alert.id, Alert.kind, Alert.about, Alert.mark)
    open_ = session.execute(query.where(Alert.ended_at.is_(None))).all()
    if worker_is_silent is None:
        open_ = [alert for alert in open_ if alert.kind != AlertKind.WORKER]
    return present, _compare(present, open_)


def _compare(
    present: Mapping[Key, Trouble], open_: Iterable[sa.Row[int, str, str, str]]
) -> Changes:
    """What has begun and what is over, if these episodes were open."""
    lasting, ended = set(), []
    for alert in open_:
        key = AlertKind(alert.kind), alert.about
        trouble = present.get(key)
        if trouble and (not alert.mark or not trouble.mark or alert.mark == trouble.mark):
            lasting.add(key)
        else:
            ended.append(alert.id)
    return Changes({key: one for key, one in present.items() if key not in lasting}, ended)


def _next(session: Session, key: Key, trouble: Trouble) -> Alert:
    kind, about = key
    last = sa.select(sa.func.max(Alert.episode)).where(Alert.kind == kind, Alert.about == about)
    episode = (session.scalar(last) or 0) + 1
    return Alert(kind=kind, about=about, episode=episode, mark=trouble.mark, count=trouble.count)
