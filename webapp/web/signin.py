"""Signing in through sipgate, and out; one's own sessions."""

from flask import Blueprint, abort, flash, redirect, render_template, request, url_for
from flask.typing import ResponseReturnValue
from flask_babel import gettext as _

from webapp.database.models import Member
from webapp.i18n import sentences as words
from webapp.jobs import tasks
from webapp.messages import changes
from webapp.rules.outcomes import Reason
from webapp.signin import flow, tokens
from webapp.signin import sessions as members
from webapp.signin.flow import SignInFailed, SignInProblem
from webapp.sipgate import login as login_server
from webapp.telemetry import logs
from webapp.web import guard, limits
from webapp.web.guard import public

blueprint = Blueprint("signin", __name__)

HAND_OVER, PAUSE = "hand_over", "pause"


def _is_visit() -> bool:
    """Whether a person opens this address, by the browser's own word: no picture or frame of
    another site may start a sign-in. An older browser says nothing, and goes on."""
    mode = request.headers.get("Sec-Fetch-Mode", "navigate")
    target = request.headers.get("Sec-Fetch-Dest", "document")
    return (mode, target) == ("navigate", "document")


@blueprint.get("/login")
@public
def login() -> ResponseReturnValue:
    """Always starts a new sign-in; `purpose` may name what needs further permissions."""
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
    tasks.wake_reading(member.id)
    return redirect(next_path)


@blueprint.get("/logout")
def ask_logout(member: Member) -> ResponseReturnValue:
    """While messages wait: what should become of them."""
    return render_template("logout.html", waiting=changes.waiting_count(member.id))


@blueprint.post("/logout")
def logout(member: Member) -> ResponseReturnValue:
    """The session ends at once. What waits is handed over first, or paused."""
    choice = request.form.get("waiting", HAND_OVER)
    if choice not in (HAND_OVER, PAUSE):
        abort(422)
    token_set_id = guard.end_session()
    if token_set_id is not None:
        _leave(member, token_set_id, choice)
    flash(_("You are signed out."), "success")
    return _to_welcome()


@blueprint.get("/sessions")
def sessions(member: Member) -> ResponseReturnValue:
    found = members.sessions_of(member)
    return render_template(
        "sessions.html", sessions=[(one, guard.is_this_browser(one)) for one in found]
    )


@blueprint.post("/sessions/<id>/end")
def end_session(id: str, member: Member) -> ResponseReturnValue:
    guard.end_other_session(member, id)
    flash(_("That sign-in has ended."), "success")
    return redirect(url_for("signin.sessions"), 303)


@blueprint.post("/logout/everywhere")
def end_all_sessions(member: Member) -> ResponseReturnValue:
    """Everywhere, as after a lost phone. What waits is paused: who has the phone sends nothing."""
    changes.pause_waiting_of(member.id, Reason.SIGNED_OUT)
    guard.end_session()
    members.end_all_sessions(member)
    flash(_("All your sign-ins have ended."), "success")
    return _to_welcome()


def _to_welcome() -> ResponseReturnValue:
    """After a sign-out: the browser forgets what our pages kept in it, such as drafts."""
    answer = redirect(url_for("compose.compose"), 303)
    # No "cookies": it would take the language, and the cookies of a domain's other hosts.
    answer.headers["Clear-Site-Data"] = '"storage"'
    return answer


def _leave(member: Member, token_set_id: int, choice: str) -> None:
    """End the token set now, or once what it was needed for has gone."""
    if choice == HAND_OVER and changes.waiting_count(member.id):
        tokens.defer_logout(token_set_id)
        changes.hand_over_now(member.id)
        tasks.wake_sweep()
        return
    refresh_token = tokens.revoke_locally(token_set_id)
    if choice == PAUSE:
        changes.pause_waiting_of(member.id, Reason.SIGNED_OUT)
    login_server.revoke(refresh_token)


def _sign_in_trouble(failed: SignInFailed) -> ResponseReturnValue:
    """A kind page with a way on. A reloaded callback may find its browser signed in."""
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
            "problem.html", title=title, sentences=sentences, actions=actions, kept_text=None
        ), 403
    title = _("You are not signed in")
    sentences = [str(words.SIGN_IN_PROBLEMS[failed.problem])]
    if guard.current_member() is not None:
        title = _("You are already signed in")
        actions = [(_("Go on"), url_for("compose.compose"))]
        if failed.problem == SignInProblem.DECLINED:
            sentences = [_("You did not allow it at sipgate. You are signed in as before.")]
            actions = [(_("Go on"), failed.detail)]
    return render_template(
        "problem.html", title=title, sentences=sentences, actions=actions, kept_text=None
    ), 400
