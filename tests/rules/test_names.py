"""First names: only where there is no doubt."""

import pytest

from webapp.rules.names import first_name


@pytest.mark.parametrize(
    ("name", "first"),
    [
        ("Frieda Großmann", "Frieda"),
        ("Jean-Luc O'Neill", "Jean-Luc"),
        *((name, "") for name in ("", "Frieda", "Dr. Sommer", "Praxis Sommer", "Familie Meier")),
        *((name, "") for name in ("Anna von Ahn", "A. Sommer", "Großmann, Frieda", "Haus 24")),
        *((name, "") for name in ("Meier GmbH", "Frau Meier", "4711 Service")),
    ],
)
def test_a_first_name_is_told_only_if_it_is_sure(name: str, first: str) -> None:
    assert first_name(name, "+491713920020") == first


def test_nobody_is_sure_to_answer_a_landline() -> None:
    assert first_name("Frieda Großmann", "+493023125123") == ""
