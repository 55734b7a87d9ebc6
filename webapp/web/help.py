"""Pages for everybody: help, about, and the choice of language."""

from flask import Blueprint, redirect, render_template, request
from flask.typing import ResponseReturnValue

from webapp.config import VERSION, settings
from webapp.i18n.formats import LOCALES, keep_locale
from webapp.rules.text import counter_table
from webapp.web import guard
from webapp.web.guard import public

blueprint = Blueprint("help", __name__)


@blueprint.get("/help")
@public
def help_page() -> ResponseReturnValue:
    """What a segment is, what unknown means, and the other questions people ask."""
    return render_template("help.html", counter_table=counter_table(), settings=settings)


@blueprint.get("/about")
@public
def about() -> ResponseReturnValue:
    """Version, and what is stored for how long."""
    return render_template("about.html", version=VERSION, settings=settings)


@blueprint.post("/language")
@public
def language() -> ResponseReturnValue:
    """Keep the language chosen in the menu."""
    chosen = request.form.get("locale", "")
    if chosen in LOCALES:
        keep_locale(chosen)
    return redirect(guard.safe_next(request.form.get("next")), 303)
