"""Write docs/settings.md and .env.example anew: `.venv/bin/python -m docs.settings`.

Both are made from the declarations in `webapp/config`; `tests/processes/test_settings.py` checks that
they are up to date.
"""

import textwrap
from dataclasses import fields
from pathlib import Path

from webapp.config import PROJECT, Settings
from webapp.config.values import declaration_of

PAGE = Path(__file__).with_suffix(".md")
EXAMPLE = PROJECT / ".env.example"

PAGE_HEAD = """\
# Settings

They are read from the environment, or from the file `.env`; the environment wins. Only the first three must be set, and
without the fourth nobody can sign in: copy `.env.example` to `.env` and fill in these four. Values stand without quotes. A
setting that is wrong keeps the app from starting, with one sentence that says why. An empty one has its default, unless
its row says what empty means.

This page and `.env.example` are made from `webapp/config` by `python -m docs.settings`.
"""
EXAMPLE_HEAD = """\
# Settings of Team SMS. Copy this file to .env and fill in the first four; the rest may stay.
# What the environment sets goes before what stands here. Write values without quotes.
# Made from webapp/config by: python -m docs.settings
"""


def main() -> None:
    PAGE.write_text(page())
    EXAMPLE.write_text(example())


def page() -> str:
    parts = [PAGE_HEAD]
    for one in fields(Settings):
        declaration = declaration_of(one)
        if declaration.heading:
            parts.append(f"\n## {declaration.heading}\n\n| Setting | Default | Meaning |\n|---|---|---|\n")
        default = "must be set" if declaration.is_required else code(example_value(declaration.default))
        parts.append(f"| `{one.name.upper()}` | {default} | {declaration.words} |\n")
    return "".join(parts)


def example() -> str:
    parts = [EXAMPLE_HEAD]
    for one in fields(Settings):
        declaration = declaration_of(one)
        if declaration.heading:
            parts.append(f"\n# --- {declaration.heading}\n")
        comment = textwrap.fill(
            declaration.words,
            width=100,
            initial_indent="# ",
            subsequent_indent="# ",
            break_long_words=False,
            break_on_hyphens=False,
        )
        parts.append(f"\n{comment}\n{one.name.upper()}={example_value(declaration.default)}\n")
    return "".join(parts)


def example_value(default: object) -> str:
    """What may stand in .env: nothing, where the default follows from something else."""
    return default if isinstance(default, str) else ""


def code(text: str) -> str:
    return f"`{text}`" if text else ""


if __name__ == "__main__":
    main()
