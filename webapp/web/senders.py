"""Own sender numbers: to list, add, prove, choose and remove them."""

from flask import Blueprint, abort, flash, redirect, render_template, request, url_for
from flask.typing import ResponseReturnValue
from flask_babel import gettext
from flask_babel import lazy_gettext as _

from webapp.account import cache, senders
from webapp.account.cache import Trouble
from webapp.account.senders import TEXT_SENDER_ID, SenderContext, Senders, TooManyGuesses
from webapp.database import idempotency, installation
from webapp.database.daily_limit import DailyLimitReached
from webapp.database.idempotency import FormSpent, GrownOld, OnHold
from webapp.database.models import Member
from webapp.i18n import sentences as words
from webapp.i18n.formats import sender
from webapp.rules.outcomes import Outcome, Reason
from webapp.signin import Result, flow
from webapp.sipgate import CallerId, Extension
from webapp.web import guard, limits
from webapp.web.forms import CodeForm, NotReady, SenderForm

blueprint = Blueprint("senders", __name__)

UNCLEAR = _("We cannot tell whether sipgate did this. What counts is what is shown here now.")
CODE_UNCLEAR = _(
    "We cannot tell whether sipgate took the number: it may have sent the code, and charged for "
    "the SMS. Look at the phone and at the list of senders before you add the number again."
)
NEW_CODE_NEEDED = _(
    "Too many wrong codes: this number needs a new one. Go back to the list, remove the number, "
    "and add it again."
)
AWAY = _("sipgate could not be asked for the senders just now.")
REASONS = {
    Reason.REJECTED: _("sipgate did not accept this. Nothing was changed."),
    Reason.BALANCE: _(
        "The account's balance is too low for the SMS with the code. Nothing was sent. "
        "Top up at sipgate, then try again."
    ),
    Reason.NOT_ALLOWED: _(
        "sipgate does not allow this. Nothing was changed. Possible reasons: this app lacks the "
        "permission to change senders; the extension is not yours; Web SMS is not enabled for you."
    ),
    Reason.MISUNDERSTOOD: _(
        "sipgate does not know this sender or this extension. Nothing was changed."
    ),
    Reason.RATE_LIMITED: _(
        "sipgate asks to slow down. Nothing was changed. Try again in a few minutes."
    ),
    Reason.UNREACHABLE: _("sipgate could not be reached. Nothing was changed. Try again."),
    Reason.UNTRUSTED: _(
        "The connection to sipgate could not be trusted, so nothing was changed. "
        "The operator can help."
    ),
    Reason.LOGIN_AWAY: _(
        "sipgate's sign-in service could not be reached, so nothing was changed. Try again."
    ),
    Reason.DATABASE_AWAY: _(
        "This app's database failed for a moment, so nothing was changed. Try again."
    ),
    Reason.SIGN_IN_ENDED: _("Your sign-in had ended, so nothing was changed. Try again."),
}
NOT_NOW = {OnHold: (words.on_hold, 503), DailyLimitReached: (words.daily_limit, 429)}
REFUSED = _("sipgate refused this. Nothing was changed.")


@blueprint.get("/senders")
def index(member: Member) -> ResponseReturnValue:
    """The senders of one extension, and a form to add one."""
    if "sms_id" in request.args:
        return _page(member, _extension_or_404(member, request.args["sms_id"]))
    known = cache.extensions(member, guard.credentials())
    last = known.find(member.last_extension_id or "")
    return _page(member, last or next(iter(known.items), None))


@blueprint.post("/senders")
@limits.counts_as_send
def add(member: Member) -> ResponseReturnValue:
    """Have sipgate send a code to a number, which it charges for."""
    extension = _extension_or_404(member, request.form.get("sms_id", ""))
    submission = idempotency.read_submission(request.form.get("submission_id", ""))
    if submission is None or submission.member_id != member.id:
        note = gettext("This form could not be recognised. Check the number and try once more.")
        return _page(member, extension, note=note, status=422)
    place = _place(member, extension)
    typed = {"sms_id": extension.id, "recipient": request.form.get("number", "")}

    def checked_number() -> str:
        form = SenderForm(request.form)
        form.senders = senders.listed(place)
        if not form.validate():
            raise NotReady(form=form, status=422)
        if form.senders.trouble == Trouble.AWAY:
            # Without the list nobody knows whether the number has had its code before.
            raise NotReady(note=_why_not_now(), status=503)
        return form.e164

    try:
        result = senders.add(
            checked_number,
            place=place,
            submission=submission,
            content_hash=idempotency.content_hash(typed),
        )
    except NotReady as not_ready:
        return _page(member, extension, **not_ready.shown)
    except FormSpent as spent:
        return _page(member, extension, note=_spent_note(spent), status=409)
    except (OnHold, DailyLimitReached) as error:
        note, status = NOT_NOW[type(error)]
        return _page(member, extension, note=note(), status=status)
    if result.outcome == Outcome.ACCEPTED:
        flash(gettext("sipgate took the number and sends it a code by SMS."), "success")
    elif result.outcome == Outcome.UNKNOWN:
        flash(str(CODE_UNCLEAR), "warning")
    else:
        return _refusal(result, member, extension)
    return redirect(url_for("senders.waiting", sms_id=extension.id), 303)


@blueprint.get("/senders/<sms_id>/verification")
def waiting(sms_id: str, member: Member) -> ResponseReturnValue:
    """On to the code of the one number that waits for it, else to the list."""
    found = senders.listed(_place(member, _extension_or_404(member, sms_id)))
    ids = [one.id for one in found.items if not one.is_verified]
    if len(ids) == 1:
        return redirect(url_for("senders.enter_code", sms_id=sms_id, caller_id=ids[0]))
    return redirect(_list_url(sms_id))


@blueprint.get("/senders/<sms_id>/<int:caller_id>/verification")
def enter_code(sms_id: str, caller_id: int, member: Member) -> ResponseReturnValue:
    extension, _found, entry = _sender_or_404(member, sms_id, caller_id)
    if entry.is_verified:
        return redirect(_list_url(sms_id))
    return _code_page(extension, entry, CodeForm(None))


@blueprint.post("/senders/<sms_id>/<int:caller_id>/verification")
def prove(sms_id: str, caller_id: int, member: Member) -> ResponseReturnValue:
    extension, _found, entry = _sender_or_404(member, sms_id, caller_id)
    if entry.is_verified:
        return redirect(_list_url(sms_id), 303)
    form = CodeForm(request.form)
    if not form.validate():
        return _code_page(extension, entry, form, status=422)
    try:
        result = senders.verify(caller_id, form.typed, place=_place(member, extension))
    except TooManyGuesses:
        form.code.errors = [str(NEW_CODE_NEEDED)]
        return _code_page(extension, entry, form, status=422)
    if result.reason == Reason.REJECTED:
        form.code.errors = [gettext("Check the code: sipgate did not accept this one.")]
        return _code_page(extension, entry, form, status=422)
    return _done(result, member, extension, gettext("The number is confirmed."))


@blueprint.post("/senders/<sms_id>/<int:caller_id>/default")
def choose(sms_id: str, caller_id: int, member: Member) -> ResponseReturnValue:
    """Asks first: it is everybody's default."""
    extension, found, entry = _sender_or_404(member, sms_id, caller_id)
    if entry.is_default or not entry.is_verified:
        return redirect(_list_url(sms_id), 303)
    asked = f"default-{entry.id}-not-{found.default.id if found.default else ''}"
    if request.form.get("confirm") != asked:
        return _question(
            gettext("Make this the default sender?"),
            _about_default(extension, entry, found.default),
            extension,
            (asked, gettext("Make it the default")),
        )
    result = senders.make_default(caller_id, place=_place(member, extension))
    return _done(result, member, extension, gettext("Done: people see this sender from now on."))


@blueprint.post("/senders/<sms_id>/<int:caller_id>/remove")
def remove(sms_id: str, caller_id: int, member: Member) -> ResponseReturnValue:
    """Asks first: it is gone for everybody."""
    extension, _found, entry = _sender_or_404(member, sms_id, caller_id)
    if entry.id == TEXT_SENDER_ID:
        abort(404)
    asked = f"remove-{entry.id}-{'default' if entry.is_default else 'other'}"
    if request.form.get("confirm") != asked:
        return _question(
            gettext("Remove this sender number?"),
            _about_removal(extension, entry),
            extension,
            (asked, gettext("Remove it")),
        )
    result = senders.remove(caller_id, place=_place(member, extension))
    return _done(result, member, extension, gettext("The sender number is removed."))


def _spent_note(spent: FormSpent) -> str:
    if isinstance(spent, GrownOld):
        params = gettext("This form had grown old. Nothing was sent. Check the number once more.")
    else:
        params = gettext(
            "This form was already used for another number. Check it and try once more."
        )
    return str(params)


def _why_not_now() -> str:
    """sipgate could not be asked, or on hold must not be."""
    return words.on_hold() if installation.hold_state() else str(REASONS[Reason.UNREACHABLE])


def _about_default(extension: Extension, entry: CallerId, old: CallerId | None) -> list[str]:
    sentences = [
        gettext(
            "People will see “%(new)s” instead of “%(old)s” whenever a text comes from "
            "“%(extension)s”, whoever sends it. This holds for planned messages, too.",
            new=sender(entry.number),
            old=sender(old.number if old else extension.caller_id),
            extension=extension.alias or extension.id,
        )
    ]
    if entry.id == TEXT_SENDER_ID:
        sentences.append(gettext("They will not be able to answer."))
    return sentences


def _about_removal(extension: Extension, entry: CallerId) -> list[str]:
    sentences = [
        gettext(
            "%(number)s will no longer be a sender of “%(extension)s”, for everybody who uses it. "
            "To have it back, it must be confirmed by an SMS anew.",
            number=sender(entry.number),
            extension=extension.alias or extension.id,
        )
    ]
    if entry.is_default:
        sentences.append(
            gettext(
                "It is the default: as far as we know, people will see “sipgate” instead and "
                "cannot answer."
            )
        )
    return sentences


def _place(member: Member, extension: Extension) -> SenderContext:
    return SenderContext(member=member, extension_id=extension.id, credentials=guard.credentials())


def _extension_or_404(member: Member, sms_id: str) -> Extension:
    """One of the member's own; where sipgate could not be asked for them, on to the list."""
    known = cache.extensions(member, guard.credentials())
    found = known.find(sms_id)
    if found is None:
        abort(redirect(_list_url(), 303) if known.trouble == Trouble.AWAY else 404)
    return found


def _sender_or_404(
    member: Member, sms_id: str, caller_id: int
) -> tuple[Extension, Senders, CallerId]:
    extension = _extension_or_404(member, sms_id)
    found = senders.listed(_place(member, extension))
    entry = found.find(caller_id)
    if entry is None:
        # The list says why it is not known; what was removed by the same click is gone there, too.
        is_shown = found.trouble or "confirm" in request.form
        abort(redirect(_list_url(sms_id), 303) if is_shown else 404)
    return extension, found, entry


def _list_url(sms_id: str | None = None) -> str:
    return url_for("senders.index", sms_id=sms_id)


def _done(
    result: Result, member: Member, extension: Extension, sentence: str
) -> ResponseReturnValue:
    if result.outcome == Outcome.ACCEPTED:
        flash(sentence, "success")
    elif result.outcome == Outcome.UNKNOWN:
        flash(str(UNCLEAR), "warning")
    else:
        return _refusal(result, member, extension)
    return redirect(_list_url(extension.id), 303)


def _refusal(result: Result, member: Member, extension: Extension) -> ResponseReturnValue:
    return _page(
        member,
        extension,
        note=str(REASONS.get(result.reason, REFUSED) if result.reason else REFUSED),
        detail=result.detail,
        is_allowed=result.reason != Reason.NOT_ALLOWED,
        status=503 if result.outcome == Outcome.NOT_SENT else 422,
    )


def _page(
    member: Member,
    extension: Extension | None,
    *,
    form: SenderForm | None = None,
    note: str = "",
    detail: str = "",
    is_allowed: bool = True,
    status: int = 200,
) -> ResponseReturnValue:
    known = cache.extensions(member, guard.credentials())
    # An answer that there is no extension is an answer, too.
    found = Senders((), Trouble.AWAY if known.trouble == Trouble.AWAY else Trouble.NONE)
    form = form or SenderForm(request.form or None)
    if extension:
        found = senders.listed(_place(member, extension))
        form.sms_id.data = extension.id
    if not form.errors:  # what was not taken goes on under the id it had
        form.submission_id.data = idempotency.new_submission(member).signed
    if found.trouble == Trouble.AWAY:
        note = note or str(AWAY)
    may_change = senders.may_change(guard.credentials().scope())
    page = render_template(
        "senders.html",
        extensions=known.items,
        extension=extension,
        senders=found.items,
        form=form,
        note=note,
        detail=detail,
        is_known=not found.trouble,
        may_change=may_change,
        further_scopes=_further_scopes()
        if not (may_change and is_allowed) or found.trouble == Trouble.NOT_ALLOWED
        else [],
        sign_in_url=url_for(
            "signin.login",
            next=_list_url(extension.id if extension else None),
            purpose="senders",
        ),
    )
    return page, status


def _further_scopes() -> list[dict[str, str]]:
    return [
        {"scope": scope, "why": words.scope_words(scope)}
        for scope in flow.FURTHER_SCOPES["senders"]
    ]


def _code_page(
    extension: Extension, entry: CallerId, form: CodeForm, status: int = 200
) -> ResponseReturnValue:
    page = render_template("sender_code.html", extension=extension, sender=entry, form=form)
    return page, status


def _question(
    title: str, sentences: list[str], extension: Extension, confirm: tuple[str, str]
) -> ResponseReturnValue:
    page = render_template(
        "sender_question.html",
        title=title,
        sentences=sentences,
        confirm=confirm,
        back_url=_list_url(extension.id),
        kept_text=None,
    )
    return page, 409
