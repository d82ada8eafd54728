from __future__ import annotations

from homelab_provision.events import Notice, Outcome, RunResult
from homelab_provision.report.summary import RunSummary, summarise
from homelab_provision.report.timeline import read_attempts
from tests.unit.report.journal import Journal


def summary(journal: Journal) -> RunSummary:
    return summarise("20261123T070000Z-db-wyse-4f1c", "db-wyse", "wyse-b", "lab", journal.events)


def test_a_proven_run_is_the_documented_object() -> None:
    journal = Journal()
    journal.run()
    journal.phase("preflight", 1.5, image="3f2a")
    journal.phase("verify", 2.0)
    journal.end(RunResult.PROVEN, 3.5)

    assert summary(journal).model_dump(mode="json") == {
        "run": "20261123T070000Z-db-wyse-4f1c",
        "host": "db-wyse",
        "machine": "wyse-b",
        "site": "lab",
        "result": "proven",
        "seconds": 3.5,
        "phases": [
            {"name": "preflight", "result": "ok", "seconds": 1.5, "proof": {"image": "3f2a"}},
            {"name": "verify", "result": "ok", "seconds": 2.0, "proof": {}},
        ],
        "note": None,
    }


def test_a_killed_run_has_failed_and_says_that_it_is_unfinished() -> None:
    journal = Journal()
    journal.run()
    journal.phase("preflight", 1.0)
    journal.begin("flash")
    journal.step("stream", 7.0)

    seen = summary(journal)
    assert (seen.result, seen.note, seen.seconds) == (RunResult.FAILED, "unfinished", 8.0)
    assert [(phase.name, phase.result, phase.seconds) for phase in seen.phases] == [
        ("preflight", Outcome.OK, 1.0),
        ("flash", Outcome.FAILED, 7.0),
    ]


def test_after_a_resume_the_last_attempt_counts_and_the_pause_does_not() -> None:
    journal = Journal()
    journal.run()
    journal.phase("preflight", 1.0, image="old")
    journal.begin("flash")
    journal.step("stream", 4.0)  # killed here
    journal.wait(3600)
    journal.run(resumed=True)
    journal.phase("flash", 6.0, digest="new")
    journal.phase("verify", 2.0)
    journal.end(RunResult.PROVEN, 8.0)

    seen = summary(journal)
    assert (seen.result, seen.note, seen.seconds) == (RunResult.PROVEN, None, 13.0)
    assert [(phase.name, phase.result, phase.seconds, phase.proof) for phase in seen.phases] == [
        ("preflight", Outcome.OK, 1.0, {"image": "old"}),
        ("flash", Outcome.OK, 6.0, {"digest": "new"}),
        ("verify", Outcome.OK, 2.0, {}),
    ]


def test_a_phase_that_a_resumed_run_skips_keeps_its_proof() -> None:
    journal = Journal()
    journal.run()
    journal.phase("flash", 6.0, digest="3f2a")
    journal.end(RunResult.FAILED, 6.0, "no answer")
    journal.run(resumed=True)
    journal.phase("flash", 0.0, result=Outcome.SKIPPED)
    journal.end(RunResult.PROVEN, 1.0)

    (flash,) = summary(journal).phases
    assert (flash.result, flash.proof) == (Outcome.OK, {"digest": "3f2a"})


def test_skipping_does_not_whitewash_a_phase_that_failed() -> None:
    journal = Journal()
    journal.run()
    journal.phase("converge", 6.0, result=Outcome.FAILED)
    journal.run(resumed=True)
    journal.phase("converge", 0.0, result=Outcome.SKIPPED)

    assert summary(journal).phases[0].result is Outcome.SKIPPED


def test_a_resume_that_is_killed_makes_a_finished_run_unfinished_again() -> None:
    journal = Journal()
    journal.run()
    journal.phase("verify", 2.0, result=Outcome.FAILED)
    journal.end(RunResult.UNPROVEN, 2.0, "1 test failed")
    assert summary(journal).note == "1 test failed"

    journal.run(resumed=True)
    assert summary(journal).result is RunResult.FAILED
    assert summary(journal).note == "unfinished"


def test_a_run_without_any_event_is_unfinished() -> None:
    seen = summary(Journal())
    assert (seen.result, seen.seconds, seen.phases) == (RunResult.FAILED, 0.0, ())


def test_attempts_are_laid_end_to_end() -> None:
    journal = Journal()
    journal.run()
    journal.begin("flash")
    journal.step("flash/stream", 4.0)
    journal.wait(100)
    journal.run(resumed=True)
    journal.begin("flash")
    journal.step("flash/stream/read back", 3.0)
    journal.task("base : Install", 2.0)
    journal.events.append(Notice(at=journal.now, text="in the phase"))

    first, second = read_attempts(journal.events)
    assert (first.seconds, second.start, second.seconds) == (4.0, 4.0, 5.0)
    (phase,) = second.phases
    assert [(step.name, step.start, step.seconds, step.depth) for step in phase.steps] == [
        ("stream: read back", 4.0, 3.0, 0)
    ]
    assert [(start, task.task) for start, task in phase.tasks] == [(7.0, "base : Install")]
    assert [notice.text for notice in phase.notices] == ["in the phase"]
