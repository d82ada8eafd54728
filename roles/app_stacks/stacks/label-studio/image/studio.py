"""Label Studio as a server loads it: with its database as it wants it, a first user, and declared back ends."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import declared
import label_studio

# It calls its parts without its own name.
sys.path.insert(0, str(Path(label_studio.__file__).parent))
os.environ["DJANGO_SETTINGS_MODULE"] = "core.settings.label_studio"

from django.core.management import call_command
from django.core.wsgi import get_wsgi_application

application = get_wsgi_application()

from core import urls  # noqa: E402
from core.utils.exceptions import SsrfBlockedUrlError  # noqa: E402
from django.db import connections  # noqa: E402
from django.db.models.signals import post_save  # noqa: E402
from django.http import HttpResponse, HttpResponseNotFound  # noqa: E402
from django.urls import path  # noqa: E402
from label_studio.server import _create_user  # noqa: E402
from ml import api_connector, models, serializers  # noqa: E402
from users.models import User  # noqa: E402


def prepare() -> None:
    """Later passwords of the first user are its own business."""
    call_command("migrate", no_color=True, verbosity=0)
    if not User.objects.exists():
        words: dict[str, Any] = {"user_token": None, "quiet_mode": True, "enable_legacy_api_token": False}
        password = Path("/run/secrets/first_password").read_text().rstrip("\n")
        _create_user(SimpleNamespace(username=os.environ["FIRST_USER"], password=password, **words), {})
    # Processes that are made of this one want connections of their own.
    connections.close_all()


def let_through(origins: tuple[str, ...]) -> None:
    """What is not there as it was in this version is an error, and nothing starts."""
    api = api_connector.BaseHTTPAPI
    api.create_session = declared.connecting(api.create_session, api_connector.HTTPAdapter, origins)
    serializers.validate_upload_url = declared.checking(serializers.validate_upload_url, origins)
    if not post_save.disconnect(models.create_ml_webhook, sender=models.MLBackend):
        raise RuntimeError("Label Studio does not make webhooks for back ends as it did")
    receive = declared.unless_refused(models.create_ml_webhook, SsrfBlockedUrlError)
    post_save.connect(receive, sender=models.MLBackend, weak=False)


def works(_: object) -> Any:
    """Whether it finds its users: what it has by itself, /health, says yes whatever has happened."""
    return HttpResponse("works\n", status=200 if User.objects.exists() else 503)


urls.urlpatterns[:0] = [
    path("works/", works),
    # Tips that it would fetch from elsewhere for whoever opens a page.
    path("heidi-tips/", lambda _: HttpResponseNotFound()),
]
let_through(declared.origins(os.environ.get("ML_BACKENDS", "")))
prepare()
