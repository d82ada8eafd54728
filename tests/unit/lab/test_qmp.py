"""The QMP client, against a QEMU that is only pretended."""

from __future__ import annotations

import json
import os
import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from homelab_provision.lab.qmp import Qmp, QmpError

GREETING: dict[str, Any] = {"QMP": {"version": {}, "capabilities": []}}
Answers = dict[str, list[dict[str, Any]]]
Serve = Callable[..., Path]


@pytest.fixture
def serve(tmp_path: Path) -> Iterator[Serve]:
    """Starts a server that greets and then answers each command with what is prescribed; returns its socket."""
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    threads: list[threading.Thread] = []

    def talk(answers: Answers, greeting: dict[str, Any] | None) -> None:
        link, _ = listener.accept()
        with link, link.makefile("rw") as stream:
            if greeting is not None:
                stream.write(json.dumps(greeting) + "\r\n")
                stream.flush()
            for line in stream:
                for answer in answers.get(json.loads(line)["execute"], [{"return": {}}]):
                    stream.write(json.dumps(answer) + "\r\n")
                stream.flush()

    def start(answers: Answers | None = None, greeting: dict[str, Any] | None = GREETING) -> Path:
        folder = tmp_path / ("a-long-way-down-" * 8)  # longer than the address of a socket can be
        folder.mkdir()
        here = os.open(folder, os.O_PATH)
        listener.bind(f"/proc/self/fd/{here}/qmp.sock")
        os.close(here)
        listener.listen()
        threads.append(threading.Thread(target=talk, args=(answers or {}, greeting), daemon=True))
        threads[-1].start()
        return folder / "qmp.sock"

    yield start
    listener.close()


def test_a_command_and_its_answer(serve: Serve) -> None:
    with Qmp(serve({"query-status": [{"return": {"status": "running"}}]})) as qmp:
        assert qmp.execute("query-status") == {"status": "running"}


def test_events_in_between_are_kept_for_whoever_waits(serve: Serve) -> None:
    deleted = {"event": "DEVICE_DELETED", "data": {"device": "stick", "path": "/x"}, "timestamp": {}}
    other = {"event": "DEVICE_DELETED", "data": {"device": "disk", "path": "/y"}, "timestamp": {}}
    path = serve({"device_del": [other, deleted, {"return": {}}], "stop": [{"return": {}}, {"event": "STOP"}]})
    with Qmp(path) as qmp:
        assert qmp.execute("device_del", {"id": "stick"}) == {}
        assert qmp.wait_event("DEVICE_DELETED", 1, device="stick")["path"] == "/x"
        assert qmp.wait_event("DEVICE_DELETED", 1)["path"] == "/y"
        qmp.execute("stop")
        assert qmp.wait_event("STOP", 5) == {}
        with pytest.raises(QmpError, match="does not answer"):
            qmp.wait_event("DEVICE_DELETED", 0.1)


def test_a_refusal_says_why(serve: Serve) -> None:
    refusal = {"error": {"class": "GenericError", "desc": "Device 'x' not found"}}
    with Qmp(serve({"device_del": [refusal]})) as qmp, pytest.raises(QmpError, match="Device 'x' not found"):
        qmp.execute("device_del", {"id": "x"})


def test_a_qemu_that_hangs_is_given_up(serve: Serve) -> None:
    with pytest.raises(QmpError, match="does not answer"), Qmp(serve(greeting=None), deadline=0.2):
        pass


def test_a_command_that_is_never_answered_is_given_up(serve: Serve) -> None:
    path = serve({"system_reset": []})
    with Qmp(path, deadline=0.3) as qmp, pytest.raises(QmpError, match="does not answer"):
        qmp.execute("system_reset")


def test_nobody_there(tmp_path: Path) -> None:
    with pytest.raises(QmpError, match="no QEMU answers"), Qmp(tmp_path / "qmp.sock"):
        pass
