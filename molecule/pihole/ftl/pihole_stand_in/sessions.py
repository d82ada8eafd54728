"""A STAND-IN for pihole-FTL: who has logged in, how many may, and how often one may guess."""

from __future__ import annotations

import base64
import secrets
import time
from dataclasses import dataclass
from typing import Any

from .settings import HASH, Refused, Settings, fits

GUESSES_A_SECOND = 3


@dataclass
class Session:
    sid: str
    csrf: str
    login_at: float
    valid_until: float
    remote: str
    agent: str | None
    app: bool


class Sessions:
    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.seats: dict[int, Session] = {}
        self._second, self._guesses = 0, 0

    @property
    def open_to_all(self) -> bool:
        return not self.settings.values[HASH]

    def find(self, sid: str) -> int | None:
        """The seat of a session that is valid, and goes on to be."""
        for seat, session in self.seats.items():
            if secrets.compare_digest(session.sid, sid) and session.valid_until >= time.time():
                session.valid_until = time.time() + self._timeout
                return seat
        return None

    def log_in(self, password: str, remote: str, agent: str | None) -> int | None:
        """The seat of a new session; none if the password is wrong."""
        self._count()
        main = fits(password, self.settings.values[HASH])
        app = not main and fits(password, self.settings.values["webserver.api.app_pwhash"])
        if not (main or app):
            return None
        self._guesses -= 1  # those who know it do not count
        now = time.time()
        self.seats = {seat: each for seat, each in self.seats.items() if each.valid_until >= now}
        most = self.settings.values["webserver.api.max_sessions"]
        free = next((seat for seat in range(most) if seat not in self.seats), None)
        if free is None:
            hint = "increase webserver.api.max_sessions"
            raise Refused(429, "api_seats_exceeded", "API seats exceeded", hint)
        sid, csrf = (base64.b64encode(secrets.token_bytes(16)).decode() for _ in range(2))
        self.seats[free] = Session(sid, csrf, now, now + self._timeout, remote, agent, app)
        return free

    def _count(self) -> None:
        now = int(time.time())
        self._guesses = self._guesses + 1 if now == self._second else 1
        self._second = now
        if self._guesses > GUESSES_A_SECOND:
            raise Refused(429, "rate_limiting", "Rate-limiting login attempts")

    @property
    def _timeout(self) -> int:
        return int(self.settings.values["webserver.session.timeout"])

    def shown(self, seat: int | None, message: str) -> dict[str, Any]:
        if seat is None:
            valid = self.open_to_all
            told: dict[str, Any] = {"valid": valid, "totp": False, "sid": None, "validity": -1, "message": message}
            return {"session": told}
        session = self.seats[seat]
        told = {"valid": True, "totp": False, "sid": session.sid, "csrf": session.csrf}
        return {"session": told | {"validity": int(session.valid_until - time.time()), "message": message}}

    def all(self, current: int | None) -> dict[str, Any]:
        return {
            "sessions": [
                {
                    "id": seat,
                    "current_session": seat == current,
                    "valid": session.valid_until >= time.time(),
                    "tls": {"login": False, "mixed": False},
                    "login_at": int(session.login_at),
                    "last_active": int(session.valid_until - self._timeout),
                    "valid_until": int(session.valid_until),
                    "remote_addr": session.remote,
                    "user_agent": session.agent,
                    "x_forwarded_for": None,
                    "app": session.app,
                    "cli": False,
                }
                for seat, session in sorted(self.seats.items())
            ]
        }
