"""Pages for people: what this is, and the phones that received the texts. They need no script."""

from datetime import UTC, datetime

from flask import Blueprint, Response, jsonify, render_template, request

from webapp.simulator.access import no_content, world
from webapp.simulator.outcomes import BLOCKS, OUTCOMES
from webapp.simulator.records import PhoneText, e164, iso

bp = Blueprint("pages", __name__)

PHONES_SHOWN = 60
"""On one page; a load test can ring thousands."""

ALERTS_KEPT = 60

SECURITY_HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; style-src 'self'; script-src 'self'; connect-src 'self';"
        " img-src 'self' data:; base-uri 'none'; frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "same-origin",
    "Cache-Control": "no-store",
}
"""Without `form-action`: the sign-in form ends with a redirect to the app, at any address."""


@bp.after_app_request
def protect(response: Response) -> Response:
    if request.blueprint in ("pages", "oauth") and response.mimetype == "text/html":
        response.headers.update(SECURITY_HEADERS)
    return response


@bp.app_template_filter("clock_time")
def clock_time(at: float) -> str:
    """`22 Nov, 10:00 UTC`; the script, where it runs, turns it into the reader's own time."""
    return datetime.fromtimestamp(at, UTC).strftime("%d %b, %H:%M UTC")


bp.add_app_template_filter(iso, "iso")


@bp.get("/")
def start() -> str:
    return render_template(
        "start.html",
        accounts=list(world().accounts.values()),
        outcomes=OUTCOMES,
        blocks=BLOCKS,
    )


@bp.get("/phones")
def phones() -> str:
    everything = _newest_first()
    return render_template(
        "phones.html",
        phones=everything[:PHONES_SHOWN],
        hidden_count=max(0, len(everything) - PHONES_SHOWN),
        scheduled=world().scheduled,
        revision=_revision(),
    )


@bp.get("/phones/<number>")
def phone(number: str) -> str:
    """One phone, also an untouched one; the number in any international spelling."""
    known = e164(number) or number
    texts = world().phones.get(known, [])
    return render_template("phone.html", number=known, texts=texts, revision=_revision())


@bp.get("/alerts")
def alerts() -> str:
    """What the app told unasked, newest first. sipgate has no such page: it is the demo's."""
    return render_template("alerts.html", alerts=world().alerts[::-1])


@bp.post("/alerts")
def take_alert() -> Response:
    """Where the demo's ALERT_WEBHOOK leads."""
    told = request.get_json(silent=True)
    if not isinstance(told, dict):
        return Response("not a JSON object\n", 400)
    words = {name: str(told.get(name, "")) for name in ("title", "message", "url")}
    world().alerts = [*world().alerts, (world().now(), words)][-ALERTS_KEPT:]
    return no_content()


@bp.get("/phones.json")
def phones_json() -> Response:
    items = [
        {"number": number, "texts": [_text(text) for text in texts]}
        for number, texts in _newest_first()
    ]
    waiting = [_text(text) for text in world().scheduled]
    return jsonify(phones=items, scheduled=waiting, revision=_revision())


def _newest_first() -> list[tuple[str, list[PhoneText]]]:
    """Phones by their newest text; the texts of each oldest first, as on a phone."""
    return sorted(world().phones.items(), key=lambda item: item[1][-1].due_at, reverse=True)


def _revision() -> str:
    """Changes when the pages would look different: texts shown, the newest one, texts waiting."""
    phones = world().phones.values()
    newest = max((texts[-1].due_at for texts in phones), default=0)
    return f"{sum(map(len, phones))}-{newest}-{len(world().scheduled)}"


def _text(text: PhoneText) -> dict[str, str]:
    return {
        "recipient": text.recipient,
        "sender": text.sender,
        "text": text.text,
        "sent_at": iso(text.sent_at),
        "due_at": iso(text.due_at),
    }
