"""What we compare with: the least Flask that does the same, under the same gunicorn settings.

`python -m tests.benchmarks.bare`, with the app's own environment. `/pooled` and `/anew` take a form
and make the app's call upstream, with one `requests.Session` per thread or with `requests.post`,
which opens a connection each time; no database, no checks, no session. `/form` is a Flask-WTF form
in a page.
"""

import os
import threading
from typing import Any

import requests
from flask import Flask, redirect, render_template_string, request
from flask_wtf import CSRFProtect, FlaskForm
from gunicorn.app.base import BaseApplication
from wtforms import SelectField, StringField, TextAreaField
from wtforms.validators import DataRequired

from tests.benchmarks.authority import trust_it
from webapp.config import Settings
from webapp.server import options

PAGE = """<!doctype html><html lang="en"><head><meta charset="utf-8"><title>Send</title></head>
<body><main><h1>Send</h1><form method="post" action="/pooled">{{ form.csrf_token }}
{% for field in (form.sms_id, form.recipient, form.message) %}
<p>{{ field.label }} {{ field }}</p>{% endfor %}
<button type="submit">Send</button></form></main></body></html>"""


class Form(FlaskForm):  # type: ignore[misc]
    sms_id = SelectField("From", choices=[("s0", "Benchmark (s0)")])
    recipient = StringField("To", validators=[DataRequired()])
    message = TextAreaField("Message", validators=[DataRequired()])


def make_app(settings: Settings) -> Flask:
    app = Flask(__name__)
    app.config["SECRET_KEY"] = settings.secret_key[0]
    csrf = CSRFProtect(app)
    threads = threading.local()
    url = f"{settings.sipgate_api_url}/sessions/sms"

    def call(post: Any) -> Any:
        body = {name: request.form[name] for name in ("recipient", "message")}
        answer = post(
            url,
            json={"smsId": request.form["sms_id"], **body},
            headers={"Authorization": "Bearer a", "Accept": "application/json"},
            timeout=20,
        )
        answer.raise_for_status()
        return redirect("/form", 303)

    @app.post("/pooled")
    @csrf.exempt
    def pooled() -> Any:
        if not hasattr(threads, "session"):
            threads.session = requests.Session()
            threads.session.trust_env = False
        return call(threads.session.post)

    @app.post("/anew")
    @csrf.exempt
    def anew() -> Any:
        return call(requests.post)

    @app.get("/form")
    def form() -> Any:
        return render_template_string(PAGE, form=Form())

    @app.get("/healthz")
    def healthz() -> Any:
        return "ok"

    return app


class Server(BaseApplication):  # type: ignore[misc]
    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        super().__init__()

    def load_config(self) -> None:
        for name, value in options(self._settings).items():
            self.cfg.set(name, value)

    def load(self) -> Flask:
        return make_app(self._settings)


if __name__ == "__main__":
    trust_it()
    Server(Settings.from_mapping(os.environ)).run()
