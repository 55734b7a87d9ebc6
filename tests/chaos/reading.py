"""Pages as a browser reads them: forms with their fields, links, and the words for outcomes.

A parser of its own, because `tests.pages` checks everything on every page, and ten thousand
submissions need several pages each: this one takes a tenth of the time.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from html.parser import HTMLParser

OUTCOME_OF_WORD = {
    "Planned": "held",
    "Waiting": "queued",
    "Paused": "paused",
    "Being sent": "sending",
    "Accepted": "accepted",
    "Scheduled": "scheduled",
    "Refused": "refused",
    "Not sent": "not_sent",
    "Unknown": "unknown",
    "Cancelled": "cancelled",
    "Missed": "missed",
}
"""What people read, and what the JSON twin calls it. Written down once more, so that a changed
word is noticed."""

UNSETTLED = ("held", "queued", "sending", "paused", "missed")
"""Outcomes that still wait for something."""

LEFT = ("accepted", "scheduled")
NOT_LEFT = ("refused", "not_sent", "cancelled")


@dataclass(slots=True)
class Form:
    """A form as it stands: what a browser would send of it, and its named buttons."""

    action: str
    fields: dict[str, str] = field(default_factory=dict)
    buttons: dict[str, str] = field(default_factory=dict)


@dataclass(slots=True)
class Row:
    """A line of a table of messages."""

    id: str
    outcome: str


class Page(HTMLParser):
    """One page. `fate` is the outcome a message's page tells, or None on other pages.

    `rows` are its messages in a table, `batches` the addresses of those that are one row of it.
    """

    def __init__(self, html: str) -> None:
        super().__init__()
        self.forms: list[Form] = []
        self.links: dict[str, str] = {}
        self.rows: list[Row] = []
        self.batches: list[str] = []
        self.fate: str | None = None
        self._form: Form | None = None
        self._select = ""
        self._textarea = ""
        self._is_in_row = False
        self._row_id = ""
        self._text: Callable[[str], None] | None = None
        self.feed(html)
        self.close()

    def form(self, action: str) -> Form | None:
        """The form that leads to `action`, or None."""
        return next((form for form in self.forms if form.action == action), None)

    def link(self, words: str) -> str:
        """Where the link with these words leads, or an empty text."""
        return self.links.get(words, "")

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        values = {name: value or "" for name, value in attributes}
        reader = getattr(self, f"_start_{tag}", None)
        if reader is not None:
            reader(values)
        classes = values.get("class", "").split()
        if "fate-word" in classes:
            self._text = self._read_fate
        elif "badge" in classes or "quiet" in classes:
            self._text = self._read_status

    def handle_endtag(self, tag: str) -> None:
        if tag == "form":
            self._form = None
        elif tag in ("textarea", "a", "span", "p"):
            self._text = None
        elif tag == "select":
            self._select = ""
        elif tag == "tr":
            self._is_in_row = False

    def handle_data(self, data: str) -> None:
        if self._text is not None:
            self._text(data)

    def _start_form(self, values: dict[str, str]) -> None:
        self._form = Form(values.get("action", ""))
        self.forms.append(self._form)

    def _start_input(self, values: dict[str, str]) -> None:
        if self._form is None or not values.get("name"):
            return
        if values.get("type") in ("radio", "checkbox") and "checked" not in values:
            return
        self._form.fields[values["name"]] = values.get("value", "")

    def _start_button(self, values: dict[str, str]) -> None:
        if self._form is not None and values.get("name"):
            self._form.buttons[values["name"]] = values.get("value", "")

    def _start_textarea(self, values: dict[str, str]) -> None:
        name = values.get("name", "")
        if self._form is not None:
            self._form.fields[name] = ""
            self._textarea = name
            self._text = self._read_textarea

    def _start_select(self, values: dict[str, str]) -> None:
        self._select = values.get("name", "")

    def _start_option(self, values: dict[str, str]) -> None:
        """The chosen option, or the first one."""
        if self._form is None or not self._select:
            return
        if "selected" in values or self._select not in self._form.fields:
            self._form.fields[self._select] = values.get("value", "")

    def _start_tr(self, _values: dict[str, str]) -> None:
        self._is_in_row, self._row_id = True, ""

    def _start_a(self, values: dict[str, str]) -> None:
        address = values.get("href", "")
        if self._is_in_row and address.startswith("/messages/"):
            self._row_id = address.rpartition("/")[2]
        elif self._is_in_row and address.startswith("/batches/"):
            self.batches.append(address)

        def read(words: str) -> None:
            if words.strip():
                self.links[words.strip()] = address

        self._text = read

    def _read_textarea(self, data: str) -> None:
        # A browser drops the first line break of a textarea.
        form = self.forms[-1]
        so_far = form.fields[self._textarea]
        form.fields[self._textarea] = so_far + (data if so_far else data.removeprefix("\n"))

    def _read_fate(self, data: str) -> None:
        if data.strip():
            self.fate = outcome_of(data.strip())

    def _read_status(self, data: str) -> None:
        if self._row_id and data.strip():
            self.rows.append(Row(self._row_id, outcome_of(data.strip())))
            self._row_id = ""


def outcome_of(word: str) -> str:
    """The outcome a page's word stands for; the word itself if nobody knows it."""
    return OUTCOME_OF_WORD.get(word, word)
