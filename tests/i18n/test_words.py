"""The words that were decided: one for each thing, in English and in German.

Both catalogs are walked for the words that were given up, so that they do not come back.
"""

import re
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path

import pytest
from babel.messages.catalog import Message
from babel.messages.pofile import read_po

from webapp.config import PROJECT

[GERMAN] = (PROJECT / "webapp" / "translations").glob("de/LC_MESSAGES/messages.po")

GIVEN_UP = {
    "en": {
        r"please": "an error says what to do; it begs for nothing",
        r"in?valid|valid": "say what is wrong and what to enter",
        r"segments?": "part",
        r"withdr\w+": "cancel sending, cancelled",
        r"answer\w*": "reply",
        r"deliver\w*": "we cannot see it",
        r"outcomes?": "status",
        r"dearer": "more expensive",
    },
    "de": {
        r"bitte": "eine Meldung sagt, was zu tun ist; sie bettelt nicht",
        r"(un)?gültig\w*|fehlerhaft\w*|Fehlercode": "sagen, was falsch ist und was einzugeben ist",
        r"Segment\w*|SMS-Teil\w*": "SMS",
        r"Mobilnummer\w*": "Handynummer",
        r"Serien?": "Sammelnachricht",
        r"zugestellt": "das sehen wir nicht",
        r"Ergebnis\w*": "Status",
        r"Vorgemerkt|Ungewiss|Verpasst": "Bei sipgate geplant, Unklar, Nicht rechtzeitig",
        r"Erlaubnis|Rechte?": "Berechtigung",
        r"du|dein\w*": "Sie",
        r"hinaus|raus\w+": "eine Nachricht wird gesendet oder übergeben",
    },
}
ALLOWED = {
    ("en", "Segments"): "a column of the export: a program reads it by this name",
    ("en", "Outcome"): "a column of the export: a program reads it by this name",
    ("de", "Ergebnis"): "a column of the export: a program reads it by this name",
}
ABOUT_THE_MESSAGE = re.compile(r"^Sie (wartet|ist|wird|wurde|geht|ging|lässt|hat|kann|war)\b")
CASES = [(language, word) for language, words in GIVEN_UP.items() for word in words]


def texts(message: Message, language: str) -> tuple[str, ...]:
    found = message.id if language == "en" else message.string
    return (found,) if isinstance(found, str) else tuple(found)


def sentences(language: str, path: Path = GERMAN) -> Iterator[str]:
    """Every sentence of the pages. The English ones are the ids of the German catalog."""
    for message in read_po(BytesIO(path.read_bytes()), locale="de"):
        if message.id:
            yield from texts(message, language)


@pytest.mark.parametrize(("language", "word"), CASES)
def test_a_word_that_was_given_up_stays_away(language: str, word: str) -> None:
    pattern = re.compile(rf"(?i)\b({word})\b")
    # The names of gaps are for translators and code, nobody reads them on a page.
    found = [
        sentence
        for sentence in sentences(language)
        if pattern.search(re.sub(r"%\(\w+\)", "%", sentence))
        and (language, sentence) not in ALLOWED
    ]
    assert found == [], f"instead: {GIVEN_UP[language][word]}"


def test_a_german_sentence_about_the_message_does_not_begin_like_one_about_the_reader() -> None:
    found = [sentence for sentence in sentences("de") if ABOUT_THE_MESSAGE.search(sentence)]
    assert found == [], "begin with „Die Nachricht“, or with the verb"


def test_every_exception_is_still_needed() -> None:
    assert [(lang, text) for lang, text in ALLOWED if text not in set(sentences(lang))] == []


def test_the_labels_that_others_rely_on_are_there() -> None:
    assert {"From", "To", "Message"} <= set(sentences("en"))
