"""Errors as pages: what happened, what to do next, and the text that was typed."""

import logging
from collections.abc import Mapping

from flask import (
    Flask,
    Response,
    current_app,
    jsonify,
    redirect,
    render_template,
    request,
    url_for,
)
from flask.typing import ResponseReturnValue
from flask_babel import gettext as _
from flask_wtf.csrf import CSRFError
from werkzeug.datastructures import MultiDict
from werkzeug.exceptions import HTTPException, SecurityError

from webapp.database import DATABASE_ERRORS, idempotency, may_have_committed, rollback
from webapp.database.idempotency import FormSpent, GrownOld, MessageErased, SubmissionId
from webapp.messages import drafts, submit
from webapp.messages.lists.reading import ListRefused
from webapp.messages.submit import Submitted
from webapp.rules.text import TextRefused
from webapp.signin import SignInEnded
from webapp.telemetry import logs
from webapp.web import compose, guard, lists
from webapp.web.forms import filled_text, spent_note
from webapp.web.security import TAKES_A_LIST

log = logging.getLogger(__name__)

WITH_A_TEXT = ("compose.create", "compose.test", "message_templates.insert")
"""These take a form with a text, which is kept if it cannot be taken."""


def setup_errors(app: Flask) -> None:
    app.register_error_handler(HTTPException, http_error)
    app.register_error_handler(CSRFError, csrf_error)
    app.register_error_handler(SignInEnded, lambda _error: sign_in_needed())
    for error in DATABASE_ERRORS:
        app.register_error_handler(error, database_error)
    app.register_error_handler(401, lambda _error: sign_in_needed())


def http_error(error: HTTPException) -> ResponseReturnValue:
    if isinstance(error, SecurityError):
        # No address can be built for a host that is not ours, so this answer has no links.
        return Response("Nothing is served under this host name.\n", 400, mimetype="text/plain")
    status = error.code or 500
    if status == 403 or (status == 404 and request.url_rule is not None):
        logs.refusal(status)
    member = guard.current_member() if status == 413 else None
    if status == 413 and member and request.endpoint == TAKES_A_LIST:
        return lists.refused_page(member, ListRefused("too_large"))
    if status >= 500:
        rollback()  # the page reads, too, which PostgreSQL refuses after an error
    title, sentences = _explanation(status)
    response = _page(title, sentences, status)
    for name in ("Allow", "Retry-After"):
        if name in error.get_response().headers:
            response.headers[name] = error.get_response().headers[name]
    return response


def csrf_error(_error: CSRFError) -> ResponseReturnValue:
    """The form is of an earlier session: nothing was done, and what was typed is still there."""
    logs.refusal("CSRF")
    member = guard.current_member()
    if member is not None and request.endpoint in WITH_A_TEXT:
        submission = idempotency.read_submission(_typed().get("submission_id", ""))
        if submission and submission.member_id == member.id:
            taken = _taken_before(submission)
            if isinstance(taken, MessageErased):
                return compose.kept_form(member, spent_note(taken), 409)
            if taken:
                return redirect(compose.page_of(taken), 303)
        return compose.kept_form(member, spent_note(GrownOld()), 400)
    return _page(_("Try again"), [_("This page was open for too long. Nothing was changed.")], 400)


def sign_in_needed() -> ResponseReturnValue:
    """401: the sign-in has ended. A message's form is kept for the member that its id names."""
    next_path = guard.asked_path() if request.method == "GET" else _list_page() or "/"
    sentences = [_("Your sign-in has ended. Sign in again to continue.")]
    submission = None
    if request.method == "POST" and request.endpoint in WITH_A_TEXT:
        submission = idempotency.read_submission(_typed().get("submission_id", ""))
    taken = _taken_before(submission) if submission else None
    if isinstance(taken, MessageErased):
        sentences = [_("Your sign-in has ended."), spent_note(taken)]
    elif taken:
        next_path = compose.page_of(taken)
        sentences = [
            _(
                "Your sign-in has ended. This message was already submitted: sign in again to "
                "see its status."
            )
        ]
    elif submission is not None and not drafts.fits_draft(request.form):
        return _too_large_to_keep()
    elif submission is not None:
        drafts.keep_draft(submission, _filled(request.form))
        next_path = url_for("compose.compose", draft=submission.id)
        sentences = [
            _("Your sign-in has ended. Nothing was sent. Sign in again: your text is kept.")
        ]
    if guard.wants_json():
        return jsonify(error="sign_in_ended"), 401
    return _page(
        _("Sign in again"),
        sentences,
        401,
        actions=[(_("Sign in again"), url_for("signin.login", next=next_path))],
    )


def _filled(typed: Mapping[str, str]) -> Mapping[str, str]:
    """The form with its text filled in, unless that is too long: drafts keep no placeholders."""
    try:
        return {**typed, "message": filled_text(typed.get("message", ""), typed)}
    except TextRefused:
        return typed


def _list_page() -> str:
    """Where a list's member goes on after signing in again: the list is kept. Empty for others."""
    if str(request.endpoint).partition(".")[0] not in ("lists", "list_check"):
        return ""
    id = (request.view_args or {}).get("id") or _typed().get("list", "")
    page = url_for("list_check.show", id=id) if id else url_for("lists.new")
    return guard.safe_next(page)


def _too_large_to_keep() -> ResponseReturnValue:
    """What was typed stays on the page: it came with this very request."""
    sentences = [
        _("Your sign-in has ended. Nothing was sent."),
        _("Your text is too long to be kept: copy it before you sign in again."),
    ]
    actions = [(_("Sign in again"), url_for("signin.login"))]
    return _page(_("That is too much at once"), sentences, 413, actions)


def database_error(error: Exception) -> ResponseReturnValue:
    may_be_done = request.method == "POST" and may_have_committed()
    rollback()
    log.error("the database failed: %s", type(getattr(error, "orig", error)).__name__)
    title, sentences = _may_be_done() if may_be_done else _explanation(503)
    where = [(_("Messages"), url_for("history.index"))] if may_be_done else None
    try:
        return _page(title, sentences, 503, actions=where)
    except DATABASE_ERRORS:
        guard.ignore_session()
        return _page(title, sentences, 503, actions=where)


def _taken_before(submission: SubmissionId) -> Submitted | MessageErased | None:
    """What this form became, if it was taken: what may have been sent is not called unsent."""
    try:
        return submit.find_submission(submission, idempotency.content_hash(_typed()))
    except MessageErased as erased:
        return erased
    except FormSpent:
        return None


def _page(
    title: str, sentences: list[str], status: int, actions: list[tuple[str, str]] | None = None
) -> Response:
    if guard.wants_json():
        response = jsonify(error=title)
    else:
        page = render_template(
            "errors.html",
            title=title,
            sentences=sentences,
            actions=actions or [(_("New message"), url_for("compose.compose"))],
            kept_text=_typed_text(status),
        )
        response = current_app.make_response(page)
    response.status_code = status
    return response


def _typed_text(status: int) -> str | None:
    """The text of a form that was not taken. Not with a 401, which keeps it for its member instead,
    nor with a 411, whose body must not be read."""
    if request.endpoint not in WITH_A_TEXT or status in (401, 411) or request.method != "POST":
        return None
    return _typed().get("message")


def _typed() -> MultiDict[str, str]:
    """The form; empty if it cannot be read, for example because it is too large."""
    try:
        return request.form
    except HTTPException:
        return MultiDict()


def _may_be_done() -> tuple[str, list[str]]:
    """For a COMMIT without an answer: nobody knows whether the form was taken (F76)."""
    sentence = _("It may have worked all the same: check before you do it again.")
    if request.endpoint in WITH_A_TEXT:
        sentence = _(
            "The message may have been sent all the same: check Messages before you send it again."
        )
    return _("The database did not respond"), [sentence]


def _explanation(status: int) -> tuple[str, list[str]]:
    explanations = {
        400: (
            _("This request could not be understood"),
            [_("Nothing was sent and nothing was changed.")],
        ),
        403: (
            _("This is not allowed"),
            [_("The request came from another site, so nothing was done.")],
        ),
        404: (
            _("Page not found"),
            [_("The link may be wrong, or the page belongs to someone else.")],
        ),
        405: (
            _("This page cannot be used that way"),
            [_("Nothing was sent and nothing was changed.")],
        ),
        413: (
            _("That is too much at once"),
            [_("A form may hold at most 256 KB. Nothing was sent. Go back and shorten the text.")],
        ),
        429: (
            _("Too many attempts"),
            [_("Nothing was sent. Wait a minute, then try again.")],
        ),
        503: (
            _("The database is busy"),
            # A form that comes once more may have been taken before: say no more than we know.
            [_("This request sent nothing. Try again in a moment: no form is sent twice.")],
        ),
    }
    broken = (
        _("Something went wrong"),
        [
            _(
                "The operator's log has the details. Check your messages before you send anything "
                "again."
            )
        ],
    )
    return explanations.get(status, broken if status >= 500 else explanations[400])
