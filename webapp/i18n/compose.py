"""The sentences of the form that follow what is typed: counter, button, time.

The page says them once, for what it was loaded with; static/compose.js says them again with every
key. Both take them from here, so that they cannot differ.
"""

import unicodedata
from decimal import Decimal
from functools import lru_cache
from typing import Any

from flask_babel import get_locale, gettext, ngettext

from webapp.i18n.formats import money
from webapp.rules.names import FIRST_NAME_PLACEHOLDERS
from webapp.rules.text import Segmentation, counter_table

GAP = "{n}"
"""Where the script fills in what only it knows."""
MAX_FORCING_SHOWN = 4
UNSEEN = ("Cc", "Cf", "Zs", "Zl", "Zp")
"""Unicode's categories of controls and spaces."""
Words = dict[str, str | list[str]]
"""By name, a sentence or its two forms: for one, and for several."""
_TABLE: Any = counter_table()
_MANY, _FEW = _TABLE["gsm7"][0], _TABLE["ucs2"][0]


class Gap(int):
    """A number that only the script knows: one or several, and written as the gap."""

    def __str__(self) -> str:
        return GAP


ONE, SEVERAL = Gap(1), Gap(2)


# --- On the page ----------------------------------------------------------------------------------


def count_line(found: Segmentation | None, price: Decimal | None, recipient_count: int) -> str:
    """The counter under the text: `2 segments, 61 characters left, about €0.16`."""
    if found is None:
        return _what_a_segment_holds()
    facts = [_segments(found.segment_count), _left(found.units_left)]
    if price:
        total = price * found.segment_count * recipient_count
        facts.append(_cost(recipient_count, money(total)))
    return " · ".join(facts)


def dear_line(found: Segmentation | None) -> str:
    """Which characters make the text dearer; empty if none does."""
    if found is None or not found.forcing:
        return ""
    return _dearer(" ".join(_visible(one) for one in found.forcing[:MAX_FORCING_SHOWN]))


def _visible(character: str) -> str:
    """The character, or words for one that nobody sees, such as a space from a word processor."""
    is_seen = any(unicodedata.category(one) not in UNSEEN for one in character)
    return character if is_seen else gettext("(invisible character)")


# --- For the script -------------------------------------------------------------------------------


def for_script(price: Decimal | None, *, changing: str, asks_which_time: bool) -> dict[str, Any]:
    """What static/compose.js is given.

    `changing`: what the button says whenever the form asks before it sends, else empty.
    `asks_which_time`: whether the form does ask already which of two times is meant.
    """
    return _for_script(str(get_locale()), price, changing, asks_which_time)


@lru_cache
def _for_script(
    locale: str, price: Decimal | None, changing: str, asks_which_time: bool
) -> dict[str, Any]:
    return {
        "table": _TABLE,
        "price": str(price or ""),
        "lang": "en-GB" if locale == "en" else locale,
        "firstNamePlaceholders": FIRST_NAME_PLACEHOLDERS,
        "words": {
            **_button_words(changing),
            **_counter_words(),
            **_time_words(asks_which_time),
            **_recipient_words(),
            "inserted": gettext("“%(name)s” is in the text.", name=GAP),
            "undo": gettext("Undo"),
            "sending": gettext("Sending…"),
        },
    }


def _button_words(changing: str) -> Words:
    """For one recipient, and for several."""
    if changing:
        return {"now": changing, "plan": changing, "later": changing}
    send = ngettext("Send %(num)s message", "Send %(num)s messages", SEVERAL)
    schedule = ngettext("Schedule %(num)s message", "Schedule %(num)s messages", SEVERAL)
    return {
        "now": [gettext("Send now"), send],
        "plan": [gettext("Schedule"), schedule],
        "later": [gettext("Schedule for %(when)s", when=GAP), schedule],
    }


def _counter_words() -> Words:
    return {
        "segment": [_segments(ONE), _segments(SEVERAL)],
        "left": [_left(ONE), _left(SEVERAL)],
        "less": [_less(ONE), _less(SEVERAL)],
        "cost": [_cost(ONE, GAP), _cost(SEVERAL, GAP)],
        "dear": _dearer(GAP),
        "invisible": _visible("\u200b"),
        "long": gettext(
            "Too long: at most %(most)s parts can be sent.", most=_TABLE["max_segments"]
        ),
        "empty": _what_a_segment_holds(),
    }


def _recipient_words() -> Words:
    return {
        "remove": gettext("Remove %(name)s", name=GAP),
        "correct": gettext("Correct %(name)s", name=GAP),
        "fitting": [
            ngettext("%(num)s contact fits", "%(num)s contacts fit", ONE),
            ngettext("%(num)s contact fits", "%(num)s contacts fit", SEVERAL),
        ],
    }


def _time_words(asks_which_time: bool) -> Words:
    twice = gettext("This time comes twice: the clocks go back then. You will be asked which one.")
    return {
        "days": [gettext("Today"), gettext("Tomorrow")],
        "missing": gettext("This time does not exist: the clocks go forward then."),
        "twice": "" if asks_which_time else twice,
        "past": gettext("This time has passed."),
        "zone": gettext("%(city)s time · change", city=GAP),
    }


# --- Each sentence once ---------------------------------------------------------------------------


def _segments(count: int) -> str:
    return ngettext("%(segments)s part", "%(segments)s parts", count, segments=count)


def _left(count: int) -> str:
    return ngettext("%(left)s character left", "%(left)s characters left", count, left=count)


def _less(count: int) -> str:
    return ngettext(
        "Remove %(less)s character to save one part.",
        "Remove %(less)s characters to save one part.",
        count,
        less=count,
    )


def _cost(recipient_count: int, shown: str) -> str:
    if recipient_count == 1:
        return gettext("about %(cost)s", cost=shown)
    return gettext("about %(cost)s in total", cost=shown)


def _dearer(characters: str) -> str:
    return gettext(
        "%(characters)s makes this text more expensive: each part now fits %(few)s characters "
        "instead of %(many)s.",
        characters=characters,
        few=_FEW,
        many=_MANY,
    )


def twice(count: int) -> str:
    """How many numbers were there more than once."""
    return ngettext(
        "%(num)s number was there twice; it gets one message.",
        "%(num)s numbers were there twice; each gets one message.",
        count,
    )


def _what_a_segment_holds() -> str:
    return gettext(
        "One part holds %(many)s characters, or %(few)s with emoji and other rare ones. Each "
        "part is charged.",
        many=_MANY,
        few=_FEW,
    )
