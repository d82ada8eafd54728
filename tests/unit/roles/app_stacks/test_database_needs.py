"""Whether a stack is let in to its own database, asked of a real server that proves itself as those of the site do."""

from __future__ import annotations

import socket
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from homelab_provision.identity.certificates import new_authority
from tests.unit.roles import programs
from tests.unit.roles.app_stacks.proven_server import ADDRESS, PASSWORD, Proven, free_port
from tests.unit.roles.postgres.server import PROGRAMS, running

needs = programs.stacks("needs")


@pytest.fixture(scope="module")
def server() -> Iterator[Proven]:
    with running(Proven) as made:
        yield made


def lacking(port: int, **said: Any) -> list[str]:
    told = {"host": ADDRESS, "port": port, **said}
    return list(needs.lacking(needs.parse({"mounts": [], "databases": [told]}, "stack notes, needs")))


def own(server: Proven, **said: str) -> dict[str, str]:
    """What the stack `notes` says of its database."""
    return {"database": "notes", "user": "notes", "authority": server.authority.certificate, **said}


@pytest.mark.processes
def test_who_is_asked_for_a_password_lacks_nothing(server: Proven) -> None:
    assert lacking(server.port, **own(server)) == []
    assert lacking(server.port) == []


@pytest.mark.processes
@pytest.mark.negative
def test_what_the_server_has_against_somebody_is_told(server: Proven) -> None:
    (said,) = lacking(server.port, **own(server, database="wiki"))
    assert said.startswith(f"the database server {ADDRESS}:{server.port} (pg_hba.conf rejects connection for host")
    assert '"wiki"' in said


@pytest.mark.processes
@pytest.mark.negative
def test_a_server_that_is_not_the_sites_is_not_taken_for_it(server: Proven) -> None:
    (said,) = lacking(server.port, **own(server, authority=new_authority("other").certificate))
    assert "certificate verify failed" in said.lower()


@pytest.mark.processes
@pytest.mark.negative
def test_a_server_that_came_later_is_not_known_by_the_certificate_from_before(server: Proven) -> None:
    (said,) = lacking(server.port, **own(server, authority=server.before.certificate))
    assert "permitted subtree violation" in said


@pytest.mark.processes
@pytest.mark.negative
def test_its_certificate_has_to_be_good_for_the_address(server: Proven) -> None:
    (said,) = lacking(server.port, **own(server), host="localhost")
    assert "Hostname mismatch" in said


@pytest.mark.processes
@pytest.mark.negative
@pytest.mark.parametrize(
    ("answer", "told"), [(b"N", "it speaks no TLS"), (b"HTTP", "it does not speak PostgreSQL"), (b"", "does not speak")]
)
def test_what_is_no_such_server_is_told(server: Proven, answer: bytes, told: str) -> None:
    with socket.create_server((ADDRESS, 0)) as stranger:

        def say() -> None:
            connection, _ = stranger.accept()
            with connection:
                connection.recv(8)
                connection.sendall(answer)

        threading.Thread(target=say, daemon=True).start()
        (said,) = lacking(stranger.getsockname()[1], **own(server))
    assert told in said
    assert "(Connection refused)" in lacking(free_port(), **own(server))[0]


@pytest.mark.processes
def test_a_client_with_what_a_stack_is_given_gets_in(server: Proven, tmp_path: Path) -> None:
    authority = tmp_path / "ca.crt"
    authority.write_text(server.authority.certificate)
    server.make_notes()
    assert PROGRAMS
    words = f"host={ADDRESS} port={server.port} dbname=notes user=notes sslmode=verify-full sslrootcert={authority}"
    done = subprocess.run(
        [PROGRAMS / "psql", "-XAtqw", words, "-c", "SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()"],
        env={"PGPASSWORD": PASSWORD, "PATH": "/usr/bin:/bin", "HOME": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout) == (0, "t\n"), done.stderr


@pytest.mark.negative
@pytest.mark.parametrize("word", ["database", "user", "authority"])
def test_half_of_what_is_needed_is_no_need(word: str) -> None:
    said = {"database": "notes", "user": "notes", "authority": "a certificate", word: ""}
    with pytest.raises(programs.stacks("values").Wrong, match="one is missing"):
        lacking(1, **said)
