"""Draw the icons anew from static/icon.svg: `.venv/bin/python docs/icons.py`, after the drawing was changed.

Needs the packages of requirements-dev.txt and Chromium or Chrome.
"""

import shutil
import struct
import sys
from pathlib import Path

from playwright.sync_api import Page, sync_playwright

STATIC = Path(__file__).resolve().parent.parent / "static"
PROGRAMS = ("chromium", "chromium-browser", "google-chrome")
GROUND = "#0b6175"
HOME_SCREEN_PX = (180, 192, 512)
FAVICON_PX = (16, 32, 48)
DRAWN_PART = 0.58
"""Of the width: phones cut the icon to a circle or a drop, and what is inside 80 % stays."""


def main() -> None:
    program = next(filter(None, map(shutil.which, PROGRAMS)), None)
    if program is None:
        sys.exit("Needs Chromium or Chrome.")
    drawing = (STATIC / "icon.svg").read_text()
    # On the coloured ground, the colours change places.
    reversed_ = drawing.replace(GROUND, "#ground").replace("#fff", GROUND).replace("#ground", "#fff")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=["--no-sandbox"])
        page = browser.new_page()
        for size in HOME_SCREEN_PX:
            picture = png(page, reversed_, size, drawn_part=DRAWN_PART, ground=GROUND)
            (STATIC / f"icon-{size}.png").write_bytes(picture)
        pictures = [png(page, drawing, size) for size in FAVICON_PX]
        (STATIC / "favicon.ico").write_bytes(ico(pictures))
        browser.close()


def png(
    page: Page, drawing: str, size: int, *, drawn_part: float = 1, ground: str = "transparent"
) -> bytes:
    """The drawing in the middle of a square of `size` pixels."""
    page.set_viewport_size({"width": size, "height": size})
    page.set_content(
        f"<style>* {{ margin: 0; background: {ground} }} body {{ display: grid; height: 100vh; "
        f"place-items: center }} svg {{ width: {100 * drawn_part}% }}</style>{drawing}"
    )
    return page.screenshot(omit_background=True)


def ico(pictures: list[bytes]) -> bytes:
    """An icon file: a head, an entry of 16 bytes for each picture, and the pictures as PNG."""
    head = struct.pack("<HHH", 0, 1, len(pictures))
    entries, at = b"", len(head) + 16 * len(pictures)
    for size, picture in zip(FAVICON_PX, pictures, strict=True):
        entries += struct.pack("<BBBBHHII", size, size, 0, 0, 1, 32, len(picture), at)
        at += len(picture)
    return head + entries + b"".join(pictures)


if __name__ == "__main__":
    main()
