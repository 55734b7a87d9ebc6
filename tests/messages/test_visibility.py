"""Who may see, manage or settle what: the one module that decides it."""

import re
from pathlib import Path

import pytest

from tests.conftest import MakeApp
from tests.test_architecture import TEMPLATES, name_of, of
from webapp.config import PROJECT
from webapp.database.models import Batch, Member, Message
from webapp.messages import visibility


def member(id_: int, *, account: str = "1234567", is_admin: bool = False) -> Member:
    made = Member(account_id=account, sub=f"w{id_}", name="", is_admin=is_admin)
    made.id = id_
    return made


OWNER = member(1)
COLLEAGUE = member(2)
ADMIN = member(3, is_admin=True)
STRANGER = member(4, account="7654321")
FOREIGN_ADMIN = member(5, account="7654321", is_admin=True)


@pytest.mark.parametrize(
    ("setting", "reader", "owns", "sees", "manages"),
    [
        ("own", OWNER, True, True, True),
        ("own", COLLEAGUE, False, False, False),
        ("own", ADMIN, False, True, True),
        ("own", STRANGER, False, False, False),
        ("own", FOREIGN_ADMIN, False, False, False),
        ("team", OWNER, True, True, True),
        ("team", COLLEAGUE, False, True, False),
        ("team", ADMIN, False, True, True),
        ("team", STRANGER, False, False, False),
        ("team", FOREIGN_ADMIN, False, False, False),
    ],
)
def test_who_owns_sees_and_manages_a_batch(
    make_app: MakeApp, setting: str, reader: Member, owns: bool, sees: bool, manages: bool
) -> None:
    batch = Batch(member_id=OWNER.id, account_id=OWNER.account_id)
    with make_app(HISTORY_VISIBILITY=setting).app_context():
        assert visibility.owns(reader, batch) == owns
        assert visibility.may_see(reader, batch) == sees
        assert visibility.may_manage(reader, batch) == manages


@pytest.mark.parametrize("setting", ["own", "team"])
@pytest.mark.parametrize("reader", [OWNER, ADMIN], ids=["member", "admin"])
def test_the_conditions_on_messages_say_the_same(
    make_app: MakeApp, setting: str, reader: Member
) -> None:
    with make_app(HISTORY_VISIBILITY=setting).app_context():
        sees, manages = visibility.visible_messages(reader), visibility.managed_messages(reader)
    of_account = str(Message.account_id == reader.account_id)
    own = str(Message.member_id == reader.id)
    assert str(sees) == (of_account if reader.is_admin or setting == "team" else own)
    assert str(manages) == (of_account if reader.is_admin else own)


IS_OWN = re.compile(r"\b(?:message|batch|found|row|one)\.member_id\s*[!=]=")
ADMINS_OWN_PAGES = ("web.operator", "web.status", "base.html")


def pages() -> list[tuple[str, Path]]:
    templates = [(path.name, path) for path in sorted(TEMPLATES.rglob("*.html"))]
    return [(name_of(path), path) for path in of("web")] + templates


@pytest.mark.parametrize(("name", "path"), pages(), ids=[name for name, _ in pages()])
def test_pages_hold_no_rule_of_their_own(name: str, path: Path) -> None:
    source = path.read_text()
    found = IS_OWN.search(source)
    if name not in ADMINS_OWN_PAGES:
        found = found or re.search(r"\bis_admin\b", source)
    assert not found, (
        f"{path.relative_to(PROJECT)}: {found and found[0]}: ask webapp/messages/visibility.py"
    )
