"""Signing in through sipgate, and out."""

from flask import Blueprint, flash, redirect, render_template, request, url_for
from flask.typing import ResponseReturnValue
from flask_babel import gettext as _

from webapp import members, oauth, words
from webapp.members import public
from webapp.models import Member
from webapp.oauth import SignInFailed, SignInProblem

blueprint = Blueprint("auth", __name__)


@blueprint.get("/login")
@public
def login() -> ResponseReturnValue:
    """Always starts a new sign-in."""
    next_path = members.safe_next(request.args.get("next"))
    return redirect(oauth.begin_sign_in(members.browser_id(), next_path))


@blueprint.get("/auth/callback")
@public
def callback() -> ResponseReturnValue:
    try:
        grant, next_path = oauth.finish_sign_in(members.browser_id(), request.args)
        members.sign_in(grant)
    except SignInFailed as failed:
        return _sign_in_trouble(failed)
    return redirect(next_path)


@blueprint.post("/logout")
def logout(member: Member) -> ResponseReturnValue:
    members.sign_out()
    flash(_("You are signed out."), "success")
    return redirect(url_for("messages.compose"), 303)


def _sign_in_trouble(failed: SignInFailed) -> ResponseReturnValue:
    """A kind page with a way on. A reloaded callback may find its browser signed in."""
    actions = [(_("Sign in again"), url_for("auth.login"))]
    if failed.problem == SignInProblem.NOT_ADMITTED:
        title = _("Your account may not use this app yet")
        sentences = [
            _(
                "Your sipgate account has the number %(account)s. The operator can let it in by "
                "adding this number to the setting SIPGATE_ACCOUNTS.",
                account=failed.detail,
            )
        ]
        return render_template(
            "problem.html", title=title, sentences=sentences, actions=actions, kept_text=None
        ), 403
    title = _("You are not signed in")
    sentences = [str(words.SIGN_IN_PROBLEMS[failed.problem])]
    if members.current_member() is not None:
        title = _("You are already signed in")
        actions = [(_("Go on"), url_for("messages.compose"))]
    return render_template(
        "problem.html", title=title, sentences=sentences, actions=actions, kept_text=None
    ), 400
