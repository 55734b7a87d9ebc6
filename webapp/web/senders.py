"""Extensions and their senders: list them, add, confirm, choose and remove sender numbers."""

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
from webapp.i18n import sentences
from webapp.i18n.formats import sender
from webapp.rules.outcomes import Outcome, Reason
from webapp.signin import Result, flow
from webapp.sipgate import CallerId, Extension
from webapp.web import guard, limits
from webapp.web.forms import CodeForm, NotReady, SenderForm

blueprint = Blueprint("senders", __name__)
extensions = Blueprint("extensions", __name__)

UNCLEAR = _("We cannot tell whether sipgate did this. What counts is what is shown here now.")
CODE_UNCLEAR = _(
    "We cannot tell whether sipgate accepted the number: it may have sent the code and charged "
    "for the SMS. Check the phone and the list of senders before you add the number again."
)
NEW_CODE_NEEDED = _(
    "Too many wrong codes: this number needs a new one. Go back to the list, remove the number, "
    "and add it again."
)
AWAY = _("The senders could not be fetched from sipgate just now.")
NOT_NOW = {OnHold: (sentences.on_hold, 503), DailyLimitReached: (sentences.daily_limit, 429)}


@extensions.get("/extensions", endpoint="index")
def list_extensions(member: Member) -> ResponseReturnValue:
    known = cache.extensions(member, guard.credentials())
    return render_template(
        "senders_extensions.html",
        extensions=known.items,
        note=str(sentences.EXTENSION_TROUBLES.get(known.trouble) or ""),
        is_away=known.trouble == Trouble.AWAY,
    )


@blueprint.get("/senders")
def index(member: Member) -> ResponseReturnValue:
    """The senders of one extension, and a form to add a number."""
    if "sms_id" in request.args:
        return _page(member, _extension_or_404(member, request.args["sms_id"]))
    known = cache.extensions(member, guard.credentials())
    last = known.find(member.last_extension_id or "")
    return _page(member, last or next(iter(known.items), None))


@blueprint.post("/senders")
@limits.counts_as_send
def add(member: Member) -> ResponseReturnValue:
    """Have sipgate send a code to the number, by an SMS that costs money."""
    extension = _extension_or_404(member, request.form.get("sms_id", ""))
    submission = idempotency.read_submission(request.form.get("submission_id", ""))
    if submission is None or submission.member_id != member.id:
        note = gettext(
            "This page could not be recognised. Nothing was sent. Check the number and try again."
        )
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
    return _answer(
        result,
        member,
        extension,
        done=gettext("sipgate has accepted the number and is sending it a code by SMS."),
        unclear=str(CODE_UNCLEAR),
        next_url=url_for("senders.waiting", sms_id=extension.id),
    )


@blueprint.get("/senders/<sms_id>/verification")
def waiting(sms_id: str, member: Member) -> ResponseReturnValue:
    """Lead to the code of the one number that waits for it, else to the list."""
    found = senders.listed(_place(member, _extension_or_404(member, sms_id)))
    ids = [entry.id for entry in found.items if not entry.is_verified]
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
        form.code.errors = [gettext("sipgate did not accept this code. Check it against the SMS.")]
        return _code_page(extension, entry, form, status=422)
    return _answer(result, member, extension, done=gettext("The number is confirmed."))


@blueprint.post("/senders/<sms_id>/<int:caller_id>/default")
def choose(sms_id: str, caller_id: int, member: Member) -> ResponseReturnValue:
    """Asks first, as it is everybody's default."""
    extension, found, entry = _sender_or_404(member, sms_id, caller_id)
    if entry.is_default or not entry.is_verified:
        return redirect(_list_url(sms_id), 303)
    asked = f"default-{entry.id}-not-{found.default.id if found.default else ''}"
    if request.form.get("confirm") != asked:
        return _question(
            gettext("Make this the default sender?"),
            _about_default(extension, entry, found.default),
            extension,
            (asked, gettext("Make it the default sender")),
        )
    result = senders.make_default(caller_id, place=_place(member, extension))
    done = gettext("Done. Recipients see this sender from now on.")
    return _answer(result, member, extension, done=done)


@blueprint.post("/senders/<sms_id>/<int:caller_id>/remove")
def remove(sms_id: str, caller_id: int, member: Member) -> ResponseReturnValue:
    """Asks first, as it is gone for everybody."""
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
    return _answer(result, member, extension, done=gettext("The sender number is removed."))


def _spent_note(spent: FormSpent) -> str:
    if isinstance(spent, GrownOld):
        note = gettext(
            "This page was open for too long. Nothing was sent. Check the number and try again."
        )
    else:
        note = gettext(
            "This page was already used for another number. Check the number and try again."
        )
    return str(note)


def _why_not_now() -> str:
    """sipgate could not be asked; on hold it must not be."""
    if installation.hold_state():
        return sentences.on_hold()
    return sentences.sender_reason(Reason.UNREACHABLE)


def _about_default(extension: Extension, entry: CallerId, old: CallerId | None) -> list[str]:
    lines = [
        gettext(
            "Recipients of texts from “%(extension)s” will see “%(new)s” instead of “%(old)s”, "
            "no matter who sends them. This includes messages that are already planned.",
            new=sender(entry.number),
            old=sender(old.number if old else extension.caller_id),
            extension=extension.alias or extension.id,
        )
    ]
    if entry.id == TEXT_SENDER_ID:
        lines.append(gettext("They will not be able to reply."))
    return lines


def _about_removal(extension: Extension, entry: CallerId) -> list[str]:
    lines = [
        gettext(
            "%(number)s will no longer be a sender of “%(extension)s”, for everybody who uses "
            "it. To use it again, you will have to confirm it with a new SMS.",
            number=sender(entry.number),
            extension=extension.alias or extension.id,
        )
    ]
    if entry.is_default:
        lines.append(
            gettext(
                "It is the default sender: as far as we know, recipients will see “sipgate” "
                "instead and cannot reply."
            )
        )
    return lines


def _place(member: Member, extension: Extension) -> SenderContext:
    return SenderContext(member=member, extension_id=extension.id, credentials=guard.credentials())


def _extension_or_404(member: Member, sms_id: str) -> Extension:
    """One of the member's own; if sipgate could not be asked for them, leads to the list."""
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
        # The list says why it is not known, and shows what the same click removed before.
        is_shown = found.trouble or "confirm" in request.form
        abort(redirect(_list_url(sms_id), 303) if is_shown else 404)
    return extension, found, entry


def _list_url(sms_id: str | None = None) -> str:
    return url_for("senders.index", sms_id=sms_id)


def _answer(
    result: Result,
    member: Member,
    extension: Extension,
    *,
    done: str,
    unclear: str = "",
    next_url: str = "",
) -> ResponseReturnValue:
    """What became of a change: on to `next_url`, or the list with the reason why not."""
    if result.outcome == Outcome.ACCEPTED:
        flash(done, "success")
        return redirect(next_url or _list_url(extension.id), 303)
    if result.outcome == Outcome.UNKNOWN:
        flash(unclear or str(UNCLEAR), "warning")
        return redirect(next_url or _list_url(extension.id), 303)
    return _page(
        member,
        extension,
        note=sentences.sender_reason(result.reason),
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
    # Without an extension there are no senders; that is trouble only if sipgate could not be asked.
    found = Senders((), Trouble.AWAY if known.trouble == Trouble.AWAY else Trouble.NONE)
    form = form or SenderForm(request.form or None)
    if extension:
        found = senders.listed(_place(member, extension))
        form.sms_id.data = extension.id
    if not form.errors:  # a form with errors keeps its id
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
        {"scope": scope, "why": sentences.scope_words(scope)}
        for scope in flow.FURTHER_SCOPES["senders"]
    ]


def _code_page(
    extension: Extension, entry: CallerId, form: CodeForm, status: int = 200
) -> ResponseReturnValue:
    page = render_template("senders_code.html", extension=extension, sender=entry, form=form)
    return page, status


def _question(
    title: str, lines: list[str], extension: Extension, confirm: tuple[str, str]
) -> ResponseReturnValue:
    page = render_template(
        "senders_question.html",
        title=title,
        sentences=lines,
        confirm=confirm,
        back_url=_list_url(extension.id),
        kept_text=None,
    )
    return page, 409
