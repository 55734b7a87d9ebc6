"""The member's contacts at sipgate: a page to search them, and suggestions for the form."""

from flask import Blueprint, jsonify, redirect, render_template, request, url_for
from flask.typing import ResponseReturnValue

from webapp.account import contacts
from webapp.account.cache import cached
from webapp.database import db
from webapp.database.models import Contact, Member
from webapp.i18n.sentences import CONTACT_TROUBLES
from webapp.messages import blocked
from webapp.rules.names import first_name
from webapp.web import guard, limits

blueprint = Blueprint("contacts", __name__)

PAGE_SIZE = 50
SUGGESTIONS = 8
MAX_WORDS_CHARACTERS = 100
READ_AGAIN_LIMIT = "6/minute"


@blueprint.get("/contacts")
def index(member: Member) -> ResponseReturnValue:
    """The page reads the contacts again if they are old; suggestions use those in the database."""
    typed = " ".join(request.args.get("q", "").replace("\x00", "").split())[:MAX_WORDS_CHARACTERS]
    if guard.wants_json():
        found = contacts.find(member, typed, limit=SUGGESTIONS) if typed else []
        return jsonify(contacts=[_as_json(contact) for contact in found if contact.number])
    known = contacts.read(member, guard.credentials())
    found = contacts.find(member, typed, after=request.args.get("after", ""), limit=PAGE_SIZE + 1)
    more = found[PAGE_SIZE - 1].id if len(found) > PAGE_SIZE else None
    shown = found[:PAGE_SIZE]
    return render_template(
        "contacts.html",
        contacts=shown,
        blocked=blocked.among(
            db.session, member.account_id, {one.number for one in shown if one.number}
        ),
        typed=typed,
        total=contacts.count(member),
        note=str(CONTACT_TROUBLES.get(known.trouble, "")),
        read_at=cached(member, contacts.KIND).fetched_at,
        more_url=url_for("contacts.index", q=typed or None, after=more) if more else None,
    )


@blueprint.post("/contacts/read")
@limits.counts_as_reading(READ_AGAIN_LIMIT)
def read_again(member: Member) -> ResponseReturnValue:
    """Read them now, for a member who has just changed one at sipgate."""
    contacts.read(member, guard.credentials(), again=True)
    return redirect(url_for("contacts.index"), 303)


def _as_json(contact: Contact) -> dict[str, str | None]:
    return {
        "id": contact.id,
        "name": contact.name,
        "organization": contact.organization,
        "number": contact.number,
        "first_name": first_name(contact.name, contact.number or ""),
    }
