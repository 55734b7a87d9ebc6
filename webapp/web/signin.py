"""Signing in through sipgate, signing out, and the list of a member's sessions."""

from flask import Blueprint, abort, flash, redirect, render_template, request, url_for
from flask.typing import ResponseReturnValue
from flask_babel import gettext as _

from webapp.database.models import Member
from webapp.i18n.sentences import SIGN_IN_PROBLEMS
from webapp.jobs import tasks
from webapp.messages import changes
from webapp.rules.outcomes import Reason
from webapp.signin import flow, tokens
from webapp.signin.flow import SignInFailed, SignInProblem
from webapp.sipgate.login import revoke
from webapp.telemetry import logs
from webapp.web import guard, limits
from webapp.web.guard import public

blueprint = Blueprint("signin", __name__)

HAND_OVER, PAUSE = "hand_over", "pause"


def _is_visit() -> bool:
    """Whether a person opens this address: no image or frame of another site may start a sign-in.

    By Fetch Metadata; a browser too old to send it is let through.
    """
    mode = request.headers.get("Sec-Fetch-Mode", "navigate")
    target = request.headers.get("Sec-Fetch-Dest", "document")
    return (mode, target) == ("navigate", "document")


@blueprint.get("/login")
@public
def login() -> ResponseReturnValue:
    """Always starts a new sign-in. `purpose` names a page that needs further permissions."""
    if not _is_visit():
        abort(403)
    limits.require_room_to_sign_in()
    next_path = guard.safe_next(request.args.get("next"))
    purpose = request.args.get("purpose", "")
    return redirect(flow.begin_sign_in(guard.browser_id(), next_path, purpose))


@blueprint.get("/auth/callback")
@public
def callback() -> ResponseReturnValue:
    try:
        grant, next_path = flow.finish_sign_in(guard.browser_id(), request.args)
        member = guard.sign_in(grant)
    except SignInFailed as failed:
        return _sign_in_trouble(failed)
    tasks.enqueue_reading(member.id)
    return redirect(next_path)


@blueprint.get("/logout")
def ask_logout(member: Member) -> ResponseReturnValue:
    """Ask what becomes of the messages that wait."""
    return render_template("signin_logout.html", waiting=changes.waiting_count(member.id))


@blueprint.post("/logout")
def logout(member: Member) -> ResponseReturnValue:
    """End the session at once. What waits is handed over first, or paused."""
    choice = request.form.get("waiting", HAND_OVER)
    if choice not in (HAND_OVER, PAUSE):
        abort(422)
    token_set_id = guard.end_session()
    if token_set_id is not None:
        _end_token_set(member, token_set_id, choice)
    flash(_("You are signed out."), "success")
    return _to_welcome()


@blueprint.get("/sessions")
def sessions(member: Member) -> ResponseReturnValue:
    return render_template("signin_sessions.html", sessions=guard.sessions_of(member))


@blueprint.post("/sessions/<id>/end")
def end_session(id: str, member: Member) -> ResponseReturnValue:
    guard.end_other_session(member, id)
    flash(_("That device is signed out."), "success")
    return redirect(url_for("signin.sessions"), 303)


@blueprint.post("/logout/everywhere")
def end_all_sessions(member: Member) -> ResponseReturnValue:
    """As after a lost phone. What waits is paused, so that nothing is sent from there."""
    changes.pause_waiting_of(member.id, Reason.SIGNED_OUT)
    guard.end_all_sessions(member)
    flash(_("You are signed out on all your devices."), "success")
    return _to_welcome()


def _to_welcome() -> ResponseReturnValue:
    """Have the browser forget what our pages keep in it, such as drafts."""
    answer = redirect(url_for("compose.compose"), 303)
    # Not "cookies": that deletes the chosen language, and cookies of the domain's other hosts.
    answer.headers["Clear-Site-Data"] = '"storage"'
    return answer


def _end_token_set(member: Member, token_set_id: int, choice: str) -> None:
    """Revoke the token set now, or once the messages that need it have gone."""
    if choice == HAND_OVER and changes.waiting_count(member.id):
        tokens.defer_logout(token_set_id)
        changes.hand_over_now(member.id)
        tasks.enqueue_sweep()
        return
    refresh_token = tokens.revoke_locally(token_set_id)
    if choice == PAUSE:
        changes.pause_waiting_of(member.id, Reason.SIGNED_OUT)
    revoke(refresh_token)


def _sign_in_trouble(failed: SignInFailed) -> ResponseReturnValue:
    """What went wrong, and a way on. A reloaded callback may find its browser signed in."""
    if failed.problem == SignInProblem.NOT_OURS:
        logs.refusal(failed.problem)
    actions = [(_("Sign in again"), url_for("signin.login"))]
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
            "errors.html", title=title, sentences=sentences, actions=actions, kept_text=None
        ), 403
    title = _("You are not signed in")
    sentences = [str(SIGN_IN_PROBLEMS[failed.problem])]
    if guard.current_member() is not None:
        title = _("You are already signed in")
        actions = [(_("Continue"), url_for("compose.compose"))]
        if failed.problem == SignInProblem.DECLINED:
            sentences = [_("You did not allow it at sipgate. You are signed in as before.")]
            actions = [(_("Continue"), failed.detail)]
    return render_template(
        "errors.html", title=title, sentences=sentences, actions=actions, kept_text=None
    ), 400
