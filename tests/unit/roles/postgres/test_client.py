"""The conversation with PostgreSQL, with the server's part written beforehand."""

from __future__ import annotations

import json
import os
import socket
import struct
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.unit.roles import modules

client = modules.part("client", "postgres")

READY = (b"Z", b"I")
LET_IN = [(b"R", struct.pack("!i", 0)), (b"S", b"TimeZone\0Etc/UTC\0"), READY]
DONE = (b"C", b"SET\0")


def row(*values: str | None) -> tuple[bytes, bytes]:
    fields = [struct.pack("!i", -1) if value is None else _field(value.encode()) for value in values]
    return b"D", struct.pack("!h", len(values)) + b"".join(fields)


def _field(value: bytes) -> bytes:
    return struct.pack("!i", len(value)) + value


def error(severity: str, state: str, message: str, hint: str = "") -> tuple[bytes, bytes]:
    fields = [f"V{severity}", f"C{state}", f"M{message}", *([f"H{hint}"] if hint else [])]
    return b"E", "".join(f"{field}\0" for field in fields).encode() + b"\0"


def talk(*answers: tuple[bytes, bytes]) -> tuple[Any, socket.socket]:
    """A session whose server says all of this, one thing after the other; and the server's end."""
    ours, theirs = socket.socketpair()
    for kind, body in [*LET_IN, DONE, READY, *answers]:
        theirs.sendall(kind + struct.pack("!i", len(body) + 4) + body)
    return client.Session(ours, "spans"), theirs


def test_rows_come_with_their_nulls() -> None:
    session, _ = talk((b"T", b"\0\0"), row("one", None), row("zwölf", ""), DONE, READY)
    assert session.query("SELECT …") == [["one", None], ["zwölf", ""]]


def test_document_is_decoded() -> None:
    session, _ = talk(row(json.dumps({"a": [1]})), DONE, READY)
    assert session.document("SELECT …") == {"a": [1]}


def test_who_comes_says_so_and_is_discreet() -> None:
    session, theirs = talk(DONE, READY)
    session.query("SELECT 'zwölf'")
    heard = theirs.recv(10000)
    assert heard[4:].startswith(struct.pack("!hh", 3, 0) + b"user\0postgres\0database\0spans\0")
    assert b"SET log_statement = 'none'" in heard
    assert heard.endswith("SELECT 'zwölf'\0".encode())


def test_refusal_tells_why_and_the_session_goes_on() -> None:
    session, _ = talk(error("ERROR", "42P01", "no such table", "look again"), READY, row("1"), DONE, READY)
    with pytest.raises(client.SqlError, match="no such table; look again") as refused:
        session.query("SELECT 'secret'")
    assert refused.value.state == client.UNDEFINED_TABLE
    assert "secret" not in str(refused.value)
    assert session.query("SELECT 1") == [["1"]]


def test_server_that_ends_the_conversation_is_heard_out() -> None:
    session, _ = talk(error("FATAL", "57P01", "terminating connection due to administrator command"))
    with pytest.raises(client.SqlError, match="administrator command"):
        session.query("SELECT 1")


def test_server_that_hangs_up_is_told() -> None:
    session, theirs = talk()
    theirs.close()
    with pytest.raises(client.UnreachableError, match="hung up"):
        session.query("SELECT 1")


def test_password_is_not_something_we_have() -> None:
    ours, theirs = socket.socketpair()
    theirs.sendall(b"R" + struct.pack("!ii", 8, 10))
    with pytest.raises(client.UnreachableError, match="local all postgres peer"):
        client.Session(ours, "spans")


def test_nobody_there_is_told(tmp_path: Path) -> None:
    with (
        pytest.raises(client.UnreachableError, match="nothing answers at"),
        client.session(str(tmp_path), 5432, os.geteuid()),
    ):
        pass


def test_module_documents_what_it_takes() -> None:
    cluster = modules.module("postgres_cluster", "postgres")
    assert yaml.safe_load(cluster.DOCUMENTATION)["options"].keys() == cluster.arguments().keys()
