"""Lists in tests: uploaded, mapped and sent through the real pages."""

from collections.abc import Iterable
from typing import Any

from urllib3.filepost import encode_multipart_formdata

from tests.support.pages import Browser, Page

JSON = {"Accept": "application/json"}


def numbers(count: int, first: int = 0) -> list[str]:
    """Fictional numbers whose texts arrive."""
    return [f"0176 0407{n:04d}" for n in range(first, first + count)]


def csv_of(rows: Iterable[Iterable[str]], heads: str = "Handy;Vorname") -> str:
    return "\n".join([heads, *(";".join(row) for row in rows)]) + "\n"


def people(count: int, first: int = 0) -> str:
    """A list of so many people, each with a name of their own."""
    found = enumerate(numbers(count, first), first)
    return csv_of((number, f"Person{n}") for n, number in found)


def upload(
    browser: Browser,
    content: str | bytes,
    name: str = "liste.csv",
    *,
    status: int | None = 303,
    headers: dict[str, str] | None = None,
) -> Page:
    fields = browser.get("/batches/new").fields("/batches/new")
    data = content.encode() if isinstance(content, str) else content
    # Not by the test client, which leaves the file behind that it puts a large form in.
    body, content_type = encode_multipart_formdata({**fields, "file": (name, data)})
    options = {"content_type": content_type, "headers": headers}
    return browser.post("/batches/new", body, status=status, **options)


def save(browser: Browser, page: Page, text: str, *, status: int = 303, **fields: str) -> Page:
    """Page 2 as it comes, with this text; returns the check page."""
    form = {k: v for k, v in page.fields(page.path).items() if k not in ("plain", "answered")}
    answer = browser.post(page.path, {**form, "message": text, **fields}, status=status)
    return browser.follow(answer) if status == 303 else answer


def checked(browser: Browser, content: str, text: str = "Hello ((Vorname))") -> Page:
    """Upload a list and save its text; returns its check page."""
    return save(browser, browser.follow(upload(browser, content)), text)


def twin(browser: Browser, check: Page) -> dict[str, Any]:
    found: dict[str, Any] = browser.get(check.path.partition("?")[0], headers=JSON).json
    return found


def leave_out(browser: Browser, check: Page, *without: str) -> Page:
    action = check.path.replace("/check", "/choices")
    fields = {k: v for k, v in check.fields(action).items() if k != "without"}
    answer = browser.post(action, {**fields, "without": list(without)}, status=303)
    return browser.follow(answer)


def confirmed(browser: Browser, check: Page, **fields: str) -> dict[str, str]:
    """The form that sends the list, its questions answered."""
    form = {**check.fields("/batches"), **fields}
    asked = browser.post("/batches", form, status=None)
    if asked.status == 303:
        raise AssertionError("nothing was asked")
    button = asked.soup.select_one("main button[name=confirm]")
    assert button is not None, asked.text
    form = {**asked.fields("/batches"), **fields, "confirm": str(button["value"])}
    label = asked.soup.select_one("label[for=typed_count]")
    if label is not None:
        form["typed_count"] = label.get_text().split()[1]
    return form


def send(browser: Browser, check: Page, **fields: str) -> Page:
    """Send the list; returns its batch's page."""
    form = confirmed(browser, check, **fields)
    return browser.follow(browser.post("/batches", form, status=303))
