"""The pages. A view loads (own or 404), reads a form, makes one call, and redirects or renders."""

from flask import Flask

from webapp.web import (
    attention,
    batches,
    compose,
    contacts,
    errors,
    extensions,
    help,
    history,
    message_templates,
    messages,
    operator,
    senders,
    signin,
    status,
)


def setup_views(app: Flask) -> None:
    for module in (
        signin,
        compose,
        attention,
        messages,
        history,
        batches,
        contacts,
        message_templates,
        extensions,
        senders,
        help,
        operator,
    ):
        app.register_blueprint(module.blueprint)
    for rule in app.url_map.iter_rules("signin.callback"):
        # Flask adds it to every GET; a question about the callback must sign nobody in.
        (rule.methods or set()).discard("HEAD")
    errors.setup_errors(app)
    status.setup_status(app)
