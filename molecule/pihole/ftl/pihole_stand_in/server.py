"""A STAND-IN for pihole-FTL: its web server, with HTTP and TLS at the ports that `webserver.port` names."""

from __future__ import annotations

import json
import re
import socket
import ssl
import threading
import time
from http.cookies import SimpleCookie
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

from .ftl import Ftl, Request


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Server

    def do_GET(self) -> None:
        ftl, started = self.server.ftl, time.monotonic()
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        if time.monotonic() < ftl.silent_until:  # it is starting anew
            self.close_connection = True
            return
        reply = ftl.answer(self._request(body))
        if isinstance(reply.body, bytes):
            self._send(reply.status, "application/zip", reply.body)
        elif isinstance(reply.body, str):
            self._send(reply.status, "text/plain", reply.body.encode())
        elif reply.body is None:
            self._send(reply.status, "application/json; charset=utf-8", b"")
        else:
            text = json.dumps({**reply.body, "took": time.monotonic() - started})
            self._send(reply.status, "application/json; charset=utf-8", text.encode())

    do_POST = do_PUT = do_PATCH = do_DELETE = do_GET  # noqa: N815 - the names that the library looks for

    def _request(self, body: bytes) -> Request:
        where = urlsplit(self.path)
        query = {name: values[-1] for name, values in parse_qs(where.query).items()}
        kind = self.headers.get("Content-Type", "")
        try:
            told: Any = json.loads(body) if body and "multipart" not in kind else None
        except ValueError:
            told = None
        asked = Request(self.command, where.path, query, told, kind, body, self.client_address[0])
        asked.agent = self.headers.get("User-Agent")
        asked.sid = told.get("sid") if isinstance(told, dict) else None
        asked.sid = asked.sid or self.headers.get("sid") or self.headers.get("X-FTL-SID")
        cookie = SimpleCookie(self.headers.get("Cookie", "")).get("sid")
        if asked.sid is None and cookie is not None:
            asked.sid = cookie.value
            known = [each for each in self.server.ftl.sessions.seats.values() if each.sid == cookie.value]
            asked.forged = [each.csrf for each in known] != [self.headers.get("X-CSRF-TOKEN")]
        asked.sid = asked.sid or (query["sid"].replace(" ", "+") if "sid" in query else None)
        return asked

    def _send(self, status: int, kind: str, body: bytes) -> None:
        self.send_response(status)
        if body:
            self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:
        pass


class Server(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, ftl: Ftl, address: str, port: int, certificate: str | None = None) -> None:
        self.ftl = ftl
        self.address_family = socket.AF_INET6 if ":" in address else socket.AF_INET
        super().__init__((address, port), Handler)
        if certificate:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(certificate)
            self.socket = context.wrap_socket(self.socket, server_side=True, do_handshake_on_connect=False)

    def server_bind(self) -> None:
        if self.address_family == socket.AF_INET6:
            self.socket.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        super().server_bind()

    def begin(self) -> Server:
        threading.Thread(target=self.serve_forever, daemon=True).start()
        return self


def serve(ftl: Ftl) -> list[Server]:
    """Servers for every port of `webserver.port`: ADDRESS:PORT and letters, `s` for TLS, `o` for one that may fail."""
    servers = []
    for word in ftl.settings.values["webserver.port"].split(","):
        found = re.fullmatch(r"(?:\[?([0-9a-fA-F:.]+?)\]?:)?(\d+)([osr]*)", word.strip())
        if found is None:
            raise SystemExit(f"webserver.port: {word!r} is no port")
        certificate = ftl.settings.values["webserver.tls.cert"] if "s" in found[3] else None
        try:
            servers.append(Server(ftl, found[1] or "0.0.0.0", int(found[2]), certificate).begin())
        except OSError as error:
            if "o" not in found[3]:
                raise SystemExit(f"webserver.port: {word}: {error}") from None
    return servers
