"""A session with the API of Pi-hole 6: opened once, always closed. Standard library only, as it lies on hosts as well.

There are sixteen seats by default, and one that is not given back is taken for half an hour.
"""

from __future__ import annotations

import http.client
import json
import ssl
import time
from collections.abc import Callable
from contextlib import suppress
from types import TracebackType
from typing import Any, NamedTuple, Self
from urllib.parse import urlsplit

# By this it is seen whose a session is.
AGENT = "homelab-provision"
TIMEOUT, PAUSE = 30.0, 0.5
# Fetching lists takes as long as it takes.
GRAVITY_TIMEOUT = 1800.0


class PiholeError(Exception):
    """What went wrong, and what to do about it."""

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(f"{message} → {hint}" if hint else message)
        self.message, self.hint = message, hint


class Gone(PiholeError):
    """Nobody answered, or not to the end."""


class Answer(NamedTuple):
    status: int
    data: bytes

    @property
    def json(self) -> Any:
        try:
            return json.loads(self.data or b"{}")
        except ValueError:
            return {}

    @property
    def key(self) -> str:
        """What FTL calls an error."""
        return str(self._error.get("key", ""))

    @property
    def words(self) -> str:
        """An error in FTL's own words."""
        told = [str(self._error[name]) for name in ("message", "hint") if self._error.get(name)]
        return ": ".join(told) or f"HTTP status {self.status}"

    @property
    def _error(self) -> dict[str, Any]:
        found = self.json.get("error") if isinstance(self.json, dict) else None
        return found if isinstance(found, dict) else {}


class Session:
    """`url` as in http://127.0.0.1:80, `authority` a file with the certificate that answers for one with https.

    `patience`: how long to wait for a Pi-hole that is starting, in seconds.
    """

    def __init__(self, url: str, password: str, authority: str | None = None, patience: float = 60.0) -> None:
        self._url, self._password, self._patience = urlsplit(url), password, patience
        self._context = ssl.create_default_context(cafile=authority) if self._url.scheme == "https" else None
        self._sid: str | None = None

    @property
    def where(self) -> str:
        return f"Pi-hole at {self._url.netloc}"

    def __enter__(self) -> Self:
        answer = self._patiently(lambda: self._once("POST", "auth", {"password": self._password}), self._is_throttled)
        if answer.key == "api_seats_exceeded":
            raise PiholeError(
                f"{self.where}: all of its sessions are taken",
                "log out in the browsers that have it open, or wait for half an hour; a program that logs in again and "
                "again without logging out takes them all (webserver.api.max_sessions)",
            )
        found = answer.json.get("session", {}) if isinstance(answer.json, dict) else {}
        if answer.status == 401 and not answer.key:
            hint = "it has another one: apply the host, which starts it anew with the one of the site"
            raise PiholeError(f"{self.where} refuses the password", hint)
        if answer.status != 200 or not found.get("valid"):
            raise PiholeError(f"{self.where} lets nobody in: {answer.words}")
        if not found.get("sid"):
            raise PiholeError(f"{self.where} has no password", "set pihole_password, then apply the host")
        self._sid = str(found["sid"])
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        # It may be starting anew, for what was just changed; sessions outlive that. Whatever it says now, it is closed.
        try:
            self._patiently(lambda: self._once("DELETE", "auth"))
        except PiholeError:
            if error is None:
                raise
        finally:
            self._sid = None

    def get(self, path: str) -> Any:
        return self._accepted(self._patiently(lambda: self._once("GET", path)), path).json

    def download(self, path: str) -> bytes:
        return self._accepted(self._patiently(lambda: self._once("GET", path)), path).data

    def send(self, method: str, path: str, body: Any = None, timeout: float = TIMEOUT) -> Any:
        """Change something. It is not tried again: nobody knows how far it came."""
        return self._accepted(self._once(method, path, body, timeout), path).json

    def upload(self, path: str, name: str, data: bytes, **fields: str) -> Any:
        """Send a file, as a form would."""
        mark = "homelab-provision-form-3f1c6a70"
        parts = [
            f'--{mark}\r\nContent-Disposition: form-data; name="{key}"\r\n\r\n{text}\r\n'
            for key, text in fields.items()
        ]
        head = f'--{mark}\r\nContent-Disposition: form-data; name="file"; filename="{name}"\r\n'
        body = "".join(parts).encode() + head.encode() + b"Content-Type: application/zip\r\n\r\n" + data
        body += f"\r\n--{mark}--\r\n".encode()
        answer = self._raw("POST", path, body, f"multipart/form-data; boundary={mark}", GRAVITY_TIMEOUT)
        return self._accepted(answer, path).json

    def wait(self) -> None:
        """Until it answers again, after what makes it start anew."""
        self._patiently(lambda: self._once("GET", "auth"))

    def _accepted(self, answer: Answer, path: str) -> Answer:
        if answer.status < 300:
            return answer
        hints = {
            403: "an app password changes settings only with webserver.api.app_sudo",
            404: "is it older than Pi-hole 6?",
        }
        raise PiholeError(
            f"{self.where} refuses {path.partition('?')[0]}: {answer.words}", hints.get(answer.status, "")
        )

    @staticmethod
    def _is_throttled(answer: Answer) -> bool:
        return answer.status == 429 and answer.key == "rate_limiting"

    def _patiently(self, ask: Callable[[], Answer], again: Callable[[Answer], bool] = lambda answer: False) -> Answer:
        deadline = time.monotonic() + self._patience
        while True:
            late = time.monotonic() > deadline
            try:
                answer = ask()
                if late or not again(answer):
                    return answer
            except Gone:
                if late:
                    raise
            time.sleep(PAUSE)

    def _once(self, method: str, path: str, body: Any = None, timeout: float = TIMEOUT) -> Answer:
        data = None if body is None else json.dumps(body).encode()
        return self._raw(method, path, data, "application/json", timeout)

    def _raw(self, method: str, path: str, data: bytes | None, kind: str, timeout: float) -> Answer:
        headers = {"User-Agent": AGENT, "Content-Type": kind} | ({"X-FTL-SID": self._sid} if self._sid else {})
        host = self._url.netloc
        connection = (
            http.client.HTTPSConnection(host, timeout=timeout, context=self._context)
            if self._context
            else http.client.HTTPConnection(host, timeout=timeout)
        )
        try:
            connection.request(method, f"/api/{path}", data, headers)
            answer = connection.getresponse()
            return Answer(answer.status, answer.read())
        except ssl.SSLCertVerificationError as error:
            hint = "its certificate has to be of the site's authority, for that address"
            raise PiholeError(f"{self.where} is not known: {error.verify_message}", hint) from None
        except (OSError, http.client.HTTPException) as error:
            hint = "systemctl status pihole.service"
            raise Gone(f"{self.where} does not answer ({error or type(error).__name__})", hint) from None
        finally:
            with suppress(OSError):
                connection.close()
