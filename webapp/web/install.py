"""What a phone or computer asks for to install the app: the manifest, and the icon of old."""

from flask import Blueprint, Response, current_app, jsonify
from flask.typing import ResponseReturnValue

from webapp.web.guard import public
from webapp.web.security import static_url

blueprint = Blueprint("install", __name__)

ICON_SIZES_PX = (192, 512)
PAPER = "#faf7f1"
"""The ground of a page in light colours, shown while the app starts."""


@blueprint.get("/manifest.webmanifest")
@public
def manifest() -> ResponseReturnValue:
    """The web manifest: with it the app can be put on a phone's home screen."""
    icons = [
        {
            "src": static_url(f"icon-{size}.png"),
            "sizes": f"{size}x{size}",
            "type": "image/png",
            "purpose": purpose,
        }
        for size in ICON_SIZES_PX
        for purpose in ("any", "maskable")
    ]
    answer = jsonify(
        id="/",
        name="Team SMS",
        short_name="Team SMS",
        start_url="/",
        scope="/",
        display="standalone",
        background_color=PAPER,
        theme_color="#fffefb",
        icons=icons,
    )
    answer.mimetype = "application/manifest+json"
    return answer


@blueprint.get("/favicon.ico")
@public
def favicon() -> Response:
    """For programs that look for the icon where it used to be."""
    return current_app.send_static_file("favicon.ico")
