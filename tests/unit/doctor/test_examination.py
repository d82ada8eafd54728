from __future__ import annotations

import threading
from time import monotonic

import pytest

from homelab_provision.doctor import Answer, Check, Finding, Verdict, examine, repair_packages
from homelab_provision.errors import UsageError

GOOD = Answer(Verdict.OK, "fine")


def test_findings_come_in_the_order_of_the_checks() -> None:
    late = threading.Event()

    def slow() -> Answer:
        assert late.wait(5)
        return Answer(Verdict.WARN, "slow", "be patient", "patience")

    def fast() -> Answer:
        late.set()  # only if both run at the same time can the first one end
        return GOOD

    assert examine([Check("a", "slow", slow), Check("b", "fast", fast)]) == (
        Finding(group="a", name="slow", verdict=Verdict.WARN, found="slow", repair="be patient", package="patience"),
        Finding(group="b", name="fast", verdict=Verdict.OK, found="fine"),
    )


def test_a_check_that_hangs_is_a_warning_and_holds_nobody_up() -> None:
    forever = threading.Event()

    def hang() -> Answer:
        forever.wait(30)
        return GOOD

    started = monotonic()
    hanging, fine = examine([Check("a", "hang", hang, deadline=0.1), Check("a", "fine", lambda: GOOD)])
    assert monotonic() - started < 2
    assert (hanging.verdict, hanging.found) == (Verdict.WARN, "no answer within 0.1 s")
    assert fine.verdict is Verdict.OK
    forever.set()


def test_known_errors_are_findings() -> None:
    def refuse() -> Answer:
        raise UsageError("bad site", hint="mend it")

    def unreadable() -> Answer:
        raise PermissionError(13, "Permission denied", "/x")

    first, second = examine([Check("a", "refuse", refuse), Check("a", "unreadable", unreadable)])
    assert (first.verdict, first.found, first.repair) == (Verdict.FAIL, "bad site", "mend it")
    assert second.verdict is Verdict.FAIL
    assert "Permission denied" in second.found


def test_bugs_are_not() -> None:
    def bug() -> Answer:
        raise KeyError("x")

    with pytest.raises(KeyError):
        examine([Check("a", "bug", bug)])


def test_packages_are_named_once() -> None:
    def finding(package: str | None) -> Finding:
        return Finding(group="a", name="x", verdict=Verdict.FAIL, found="", package=package)

    assert repair_packages([finding("ovmf"), finding(None), finding("zstd"), finding("ovmf")]) == ("ovmf", "zstd")
