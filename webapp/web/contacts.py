"""sipgate's contacts: a page to search, suggestions for the form, both only the member's own."""

from flask import Blueprint, jsonify, redirect, render_template, request, url_for
from flask.typing import ResponseReturnValue
from flask_babel import lazy_gettext as _

from webapp.account import contacts
from webapp.account.cache import Trouble, cached
from webapp.database.models import Contact, Member
from webapp.web import guard, limits

blueprint = Blueprint("contacts", __name__)

PAGE_SIZE = 50
SUGGESTIONS = 8
MAX_WORDS_CHARACTERS = 100
READ_AGAIN_LIMIT = "6/minute"

TROUBLES = {
    Trouble.AWAY: _("sipgate could not be asked for your contacts just now; these may be old."),
    Trouble.NOT_ALLOWED: _("sipgate does not let you read contacts."),
    Trouble.NOT_GRANTED: _(
        "Contacts are not shown: this app has no permission to read them. An administrator can "
        "add contacts:read to the setting SIPGATE_OPTIONAL_SCOPES; then sign in again."
    ),
    Trouble.ONLY_COLLEAGUES: _(
        "sipgate does not let you read contacts; only your colleagues are shown."
    ),
    Trouble.INCOMPLETE: _(
        "sipgate did not tell this app all of your contacts; some may be missing here."
    ),
    Trouble.CUT: _("This app keeps 20,000 of your contacts; you have more at sipgate."),
}


@blueprint.get("/contacts")
def index(member: Member) -> ResponseReturnValue:
    """The page reads the contacts if they are old; the suggestions take what there is."""
    typed = " ".join(request.args.get("q", "").replace("\x00", "").split())[:MAX_WORDS_CHARACTERS]
    if guard.wants_json():
        found = contacts.find(member, typed, limit=SUGGESTIONS) if typed else []
        return jsonify(contacts=[_as_json(one) for one in found if one.number])
    known = contacts.read(member, guard.credentials())
    found = contacts.find(member, typed, after=request.args.get("after", ""), limit=PAGE_SIZE + 1)
    more = found[PAGE_SIZE - 1].id if len(found) > PAGE_SIZE else None
    return render_template(
        "contacts.html",
        contacts=found[:PAGE_SIZE],
        typed=typed,
        total=contacts.count(member),
        note=str(TROUBLES.get(known.trouble, "")),
        read_at=cached(member, contacts.KIND).fetched_at,
        more_url=url_for("contacts.index", q=typed or None, after=more) if more else None,
    )


@blueprint.post("/contacts/read")
@limits.counts_as_reading(READ_AGAIN_LIMIT)
def read_again(member: Member) -> ResponseReturnValue:
    """For somebody who has just changed a contact at sipgate."""
    contacts.read(member, guard.credentials(), again=True)
    return redirect(url_for("contacts.index"), 303)


def _as_json(contact: Contact) -> dict[str, str | None]:
    return {
        "id": contact.id,
        "name": contact.name,
        "organization": contact.organization,
        "number": contact.number,
    }
