"""The app on a phone's home screen: its manifest, its icons, and the icon of old."""

import struct

from flask import Flask

from tests.support.pages import Browser
from webapp.web.security import DAY_S

KEPT_FOR_A_DAY = f"public, max-age={DAY_S}"
PNG = b"\x89PNG\r\n\x1a\n"


def size_px(picture: bytes) -> tuple[int, int]:
    """The width and height that a PNG names in its head."""
    assert picture.startswith(PNG)
    width, height = struct.unpack(">II", picture[16:24])
    return width, height


def test_every_page_names_the_manifest_and_a_colour_for_day_and_night(stranger: Browser) -> None:
    soup = stranger.get("/").soup
    assert soup.select_one("link[rel=manifest]")["href"] == "/manifest.webmanifest"  # type: ignore[index]
    colours = {str(tag["media"]): tag["content"] for tag in soup.select("meta[name=theme-color]")}
    assert len(set(colours.values())) == len(colours) == 2


def test_the_manifest_makes_the_app_installable(app: Flask, stranger: Browser) -> None:
    response = stranger.get("/manifest.webmanifest").response
    assert response.mimetype == "application/manifest+json"
    assert response.headers["Cache-Control"] == KEPT_FOR_A_DAY
    assert "Set-Cookie" not in response.headers
    manifest = response.get_json()
    assert manifest["name"] == "Team SMS"
    assert (manifest["start_url"], manifest["scope"], manifest["display"]) == (
        "/",
        "/",
        "standalone",
    )
    assert {(one["sizes"], one["purpose"]) for one in manifest["icons"]} == {
        (size, purpose) for size in ("192x192", "512x512") for purpose in ("any", "maskable")
    }
    for icon in manifest["icons"]:
        with app.test_client().get(icon["src"], base_url=stranger.base_url) as answer:
            width, height = size_px(answer.data)
        assert f"{width}x{height}" == icon["sizes"]


def test_the_policy_lets_a_browser_read_the_manifest(stranger: Browser) -> None:
    policy = stranger.get("/").response.headers["Content-Security-Policy"]
    assert "manifest-src 'self'" in policy


def test_the_touch_icon_and_the_icon_of_old_are_there(app: Flask, stranger: Browser) -> None:
    link = stranger.get("/").soup.select_one("link[rel=apple-touch-icon]")
    assert link is not None
    client = app.test_client()
    with client.get(str(link["href"]), base_url=stranger.base_url) as answer:
        assert size_px(answer.data) == (180, 180)
    with client.get("/favicon.ico", base_url=stranger.base_url) as answer:
        assert answer.headers["Cache-Control"] == KEPT_FOR_A_DAY
        assert answer.data.startswith(b"\x00\x00\x01\x00")
        assert answer.data.count(PNG) == 3
