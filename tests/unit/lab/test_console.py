"""The console carries bytes both ways and lets go at its key."""

from __future__ import annotations

import os
import socket
import threading
from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from homelab_provision.lab.console import ESCAPE, relay


@dataclass
class Terminal:
    """Ends of the pipes and of the serial line that the test holds."""

    keyboard: int
    screen: int
    machine: socket.socket
    thread: threading.Thread


@pytest.fixture
def terminal() -> Iterator[Terminal]:
    keys_out, keys_in = os.pipe()
    shown_out, shown_in = os.pipe()
    ours, machine = socket.socketpair()
    thread = threading.Thread(target=relay, args=(keys_out, shown_in, ours.fileno()), daemon=True)
    thread.start()
    yield Terminal(keys_in, shown_out, machine, thread)
    machine.close()
    thread.join(5)
    ours.close()
    for end in (keys_out, keys_in, shown_out, shown_in):
        os.close(end)


def test_both_ways_until_the_key(terminal: Terminal) -> None:
    os.write(terminal.keyboard, b"root\r")
    assert terminal.machine.recv(100) == b"root\r"
    terminal.machine.sendall(b"# ")
    assert os.read(terminal.screen, 100) == b"# "
    os.write(terminal.keyboard, b"exit" + ESCAPE + b"lost")
    assert terminal.machine.recv(100) == b"exit"
    terminal.thread.join(5)
    assert not terminal.thread.is_alive()


def test_a_machine_that_is_switched_off_ends_it(terminal: Terminal) -> None:
    terminal.machine.close()
    terminal.thread.join(5)
    assert not terminal.thread.is_alive()
