"""Every trap file by upload: mapped as the page comes, and checked; or refused in one sentence."""

import re

import pytest

from tests.lists.test_trap_files import FOLDER, expectations
from tests.support import lists
from tests.support.lists import JSON
from tests.support.pages import Browser

TEXTS = {"46-missing-values.csv": "Hallo ((Vorname)), bis ((Termin))"}
ELSEWHERE = {"52-terms-dst-past.csv", "61-types.xlsx", "lo-61-types.xlsx", "lo-61-types.csv"}
"""What these hold is looked at in tests of their own."""
FILES = [(name, what) for name, what in expectations() if name not in ELSEWHERE]


def outcome(browser: Browser, name: str) -> str:
    """What became of a file, in the words of EXPECTED.tsv."""
    answer = lists.upload(browser, (FOLDER / name).read_bytes(), name, status=None, headers=JSON)
    if answer.status != 201:
        assert answer.status in (413, 422), f"{name}: {answer.status}"
        assert answer.json["sentence"]
        row = "" if answer.json["row"] is None else f"@{answer.json['row']}"
        return f"refused:{answer.json['code']}{row}"
    page = browser.get(answer.json["url"])
    check = lists.save(browser, page, TEXTS.get(name, "Hallo"))
    twin = lists.twin(browser, check)
    counts = twin["counts"]
    total = twin["sendable"] + twin["left_out"] + counts["errors"]
    assert twin["rows"] == total, f"{name}: rows are lost"
    parts = []
    if twin["sendable"]:
        parts.append(f"ok:{twin['sendable']}")
    if counts["errors"]:
        parts.append(f"bad:{counts['errors']}")
    if counts["hidden"]:
        parts.append(f"hidden:{counts['hidden']}")
    found = " ".join(parts)
    if twin["questions"]:
        found += "+question"
        assert not check.soup.select("form[action='/batches']"), f"{name}: sent without an answer"
    return found


@pytest.mark.parametrize("kind", ["refused", "ok", "bad"])
def test_b11_every_file_of_a_kind_gives_what_it_must(anna: Browser, kind: str) -> None:
    wrong = {}
    for name, expected in FILES:
        if not (expected.startswith(kind) or (kind == "ok" and expected.startswith("as "))):
            continue
        expected = re.sub("^as 63$", "ok:3+question", expected)
        found = outcome(anna, name)
        if found != expected:
            wrong[name] = (expected, found)
    assert not wrong


def test_numbers_as_a_spreadsheet_leaves_them(anna: Browser) -> None:
    """Of nine rows, one has lost digits, one is an error, and one has no number."""
    assert outcome(anna, "lo-61-types.csv") == "ok:6 bad:3"
