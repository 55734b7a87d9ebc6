"""The singletons that modules share. Each is bound to an app by its `setup_*` step."""

from typing import TYPE_CHECKING, cast

from flask import current_app
from flask_alembic import Alembic
from flask_babel import Babel
from flask_limiter import Limiter
from flask_sqlalchemy_lite import SQLAlchemy
from flask_wtf.csrf import CSRFProtect
from huey import Huey
from huey.storage import MemoryStorage
from werkzeug.local import LocalProxy

if TYPE_CHECKING:
    from webapp.config import Settings

# Objects stay readable after a commit: no transaction may be open while we wait for sipgate,
# and a lazy reload would open one.
db = SQLAlchemy(session_options={"expire_on_commit": False})
csrf = CSRFProtect()
babel = Babel()
limiter = Limiter(key_func=lambda: "", in_memory_fallback_enabled=True)
# Its real storage and its app come from `tasks.setup_queue`.
queue = Huey("team-sms", storage_class=MemoryStorage, results=False)
alembic = Alembic(run_mkdir=False, command_name="db")

settings = cast("Settings", LocalProxy(lambda: current_app.config["SETTINGS"]))
"""The running app's settings, typed; `create_app` puts them there."""
