"""The pages: one module each. A view loads, reads a form, makes one call, redirects or renders."""

from flask import Flask

from webapp.web import (
    attention,
    batches,
    blocked,
    compose,
    contacts,
    errors,
    forms,
    groups,
    help,
    history,
    install,
    list_check,
    lists,
    message_templates,
    messages,
    operator,
    overview,
    record,
    senders,
    signin,
    status,
)


def setup_pages(app: Flask) -> None:
    for module in (
        signin,
        compose,
        attention,
        messages,
        history,
        overview,
        record,
        lists,
        list_check,
        groups,
        batches,
        contacts,
        blocked,
        message_templates,
        senders,
        help,
        install,
        operator,
    ):
        app.register_blueprint(module.blueprint)
    app.register_blueprint(senders.extensions)
    for rule in app.url_map.iter_rules("signin.callback"):
        # Flask adds it to every GET; a question about the callback must sign nobody in.
        (rule.methods or set()).discard("HEAD")
    app.add_template_global(forms.zone_choices)
    errors.setup_errors(app)
    status.setup_status(app)
