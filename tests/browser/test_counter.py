"""The live counter under the text says what the server will count, and what it will cost."""

import random

import pytest
from playwright.sync_api import expect

from tests.browser.visitor import Visitor
from webapp.rules.text import normalise_text, segment

TEXTS = [
    "",
    "Hello",
    "€",
    "x" * 160,
    "x" * 161,
    "x" * 306,
    "x" * 307,
    "€" * 80,
    "€" * 81,
    "x" * 152 + "€" + "x" * 153,  # the euro does not fit into the last place of a segment
    "[]{}~^|\\",
    "ÄÖÜäöüß ÇØøÅåÆæÉéèùìò Ωλ",
    "Grüße",
    "Gru\u0308ße",  # a composed letter is GSM-7, its two halves are not
    "“curly”",
    "👍",
    "👍🏽 👨‍👩‍👧‍👦 🇩🇪",
    "❤️ 1️⃣ 🏴󠁧󠁢󠁳󠁣󠁴󠁿 🇩🇪🇦🇹",
    "ж" * 70,
    "ж" * 71,
    "ж" * 134,
    "ж" * 135,
    "ж" * 66 + "😀" + "ж" * 66,  # an emoji does not straddle a border
    "😀" * 35,
    "😀" * 36,
    "one\ntwo\n\nthree\n",
    "ends with blanks   ",
    "\t",
    "\u00a0",
    "a\u200bb",
    "x" * 1530,
]
UNTIL_SOMETHING_IS_WRITTEN = (
    "One part holds 160 characters, or 70 with emoji and other rare ones. Each part is charged."
)
UNSEEN = dict.fromkeys("\t\u00a0\u200b", "(invisible character)")
LETTERS = "abc äß €[]{}^ жλ “” 😀 👍🏽 \n\u0308"
ALL_COUNTS = """texts => {
  const field = document.querySelector("[name=message]");
  return texts.map((text) => {
    field.value = text;
    field.dispatchEvent(new Event("input", { bubbles: true }));
    return [document.querySelector("[data-count]").textContent,
            document.querySelectorAll("[data-phone-text] .cut").length,
            document.querySelector("[data-dear]").textContent.match(/^.*?expensive:|$/)[0]];
  });
}"""


def random_texts(count: int) -> list[str]:
    chance = random.Random(23040)
    return ["".join(chance.choices(LETTERS, k=chance.randrange(400))) for _ in range(count)]


def expected(text: str) -> list[object]:
    """The counter's words, how often the phone's bubble is cut, and the note below."""
    if not text:
        return [UNTIL_SOMETHING_IS_WRITTEN, 0, ""]
    found = segment(normalise_text(text))
    left = found.units_left
    parts = "1 part" if found.segment_count == 1 else f"{found.segment_count} parts"
    characters = "1 character" if left == 1 else f"{left} characters"
    shown = [UNSEEN.get(one, one) for one in found.forcing[:4]]
    dear = f"{' '.join(shown)} makes this text more expensive:" if shown else ""
    return [f"{parts} · {characters} left", found.segment_count - 1, dear]


def test_the_live_counter_agrees_with_the_server(anna: Visitor) -> None:
    texts = [*TEXTS, *random_texts(300), ""]
    anna.go("/")
    counted = anna.page.evaluate(ALL_COUNTS, texts)
    wrong = [
        (text, found, expected(text))
        for text, found in zip(texts, counted, strict=True)
        if found != expected(text)
    ]
    assert not wrong


def test_the_counter_without_script_says_the_same_after_the_form_comes_back(
    writer: Visitor,
) -> None:
    writer.go("/")
    writer.write("nobody", "😀" * 36)
    writer.button.click()
    writer.see("2 parts · 61 characters left")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (
            "Caf\u00e9 \u017e",
            "\u017e makes this text more expensive: each part now fits 70 characters",
        ),
        ("x" * 163, "Remove 3 characters to save one part."),
        ("x" * 1531, "Too long: at most 10 parts can be sent."),
    ],
)
def test_the_counter_says_what_makes_a_text_dearer(anna: Visitor, text: str, said: str) -> None:
    anna.go("/")
    anna.message.fill(text)
    expect(anna.page.locator(".counter")).to_contain_text(said)
