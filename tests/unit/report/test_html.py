from __future__ import annotations

import re
from html.parser import HTMLParser
from typing import Any

import pytest

from homelab_provision.doors.verify import Verdict, VerifiedTest
from homelab_provision.events import Notice, Outcome, PhaseFinished, RunResult
from homelab_provision.report.html import RunDetails, render_report, tick_marks
from homelab_provision.text import printable
from tests.unit.report.journal import Journal

VOID = {"meta", "br", "link", "img", "input", "hr"}
EVIL = "<script>alert(1)</script>\x1b[31mred\x1b[0m"


class Page(HTMLParser):
    """Checks that tags nest, and collects text, headings and what is referred to."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.headings: list[int] = []
        self.ids: set[str] = set()
        self.labelled_by: set[str] = set()
        self.links: list[str] = []
        self.text = ""
        self.feed(text)
        assert not self.open, f"never closed: {self.open}"

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag not in VOID:
            self.open.append(tag)
        if re.fullmatch(r"h\d", tag):
            self.headings.append(int(tag[1]))
        for name, value in attrs:
            if name == "id" and value:
                assert value not in self.ids
                self.ids.add(value)
            elif name == "aria-labelledby" and value:
                self.labelled_by.add(value)
            elif name in ("src", "href") and value:
                self.links.append(value)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if "style" not in self.open:
            self.text += data


def details(**changes: Any) -> RunDetails:
    return RunDetails(run="r1", host="db-wyse", machine="wyse-b", site="lab", **changes)


def unproven_journal() -> Journal:
    journal = Journal()
    journal.run()
    journal.begin("converge")
    journal.task("base : Install the packages", 2.0, Outcome.CHANGED)
    journal.task("base : Write", 1.0, Outcome.FAILED, EVIL)
    journal.events.append(Notice(at=journal.now, level="warning", text="try `provision doctor`"))
    journal.phase("verify", 3.0, result=Outcome.FAILED, error=EVIL, boot_id="b" * 36)
    journal.end(RunResult.UNPROVEN, 6.0, EVIL)
    return journal


def test_the_page_stands_alone_nests_and_is_labelled() -> None:
    rendered = render_report(details(), unproven_journal().events)
    page = Page(rendered)

    assert page.links == []
    assert not re.search(r"https?://|@import|url\(|<script", rendered)
    assert page.labelled_by <= page.ids
    assert page.headings[0] == 1
    assert page.headings.count(1) == 1
    assert all(later <= earlier + 1 for earlier, later in zip(page.headings, page.headings[1:], strict=False))


def test_whatever_machines_say_is_text() -> None:
    tests = [VerifiedTest(EVIL, EVIL, Verdict.FAILED, 0.1, EVIL)]
    rendered = render_report(
        details(tests=tests, consoles={"serial": EVIL}, evidence=EVIL, hint=EVIL, plan={"disk": [EVIL, {"a": EVIL}]}),
        unproven_journal().events,
    )
    assert "<script" not in rendered
    assert "\x1b" not in rendered
    assert Page(rendered).text.count("<script>alert(1)</script>red") >= 10


@pytest.mark.negative
def test_every_text_of_the_page_is_clean() -> None:
    evil = "\x1b]52;c;eA==\x07\u202e\x00\udce9<b>x"
    journal = Journal()
    journal.run()
    journal.begin(evil)
    journal.task(evil, 1.0, Outcome.FAILED, evil)
    end = PhaseFinished(phase=evil, result=Outcome.FAILED, seconds=3, error=evil, proof={evil: {evil: [evil]}})
    journal.events.append(end)
    journal.end(RunResult.FAILED, 6.0, evil)
    told = RunDetails(run=evil, host=evil, machine=evil, site=evil, command=evil, image_digest=evil, plan={evil: evil})
    rendered = render_report(told, journal.events)
    assert printable(rendered) == rendered
    assert "<b>" not in rendered
    rendered.encode()


@pytest.mark.negative
def test_a_run_of_absurd_length_has_few_marks() -> None:
    for total in (0, 1, 1e6, 1e9, 1e12):
        assert len(tick_marks(total)) <= 9


def test_it_tells_the_result_the_trouble_and_the_proof() -> None:
    text = Page(render_report(details(hint="run `provision retry db-wyse`"), unproven_journal().events)).text
    flat = " ".join(text.split())
    assert "unproven db-wyse was rebuilt on wyse-b, but it is not proven" in flat
    assert "What went wrong" in flat
    assert "What to do: run provision retry db-wyse" in flat
    assert "2 tasks, 1 changed, 1 failed" in flat
    assert "boot id" + "b" * 36 in flat
    assert "Warning: try provision doctor" in flat


def test_failed_tests_come_first_and_are_counted() -> None:
    tests = [
        VerifiedTest("base", "good", Verdict.PASSED, 0.0),
        VerifiedTest("base", "bad", Verdict.ERROR, 0.2, "boom"),
        VerifiedTest("", "not now", Verdict.SKIPPED, 0.0),
    ]
    text = Page(render_report(details(tests=tests), unproven_journal().events)).text
    assert "1 passed, 1 failed, 1 skipped" in text
    assert text.index("bad") < text.index("good") < text.index("not now")


def test_a_proven_run_has_no_trouble() -> None:
    journal = Journal()
    journal.run()
    journal.phase("verify", 3.0)
    journal.end(RunResult.PROVEN, 3.0)
    text = Page(render_report(details(), journal.events)).text
    assert "db-wyse was rebuilt on wyse-b and proven" in text
    assert "What went wrong" not in text


def test_bars_stay_inside_the_timeline() -> None:
    journal = Journal()
    journal.run()
    journal.begin("flash")
    journal.step("stream", 9.0)
    journal.end(RunResult.FAILED, 2.0)  # the monotonic clock disagrees with the wall clock
    rendered = render_report(details(), journal.events)
    for start, width in re.findall(r"--from:([\d.]+)%;--long:([\d.]+)%", rendered):
        assert float(start) + float(width) <= 100.01


def test_nothing_happened() -> None:
    text = Page(render_report(details(), [])).text
    assert "did not come to its end" in text
    assert "No phase was started" in text


@pytest.mark.parametrize(("total", "last"), [(0.0, 0), (3.2, 3), (107.0, 90), (7300.0, 5400), (200_000.0, 172_800)])
def test_ticks_are_few_and_round(total: float, last: int) -> None:
    ticks = tick_marks(total)
    assert (ticks[0], ticks[-1]) == (0, last)
