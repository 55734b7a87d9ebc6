"""The member's Web SMS extensions."""

from flask import Blueprint, render_template
from flask.typing import ResponseReturnValue

from webapp.account import cache
from webapp.account.cache import Trouble
from webapp.database.models import Member
from webapp.i18n import sentences
from webapp.web import guard

blueprint = Blueprint("extensions", __name__)


@blueprint.get("/extensions")
def index(member: Member) -> ResponseReturnValue:
    known = cache.extensions(member, guard.credentials())
    note = sentences.EXTENSION_TROUBLES.get(known.trouble)
    return render_template(
        "senders_extensions.html",
        extensions=known.items,
        note=str(note or ""),
        is_away=known.trouble == Trouble.AWAY,
    )
