"""The pages. A view loads (own or 404), reads a form, makes one call, and redirects or renders."""

from flask import Flask

from webapp.views import (
    attention,
    auth,
    batches,
    contacts,
    errors,
    extensions,
    history,
    message_templates,
    messages,
    ops,
    senders,
    status,
)


def setup_views(app: Flask) -> None:
    for module in (
        auth,
        messages,
        history,
        batches,
        contacts,
        message_templates,
        extensions,
        senders,
        ops,
        attention,
    ):
        app.register_blueprint(module.blueprint)
    errors.setup_errors(app)
    status.setup_status(app)
