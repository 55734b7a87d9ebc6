"""Names of people, as far as one can be sure of them."""

import re

from webapp.rules.numbers import NumberKind, number_kind

FIRST_NAME_PLACEHOLDERS = ("first name", "firstname", "vorname")
"""The names of placeholders that stand for it, in lower case."""

_WORD = re.compile(r"[^\W\d_]+(?:[-'’][^\W\d_]+)*")
# A name that begins or ends so is no person's first and last name.
_NO_PERSON = frozenset(
    """
    herr frau familie fam dr prof praxis firma büro hotel haus autohaus apotheke kanzlei labor
    verein schule kita klinik salon studio team werkstatt zentrale mr mrs ms miss family
    company office gmbh ag kg ug ohg ev ltd inc llc mama papa oma opa
    """.replace("\n", " ").split()
)


def first_name(name: str, number: str) -> str:
    """The first name in `Frieda Großmann`; empty if the name may be anything else.

    `number` (E.164) has to be a mobile one: other numbers often belong to a company.
    """
    words = name.split()
    if len(words) != 2 or not all(_WORD.fullmatch(word) for word in words):
        return ""
    is_person = _NO_PERSON.isdisjoint(map(str.casefold, words))
    return words[0] if is_person and number_kind(number) is NumberKind.MOBILE else ""
