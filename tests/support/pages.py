"""A browser without a screen: it follows the real pages, with cookies and real forms.

Tests use the app only through it, as a person would: CSRF is on, fields come from the page. Every
page is checked for what must hold on all of them.
"""

import re
from collections import Counter
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

import requests
from bs4 import BeautifulSoup, Tag
from flask import Flask
from werkzeug.test import TestResponse

INLINE_HANDLER = re.compile(r"^on")


class Page:
    """An answer of the app, read as a person reads it."""

    def __init__(self, response: TestResponse, path: str) -> None:
        self.response = response
        self.path = path
        self.status = response.status_code
        self.is_html = response.mimetype == "text/html"
        self.soup = BeautifulSoup(response.get_data(as_text=True), "html.parser")

    @property
    def location(self) -> str:
        """Where a redirect leads."""
        return str(self.response.headers["Location"])

    @property
    def json(self) -> Any:
        return self.response.get_json()

    @property
    def text(self) -> str:
        """What `<main>` says, with single blanks."""
        main = self.soup.find("main")
        return " ".join((main or self.soup).get_text(" ").split())

    @property
    def h1(self) -> str:
        found = self.soup.find("h1")
        assert found is not None, "the page has no h1"
        return found.get_text(" ", strip=True)

    def form(self, action: str | None = None) -> Tag:
        """The form in `<main>`, or the one that leads to `action`."""
        forms = self.soup.select("form") if action else self.soup.select("main form")
        for form in forms:
            if action is None or form.get("action") == action:
                return form
        raise AssertionError(f"no form {action or ''} on the page: {self.text[:300]}")

    def fields(self, action: str | None = None) -> dict[str, str]:
        """What a browser would send of the form as it is, without its buttons."""
        values: dict[str, str] = {}
        for control in self.form(action).select("input, textarea, select"):
            name = str(control.get("name") or "")
            if not name or control.get("type") == "radio" and not control.has_attr("checked"):
                continue
            values[name] = _value(control)
        return values

    def error_at(self, name: str) -> str:
        """The error tied to a field by `aria-describedby`, or an empty text."""
        control = self.soup.select_one(f'main [name="{name}"]')
        assert control is not None, f"no field {name}"
        if control.get("aria-invalid") != "true":
            return ""
        ids = str(control.get("aria-describedby") or "").split()
        found = [self.soup.find(id=id_) for id_ in ids]
        errors = [tag for tag in found if tag is not None and "error" in str(tag.get("class"))]
        return " ".join(tag.get_text(" ", strip=True) for tag in errors)

    def check(self) -> None:
        """What holds on every page of the app."""
        assert self.status < 500 or self.status == 503, self.text
        headers = self.response.headers
        assert "unsafe-inline" not in headers["Content-Security-Policy"]
        assert headers["X-Content-Type-Options"] == "nosniff"
        if self.is_html and self.status not in (301, 302, 303, 308):
            self._check_html()

    def _check_html(self) -> None:
        assert self.response.headers["Cache-Control"] == "no-store"
        tags = self.soup.find_all(True)
        names = Counter(tag.name for tag in tags)
        assert names["h1"] == 1
        assert names["main"] == 1
        assert self.soup.title
        assert self.soup.title.get_text(strip=True)
        assert not names["style"], "inline style"
        ids = Counter(tag["id"] for tag in tags if tag.has_attr("id"))
        assert not [id_ for id_, count in ids.items() if count > 1], "an id stands twice"
        for tag in tags:
            if tag.name == "script":
                assert tag.get("src") or tag.get("type") == "application/json", "inline script"
            assert not tag.has_attr("style"), f"style attribute on {tag.name}"
            assert not [name for name in tag.attrs if INLINE_HANDLER.match(name)], tag.name
        visible = " ".join(_own_words(self.soup))
        for word in ("Undefined", "None", "{{", "LazyString"):
            assert word not in visible, f"{word!r} on the page"


def _own_words(tag: Tag) -> Iterator[str]:
    """The page's own words, without what a person typed."""
    for child in tag.contents:
        if not isinstance(child, Tag):
            yield str(child)
        elif not _holds_what_was_typed(child):
            yield from _own_words(child)


def _holds_what_was_typed(tag: Tag) -> bool:
    classes = tag.get("class") or ()
    is_typed = tag.name in ("textarea", "q") or tag.get("dir") == "auto"
    return is_typed or "error" in classes or "summary" in classes


def _value(control: Tag) -> str:
    if control.name == "textarea":
        # A browser drops the first line break of a textarea, however it is spelt.
        return control.get_text().replace("\r\n", "\n").removeprefix("\n")
    if control.name == "select":
        chosen = control.select_one("option[selected]") or control.select_one("option")
        return str(chosen.get("value", chosen.get_text())) if chosen else ""
    return str(control.get("value") or "")


class Browser:
    """One person's browser at one deployment."""

    def __init__(self, app: Flask, sipgate: Any) -> None:
        self.app = app
        self.client = app.test_client()
        self.sipgate = sipgate
        self.base_url: str = app.config["SETTINGS"].public_url

    def get(self, path: str, *, status: int | None = 200, **options: Any) -> Page:
        response = self.client.get(path, base_url=self.base_url, **options)
        return self._page(response, path, status)

    def post(self, path: str, data: Any, *, status: int | None = None, **options: Any) -> Page:
        if self.base_url.startswith("https"):
            # Flask-WTF wants to see our own origin over HTTPS, as browsers send it.
            headers = {"Referer": f"{self.base_url}/", **options.pop("headers", {})}
            options["headers"] = headers
        response = self.client.post(path, base_url=self.base_url, data=data, **options)
        return self._page(response, path, status)

    def follow(self, page: Page) -> Page:
        parts = urlsplit(page.location)
        assert not parts.netloc or page.location.startswith(self.base_url), page.location
        return self.get(f"{parts.path}?{parts.query}" if parts.query else parts.path, status=None)

    def begin_sign_in(self, next_path: str = "") -> str:
        """The address at sipgate that `/login` leads to."""
        return self.get("/login", status=302, query_string={"next": next_path}).location

    def callback_path(self, address: str, person: str = "anna", decision: str = "allow") -> str:
        """Choose a person at sipgate's login; returns the path of the callback with its query."""
        with requests.Session() as other_site:
            consent = other_site.get(address, timeout=5)
            assert consent.status_code == 200, consent.text
            answer = other_site.post(
                address,
                data={"login_as": person, "decision": decision},
                allow_redirects=False,
                timeout=5,
            )
        assert answer.is_redirect, answer.text
        parts = urlsplit(answer.headers["Location"])
        return f"{parts.path}?{parts.query}"

    def sign_in(self, person: str = "anna", next_path: str = "") -> Page:
        """Through sipgate's login and back; returns the callback's answer (a redirect)."""
        path = self.callback_path(self.begin_sign_in(next_path), person)
        return self.get(path, status=302)

    def compose(self, **fields: str) -> dict[str, str]:
        """A filled form, ready to post."""
        return {**self.get("/").fields(), **fields}

    def send(
        self, to: str = "+491713920050", text: str = "Hello", *, status: int = 303, **fields: str
    ) -> Page:
        """Fill the real form and send it."""
        data = self.compose(recipient=to, message=text, **fields)
        return self.post("/messages", data, status=status)

    def send_and_look(self, to: str = "+491713920050", text: str = "Hello", **fields: str) -> Page:
        """Send, and open the message's page."""
        return self.follow(self.send(to, text, **fields))

    def press(self, page: Page, action: str, *, status: int = 303, **fields: str) -> Page:
        """Send the form on the page that leads to `action`."""
        return self.post(action, {**page.fields(action), **fields}, status=status)

    def twin(self, page: Page) -> dict[str, Any]:
        """The JSON twin of the message that a page or a redirect belongs to."""
        path = page.location if page.status == 303 else page.path
        answer = self.get(urlsplit(path).path, headers={"Accept": "application/json"})
        twin: dict[str, Any] = answer.json
        return twin

    def _page(self, response: TestResponse, path: str, status: int | None) -> Page:
        page = Page(response, path)
        if status is not None:
            assert page.status == status, f"{page.status} instead of {status}: {page.text[:500]}"
        page.check()
        return page
