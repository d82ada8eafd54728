"""A small client of QMP, the protocol by which QEMU is told what to do: JSON lines over a unix socket."""

from __future__ import annotations

import json
import os
import socket
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Self

from homelab_provision.errors import ProvisionError


class QmpError(ProvisionError):
    """QEMU refused a command, or did not answer in time."""


def connect_unix(path: Path, deadline: float) -> socket.socket:
    """A connection to a unix socket; also where the path is longer than the 107 bytes that an address holds."""
    link = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    link.settimeout(deadline)
    folder = os.open(path.parent, os.O_PATH | os.O_DIRECTORY)
    try:
        link.connect(f"/proc/self/fd/{folder}/{path.name}")
    except BaseException:
        link.close()
        raise
    finally:
        os.close(folder)
    return link


class Qmp:
    """One conversation with a QEMU. Use as a context manager; QEMU serves one client at a time.

    `deadline` in seconds holds for connecting and for every answer.
    """

    def __init__(self, path: Path, deadline: float = 10.0) -> None:
        self._path, self._deadline = path, deadline
        self._buffer = b""
        self._events: list[dict[str, Any]] = []

    def __enter__(self) -> Self:
        until = time.monotonic() + self._deadline
        try:
            self._link = connect_unix(self._path, self._deadline)
        except OSError as error:
            raise QmpError(f"no QEMU answers at {self._path}: {error.strerror or error}") from None
        try:
            self._message(until)  # the greeting
            self.execute("qmp_capabilities")
        except BaseException:
            self._link.close()
            raise
        return self

    def __exit__(self, *error: object) -> None:
        self._link.close()

    def execute(self, command: str, arguments: Mapping[str, Any] | None = None) -> Any:
        """What `command` returns. Raises `QmpError` if QEMU refuses it."""
        question: dict[str, Any] = {"execute": command}
        if arguments:
            question["arguments"] = dict(arguments)
        try:
            self._link.sendall(json.dumps(question).encode() + b"\n")
        except OSError as error:
            raise QmpError(f"QEMU went away before `{command}`: {error}") from None
        until = time.monotonic() + self._deadline
        while True:
            message = self._message(until)
            if "event" in message:
                self._events.append(message)
            elif "error" in message:
                raise QmpError(f"QEMU refused `{command}`: {message['error'].get('desc', message['error'])}")
            elif "return" in message:
                return message["return"]

    def wait_event(self, name: str, deadline: float, device: str | None = None) -> dict[str, Any]:
        """The data of the next event `name` (of `device`, if given), also one that came in the meantime."""
        until = time.monotonic() + deadline
        while True:
            for event in self._events:
                data: dict[str, Any] = event.get("data", {})
                if event["event"] == name and device in (None, data.get("device")):
                    self._events.remove(event)
                    return data
            message = self._message(until)
            if "event" in message:
                self._events.append(message)

    def _message(self, until: float) -> dict[str, Any]:
        while b"\n" not in self._buffer:
            left = until - time.monotonic()
            if left <= 0:
                raise QmpError(f"QEMU at {self._path} does not answer")
            self._link.settimeout(left)
            try:
                chunk = self._link.recv(65536)
            except TimeoutError:
                raise QmpError(f"QEMU at {self._path} does not answer") from None
            except OSError as error:
                raise QmpError(f"the connection to QEMU broke: {error}") from None
            if not chunk:
                raise QmpError("QEMU closed the connection")
            self._buffer += chunk
        line, self._buffer = self._buffer.split(b"\n", 1)
        message: dict[str, Any] = json.loads(line)
        return message
