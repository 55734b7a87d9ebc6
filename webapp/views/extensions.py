"""The member's Web SMS extensions."""

from flask import Blueprint, render_template
from flask.typing import ResponseReturnValue

from webapp import account, members, words
from webapp.account import Trouble
from webapp.models import Member

blueprint = Blueprint("extensions", __name__)


@blueprint.get("/extensions")
def index(member: Member) -> ResponseReturnValue:
    known = account.extensions(member, members.credentials())
    note = words.EXTENSION_TROUBLES.get(known.trouble)
    return render_template(
        "extensions.html",
        extensions=known.items,
        note=str(note or ""),
        is_away=known.trouble == Trouble.AWAY,
    )
