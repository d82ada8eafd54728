"""Run on the host itself: tries the doors of its PostgreSQL, and prints what happened as JSON.

Nobody's password is needed: a user of its own, with a password drawn at random, comes and goes again. It never leaves
this process but for the server. How a door answers from another address is asked without logging in: a server that
would let somebody in asks for the password, else it says why not.
"""

from __future__ import annotations

import contextlib
import ipaddress
import json
import os
import pwd
import secrets
import socket
import ssl
import struct
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg2

FACTS = json.loads(Path("/etc/homelab-provision/postgres.json").read_text())
SOCKET, PORT = FACTS["socket"], FACTS["port"]
# For documentation only (RFC 5737): no host of any network has it.
FOREIGN = "198.51.100.1"
SECONDS = 5
SSL_REQUEST, PROTOCOL = 80877103, 3 << 16
ASKS_FOR_PASSWORD = "asks for the password"


def run(words: list[str]) -> str:
    """What a program prints, errors and all."""
    done = subprocess.run(
        words, text=True, check=False, cwd="/", stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=60
    )
    return done.stdout.strip()


def administrator(sql: str) -> str:
    """What the server says to the account postgres, whom it knows by looking at the socket's other end."""
    os.seteuid(pwd.getpwnam("postgres").pw_uid)
    try:
        return log_in(SOCKET, "postgres", "", "postgres", sql)
    finally:
        os.seteuid(0)


@contextlib.contextmanager
def visitor() -> Iterator[tuple[str, str]]:
    """A user without any rights, for as long as the block lasts: name and password."""
    name, password = f"verify_{secrets.token_hex(4)}", secrets.token_hex(16)
    administrator(f"CREATE ROLE {name} LOGIN PASSWORD '{password}'")
    try:
        yield name, password
    finally:
        administrator(f"DROP OWNED BY {name}; DROP ROLE {name}")


def log_in(host: str, user: str, password: str, database: str, sql: str) -> str:
    """What the server says to somebody who comes with this password: the values that `sql` gives, or the refusal."""
    where = {"host": host, "port": PORT, "sslmode": "require", "connect_timeout": SECONDS}
    try:
        with (
            contextlib.closing(psycopg2.connect(**where, user=user, password=password, dbname=database)) as session,
            session.cursor() as cursor,
        ):
            session.autocommit = True
            cursor.execute(sql)
            return "\n".join(str(value) for row in cursor for value in row) if cursor.description else ""
    except psycopg2.Error as error:
        return error.diag.message_primary or str(error).strip()


def door(address: str, source: str, user: str, database: str, tls: bool = True) -> str:
    """How the server answers at `address` to a user who comes from `source`.

    Word by word, as in the manual's chapter on the protocol: libpq comes from no address of one's choice, and does not
    stop before it logs in.
    """
    try:
        with (
            socket.create_connection((address, PORT), SECONDS, (source, 0)) as plain,
            _secured(plain) if tls else contextlib.nullcontext(plain) as peer,
        ):
            words = f"user\0{user}\0database\0{database}\0\0".encode()
            peer.sendall(struct.pack("!ii", len(words) + 8, PROTOCOL) + words)
            return _told(peer.recv(4096))
    except OSError as error:
        return f"silence: {error}"


def _secured(plain: socket.socket) -> ssl.SSLSocket:
    plain.sendall(struct.pack("!ii", 8, SSL_REQUEST))
    if plain.recv(1) != b"S":
        raise OSError("the server does not want TLS")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.load_verify_locations("/etc/homelab-provision/tls/ca.crt")
    return context.wrap_socket(plain)


def _told(answer: bytes) -> str:
    # R with the code 10: it begins SCRAM. E: fields, each with its letter; M is the message.
    if answer[:1] == b"R":
        return ASKS_FOR_PASSWORD if struct.unpack("!i", answer[5:9])[0] == 10 else "lets in without a password"
    fields = answer[5:].split(b"\0")
    return next((field[1:].decode() for field in fields if field[:1] == b"M"), repr(answer))


@contextlib.contextmanager
def address_of_our_own(address: str) -> Iterator[None]:
    run(["ip", "address", "add", f"{address}/32", "dev", "lo"])
    try:
        yield
    finally:
        run(["ip", "address", "del", f"{address}/32", "dev", "lo"])


def firewall(address: str) -> dict[str, str]:
    """What a machine with a foreign address hears at two ports: a network namespace, joined by a pair of veths."""
    name, near, far = f"verify-{secrets.token_hex(3)}", "198.51.100.5", "198.51.100.6"
    knock = """
import socket, sys
for port in sys.argv[2:]:
    try:
        socket.create_connection((sys.argv[1], int(port)), 3).close()
        print("open")
    except OSError as error:
        print("closed" if isinstance(error, ConnectionRefusedError) else "silent")
"""
    steps = (f"netns add {name}", f"link add {name} type veth peer name {name}p netns {name}",
             f"address add {near}/30 dev {name}", f"link set {name} up",
             f"-n {name} address add {far}/30 dev {name}p", f"-n {name} link set {name}p up",
             f"-n {name} route add default via {near}")  # fmt: skip
    try:
        troubles = [output for step in steps if (output := run(["ip", *step.split()]))]
        ports = [str(PORT), "22"]
        heard = run(["ip", "netns", "exec", name, "python3", "-c", knock, address, *ports]).splitlines()
        return {**dict(zip(("postgres", "ssh"), heard, strict=False)), "trouble": "; ".join(troubles)}
    finally:
        run(["ip", "netns", "del", name])


def own_address() -> tuple[str, dict[str, str]] | None:
    """An address of this host at which the server shall listen, and the declaration that lets it in."""
    for address in run(["hostname", "-I"]).split():
        if not {address, "0.0.0.0", "::", "*"} & set(FACTS["listen"]):
            continue
        for client in FACTS["clients"]:
            if ipaddress.ip_address(address) in ipaddress.ip_network(client["address"]):
                return address, client
    return None


def over_the_network() -> dict[str, Any]:
    found = own_address()
    if found is None:
        return {}
    address, rule = found
    user = "nobody" if rule["user"] == "all" else rule["user"]
    database = "postgres" if rule["database"] == "all" else rule["database"]
    with address_of_our_own(FOREIGN):
        foreign = door(address, FOREIGN, user, database)
    return {
        "allowed": door(address, address, user, database),
        "plain": door(address, address, user, database, tls=False),
        "foreign": foreign,
        "administrator": door(address, address, "postgres", database),
        "wrong password": log_in(address, user, "wrong", database, "SELECT 'in'"),
        "firewall": firewall(address),
    }


def inside(user: str, password: str) -> dict[str, str]:
    """What a user without rights can do, coming through the Unix socket."""
    changed = secrets.token_hex(16)
    answers = {
        "right password": log_in(SOCKET, user, password, "postgres", "SELECT 'in'"),
        "wrong password": log_in(SOCKET, user, "wrong", "postgres", "SELECT 'in'"),
        "write": log_in(SOCKET, user, password, "postgres", "CREATE TABLE public.mine (number int)"),
        "read": log_in(SOCKET, user, password, "postgres", "SELECT 'in' FROM pg_authid"),
        "change": log_in(SOCKET, user, password, "postgres", f"ALTER ROLE {user} PASSWORD '{changed}'"),
        # It fails, and takes longer than anything that is logged for being slow: neither may be written down.
        "fail": log_in(SOCKET, user, changed, "postgres", f"ALTER ROLE nobody_at_all PASSWORD '{changed}'"),
    }
    for database in FACTS["databases"]:
        answers[f"enter {database}"] = log_in(SOCKET, user, changed, database, "SELECT 'in'")
    seen = run(["journalctl", "--no-pager", "--since=-5min"]) + administrator("SELECT query FROM pg_stat_statements")
    answers["passwords written down"] = str(sum(word in seen for word in (password, changed)))
    return answers


with visitor() as somebody:
    tried = {"inside": inside(*somebody), "network": over_the_network()}
print(json.dumps(tried))
