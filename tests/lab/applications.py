"""The applications of a virtual home's site-wyse, as somebody describes them: stacks that ship, and two of his own."""

from __future__ import annotations

from tests.lab import registry
from tests.lab.conftest import Homelab

NAS, DATABASE, SITE = "192.168.50.20", "192.168.50.10", "192.168.50.11"
LAN = "192.168.50.0/24"
# db-wyse stands for the rest of the world, too: it has the registry, and elsewhere's repository, which forgets nothing.
REGISTRY = f"{DATABASE}:{registry.PORT}"
ELSEWHERE = 8443
MLFLOW, DOOR = f"http://{SITE}:5000", f"https://{SITE}"
NOTES, CALENDAR = "http://127.0.0.1:8000/notes", "http://127.0.0.1:5232/ada/home/"
LABELS, CHATS = "http://127.0.0.1:8080", "http://127.0.0.1:8085"
ADA = ("ada", "the-password-of-ada")
MAIL = "ada@home.arpa"
FRIEND = ("site-wyse", "the-password-of-the-friend")
# Seconds in which a stack that needs a long time to start under emulation has done so.
SLOW = 900

SITES = """
https:// {
	import host
	root * /www
	file_server
}
"""
CALENDAR_CONFIG = """
[server]
hosts = 127.0.0.1:5232
[auth]
type = htpasswd
htpasswd_filename = /run/credentials/stack-calendar.service/people
htpasswd_encryption = plain
[storage]
filesystem_folder = /mnt/data/calendar
"""


def describe(homelab: Homelab, images: dict[str, str]) -> None:
    """What site-wyse runs."""
    made = ["mlflow_admin", "mlflow_session", "labels_first", "labels_key", "chats_session", "chats_admin"]
    secrets = ["stacks_backup", *made, *(f"{stack}_database" for stack in ("mlflow", "labels", "notes"))]
    slow = {"seconds": SLOW}
    homelab.tell(
        "site-wyse",
        provision_secrets=secrets,
        provision_mounts=[{"source": f"{NAS}:/srv/data", "path": "/mnt/data"}],
        docker_insecure_registries=[REGISTRY],
        app_stacks_backup_key="{{ secret_stacks_backup }}",
        app_stacks_backup_second_repository={
            "repository": f"rest:https://{DATABASE}:{ELSEWHERE}/site-wyse",
            "environment": {
                "RESTIC_REST_USERNAME": FRIEND[0],
                "RESTIC_REST_PASSWORD": FRIEND[1],
            },
            "certificate": "{{ provision_authority }}",
        },
        app_stacks=[
            {
                "name": "mlflow",
                "stack": "mlflow",
                "images": {"mlflow": images["mlflow:3.17.2"]},
                "database": {"host": "db-wyse", "password": "{{ secret_mlflow_database }}"},
                "secrets": {
                    "admin_password": "{{ secret_mlflow_admin }}",
                    "session_key": "{{ secret_mlflow_session }}",
                },
                "environment": {"ADDRESS": "0.0.0.0", "ALLOWED_HOSTS": f"{SITE}:5000"},
                "ports": [{"port": 5000, "sources": [LAN]}],
                "health": slow,
            },
            {
                "name": "labels",
                "stack": "label-studio",
                "images": {"label-studio": images["label-studio:1.23.2"]},
                "database": {"host": "db-wyse", "password": "{{ secret_labels_database }}"},
                "secrets": {"first_password": "{{ secret_labels_first }}", "secret_key": "{{ secret_labels_key }}"},
                "environment": {"SITE_URL": LABELS, "FIRST_USER": MAIL},
                "health": slow,
            },
            {
                # Nothing that it has been told depends on its model.
                "name": "chats",
                "stack": "open-webui",
                "images": {"open-webui": images["open-webui:0.12.4"]},
                "secrets": {
                    "session_key": "{{ secret_chats_session }}",
                    "admin_password": "{{ secret_chats_admin }}",
                    "inference_key": "none",
                },
                "environment": {"INFERENCE_URL": "http://127.0.0.1:9/v1", "ADMIN_EMAIL": MAIL, "SITE_URL": CHATS},
                "health": slow,
            },
            {
                # It is published for everybody, and declared for nobody.
                "name": "notes",
                "stack": "own-app",
                "images": {"app": images["own-app:1.0"]},
                "database": {"host": "db-wyse", "password": "{{ secret_notes_database }}"},
                "environment": {"ADDRESS": "0.0.0.0"},
                "health": slow,
            },
            {
                "name": "calendar",
                "kind": "service",
                "version": "3",
                "account": 3110,
                "debian_packages": ["python3-radicale"],
                "command": ["/usr/bin/python3", "-m", "radicale", "--config", "${STACK_FILES}/config"],
                "files": {"config": CALENDAR_CONFIG},
                "mounts": ["/mnt/data"],
                "secrets": {"people": ":".join(ADA)},
                "health": {"url": "http://127.0.0.1:5232/.web/", "contains": "Radicale", **slow},
                "memory": "300M",
            },
            {
                "name": "door",
                "stack": "caddy",
                "images": {"caddy": images["caddy:2.11.2"]},
                "files": {"sites.caddy": SITES},
                "secrets": {"people": "ada $2b$10$y3kTc6cTiusBvvb5ZQntnur3Lnv7/NjqRBu5Selq/WGljmqT5G/2O"},
                "ports": [{"port": 443}],
                "health": slow,
            },
        ],
    )
