"""A real server of databases that proves itself as those of the site do, and has a database for the stack `notes`."""

from __future__ import annotations

import shutil
import socket

from homelab_provision.identity.certificates import Certificate, Named, issue, new_authority, renewed
from tests.unit.roles import modules
from tests.unit.roles.postgres.server import Server

hba = modules.part("hba", "postgres")

ADDRESS, PASSWORD = "127.0.0.1", "pass'word"
SERVER = Named("db-wyse", ADDRESS)


def free_port() -> int:
    with socket.create_server((ADDRESS, 0)) as taken:
        return int(taken.getsockname()[1])


class Proven(Server):
    """A server with a certificate of the site, which lets `notes` into `notes` and nobody else."""

    port = free_port()
    settings = f"-c listen_addresses={ADDRESS} -c port={port} -c ssl=on -c password_encryption=scram-sha-256"
    # Of the site as it was before it had this server, and since.
    before: Certificate
    authority: Certificate

    def _write_hba(self, way: str, administrator: str) -> None:
        self.before = new_authority("lab", [Named("site-wyse")])
        self.authority = renewed(self.before, [SERVER])
        shown = issue(self.authority, SERVER.name, SERVER.address)
        clients = [{"address": ADDRESS, "database": "notes", "user": "notes"}]
        data = self.folder / "data"
        for name, text in {
            "server.crt": shown.certificate,
            "server.key": shown.private,
            "pg_hba.conf": hba.text(clients),
        }.items():
            (data / name).write_text(text)
            shutil.chown(data / name, "postgres", "postgres")
            (data / name).chmod(0o600)

    def administrator(self, statement: str) -> None:
        self.run("psql", "-XAtq", f"--host={self.folder}", f"--port={self.port}", "-c", statement)

    def make_notes(self) -> None:
        self.administrator(f"CREATE ROLE notes LOGIN PASSWORD '{PASSWORD.replace(chr(39), chr(39) * 2)}'")
        self.administrator("CREATE DATABASE notes OWNER notes")
