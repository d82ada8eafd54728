"""The order of the phases, and where a run goes on that was stopped."""

from __future__ import annotations

from pathlib import Path

import pytest

from homelab_provision.doors.ssh import Answer
from homelab_provision.errors import (
    Interrupted,
    Locked,
    ProvisionError,
    Refused,
    Unproven,
    UsageError,
)
from homelab_provision.events import Notice, Outcome, PhaseFinished, RunResult, RunStarted
from homelab_provision.jobs import rebuild as job
from homelab_provision.phases import ORDER
from homelab_provision.runs import lock, store
from homelab_provision.runs.phase import Phase
from tests.unit.jobs.world import HOST, SPARE, Killed, Nobody, World, end, surround

ALL = list(ORDER)


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> World:
    (tmp_path / "site").mkdir()
    found = World(tmp_path / "site")
    surround(found, monkeypatch)
    return found


def from_(phase: Phase) -> list[Phase]:
    return ALL[ALL.index(phase) :]


def until(phase: Phase) -> list[Phase]:
    return ALL[: ALL.index(phase) + 1]


# ---- one attempt ---------------------------------------------------------------------------------------------


def test_phases_run_in_order_and_each_leaves_its_proof(world: World) -> None:
    run = world.new_run()
    assert world.attempt(run) == ALL
    proven = run.proven()
    assert list(proven) == ALL
    assert proven["preflight"].proof["machine"] == SPARE
    assert proven["verify"].proof == {"of": "verify"}
    assert end(run).result is RunResult.PROVEN


def test_every_phase_gets_the_plan_that_preflight_made(world: World) -> None:
    run = world.new_run()
    world.attempt(run)
    assert {context.plan.nonce for context in world.contexts} == {"nonce 1"}
    assert run.plan_file.stat().st_mode & 0o777 == 0o600


@pytest.mark.negative
@pytest.mark.parametrize("phase", ALL)
@pytest.mark.parametrize(
    ("error", "result"),
    [
        (ProvisionError("broken", hint="mend it", evidence="last lines"), RunResult.FAILED),
        (Refused("no", hint="mend it", evidence="last lines"), RunResult.REFUSED),
        (Unproven("not so", hint="mend it", evidence="last lines"), RunResult.UNPROVEN),
    ],
    ids=["failed", "refused", "unproven"],
)
def test_a_phase_that_fails_ends_the_run(world: World, phase: Phase, error: ProvisionError, result: RunResult) -> None:
    world.stops[phase] = error
    run = world.new_run()
    assert world.stopped(run, type(error)) == until(phase)
    assert (end(run).result, end(run).error) == (result, error.message)
    (failed,) = [event for event in run.events() if isinstance(event, PhaseFinished) and event.error]
    assert (failed.phase, failed.result) == (phase, Outcome.FAILED)
    assert (failed.error, failed.hint, failed.evidence) == (error.message, "mend it", "last lines")
    assert list(run.proven()) == until(phase)[:-1]
    assert world.recorded == []


def test_a_bug_ends_the_run_as_failed_and_stays_a_bug(world: World) -> None:
    world.stops[Phase.CONVERGE] = ZeroDivisionError("oops")
    run = world.new_run()
    assert world.stopped(run, ZeroDivisionError) == until(Phase.CONVERGE)
    assert end(run).result is RunResult.FAILED
    assert "ZeroDivisionError" in (end(run).error or "")


def test_ctrl_c_is_an_interruption_that_can_be_resumed(world: World) -> None:
    world.stops[Phase.FLASH] = KeyboardInterrupt()
    run = world.new_run()
    with pytest.raises(Interrupted, match="--resume") as stopped:
        world.attempt(run)
    assert int(stopped.value.exit_code) == 130
    assert (end(run).result, end(run).error) == (RunResult.FAILED, "interrupted")
    assert "flash" not in run.proven()


@pytest.mark.negative
@pytest.mark.parametrize("name", [f"host-{HOST}", f"machine-{SPARE}"])
def test_a_host_or_a_machine_that_another_run_holds_is_left_alone(world: World, name: str) -> None:
    run = world.new_run()
    with lock.locked([name], "the other"), pytest.raises(Locked, match="the other"):
        world.attempt(run)
    assert set(world.done) <= {Phase.PREFLIGHT}  # deciding touches nothing


@pytest.mark.negative
def test_an_attempt_that_is_locked_out_or_mistyped_leaves_no_run(world: World) -> None:
    request = store.Request(command="rebuild", site=world.root, host=HOST)
    with lock.locked([f"host-{HOST}"], "the other"), pytest.raises(Locked, match="the other"):
        world.begin_anew(request)
    for typo, said in (
        ({"host": "db-wise"}, "db-wise"),
        ({"onto": "wyse-x"}, "wyse-x"),
        ({"erase": frozenset({"SYS-X"})}, "--erase SYS-X"),
        ({"onto": SPARE, "erase": frozenset({"SYS-A"})}, "--erase SYS-A"),
    ):
        with pytest.raises(UsageError, match=said):
            world.begin_anew(request.model_copy(update=typo))
    assert store.everything() == []
    assert world.done == []
    run = world.begin_anew(request)
    assert [one.id for one in store.everything()] == [run.id]
    assert run.report.exists()


@pytest.mark.negative
def test_the_report_is_written_also_of_a_run_that_failed(world: World) -> None:
    world.stops[Phase.BOOT] = ProvisionError("broken")
    run = world.new_run()
    world.stopped(run, ProvisionError)
    assert "broken" in run.report.read_text()


@pytest.mark.negative
def test_ctrl_c_while_a_program_is_at_work_says_how_to_go_on(world: World) -> None:
    world.stops[Phase.FLASH] = Interrupted("interrupted: ssh rescue")
    run = world.new_run()
    with pytest.raises(Interrupted, match=f"go on with `provision rebuild {HOST} --resume`"):
        world.attempt(run)
    assert end(run).error == "interrupted"


def test_locks_are_free_after_a_run_that_failed(world: World) -> None:
    world.stops[Phase.BOOT] = ProvisionError("broken")
    world.stopped(world.new_run(), ProvisionError)
    with lock.locked([f"host-{HOST}", f"machine-{SPARE}"], "the next"):
        pass


def test_the_site_is_loaded_once(world: World) -> None:
    """Ansible takes a second to read it. Not even who plays the host now is a reason to ask again."""
    world.attempt(world.new_run())
    assert world.recorded == [(HOST, SPARE)]
    assert world.loaded == 1


def test_plan_only_records_nothing_and_runs_no_phase(world: World) -> None:
    request = store.Request(command="rebuild", site=world.root, host=HOST)
    plan = job.plan_only(request, emit=lambda event: None, person=Nobody(), unattended=True)
    assert plan.machine == SPARE
    assert world.done == [Phase.PREFLIGHT]
    assert store.everything() == []


# ---- going on ------------------------------------------------------------------------------------------------

# Flash reads the passport again in identify; everything else goes on with itself.
RESUMES = {phase: phase for phase in ALL} | {Phase.FLASH: Phase.IDENTIFY}


@pytest.mark.parametrize("phase", ALL)
@pytest.mark.parametrize("how", [ProvisionError("broken"), Killed()], ids=["failed", "killed"])
def test_resume_begins_at_the_first_phase_that_is_not_proven(world: World, phase: Phase, how: BaseException) -> None:
    world.stops = {phase: how}
    run = world.new_run()
    world.stopped(run, type(how))
    assert world.attempt(run) == from_(RESUMES[phase])
    assert end(run).result is RunResult.PROVEN


@pytest.mark.parametrize("phase", ALL[1:])
def test_resume_after_a_kill_between_two_phases(world: World, phase: Phase) -> None:
    world.dies_before = phase
    run = world.new_run()
    world.stopped(run, Killed)
    assert world.attempt(run) == from_(RESUMES[phase])


@pytest.mark.parametrize(
    ("phase", "begins"),
    [
        (Phase.IDENTIFY, Phase.BOOT),
        (Phase.FLASH, Phase.BOOT),
        (Phase.ARRIVE, Phase.ARRIVE),  # from here on the rescue has done its work
        (Phase.CONVERGE, Phase.CONVERGE),
    ],
)
@pytest.mark.parametrize("answer", [Answer.SILENT, Answer.STRANGER, Answer.LOCKED_OUT])
def test_a_rescue_that_is_gone_is_booted_again(world: World, phase: Phase, begins: Phase, answer: Answer) -> None:
    world.stops = {phase: ProvisionError("broken")}
    run = world.new_run()
    world.stopped(run, ProvisionError)
    world.rescue = answer
    assert world.attempt(run) == from_(begins)


def test_a_resumed_run_keeps_its_plan_and_says_that_it_was_resumed(world: World) -> None:
    world.stops = {Phase.ARRIVE: ProvisionError("broken")}
    run = world.new_run()
    world.stopped(run, ProvisionError)
    world.attempt(run)
    assert world.decided == 1
    assert {context.plan.nonce for context in world.contexts} == {"nonce 1"}
    assert [event.resumed for event in run.events() if isinstance(event, RunStarted)] == [False, True]


@pytest.mark.parametrize("stop", [Phase.BOOT, Phase.IDENTIFY])
def test_consent_is_asked_for_until_identify_is_proven(world: World, stop: Phase) -> None:
    world.stops = {stop: ProvisionError("broken")}
    run = world.new_run()
    world.stopped(run, ProvisionError)
    world.attempt(run, unattended=False)
    assert not any(context.consent for context in world.contexts)


def test_consent_that_was_given_holds_for_the_rest_of_the_run(world: World) -> None:
    world.stops = {Phase.FLASH: ProvisionError("broken")}
    run = world.new_run()
    world.stopped(run, ProvisionError)
    world.attempt(run, unattended=False)
    assert all(context.consent for context in world.contexts)


# ---- from a phase --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("first", ALL)
def test_a_proven_run_can_begin_again_anywhere(world: World, first: Phase) -> None:
    run = world.new_run()
    world.attempt(run)
    assert world.attempt(run, first) == from_(RESUMES[first])


def test_first_may_lie_before_what_is_not_proven(world: World) -> None:
    world.stops = {Phase.VERIFY: Unproven("not so")}
    run = world.new_run()
    world.stopped(run, Unproven)
    assert world.attempt(run, Phase.CONVERGE) == from_(Phase.CONVERGE)


@pytest.mark.negative
def test_first_may_not_skip_what_is_not_proven(world: World) -> None:
    world.stops = {Phase.ARRIVE: ProvisionError("broken")}
    run = world.new_run()
    world.stopped(run, ProvisionError)
    with pytest.raises(UsageError, match="`arrive` is not proven"):
        world.attempt(run, Phase.CONVERGE)
    assert world.done == []


@pytest.mark.negative
def test_a_new_plan_makes_the_proofs_under_the_old_one_worthless(world: World) -> None:
    """It may name another machine: neither its phases nor the consent to write it are proven by the old one's."""
    run = world.new_run()
    world.attempt(run)
    world.stops = {Phase.BOOT: ProvisionError("broken")}
    assert world.stopped(run, ProvisionError, Phase.PREFLIGHT, unattended=False) == [Phase.PREFLIGHT, Phase.BOOT]
    assert not world.contexts[0].consent
    with pytest.raises(UsageError):
        world.attempt(run, Phase.CONVERGE)


@pytest.mark.negative
@pytest.mark.parametrize("again", [Phase.PREFLIGHT, Phase.CONVERGE, Phase.RESTORE])
def test_phases_after_one_that_was_done_again_are_not_proven_any_more(world: World, again: Phase) -> None:
    run = world.new_run()
    world.attempt(run)
    world.dies_before = after = ALL[ALL.index(again) + 1]
    world.stopped(run, Killed, again)
    assert world.attempt(run) == from_(after)


@pytest.mark.negative
def test_a_plan_that_was_refused_later_is_not_followed(world: World) -> None:
    run = world.new_run()
    world.attempt(run)
    world.stops = {Phase.PREFLIGHT: Refused("the machine is gone")}
    world.stopped(run, Refused, Phase.PREFLIGHT)
    assert world.attempt(run) == ALL
    assert {context.plan.nonce for context in world.contexts} == {"nonce 2"}


# ---- who plays the host --------------------------------------------------------------------------------------


def test_who_plays_the_host_is_written_down_once(world: World) -> None:
    run = world.new_run()
    world.attempt(run)
    site = world.site()
    player = site.player_of(HOST)
    assert player is not None
    assert player.name == SPARE
    assert site.machine("wyse-a").distrusted_as == (HOST,)
    assert any(isinstance(event, Notice) and "wyse-b plays db-wyse" in event.text for event in run.events())
    world.attempt(run, Phase.VERIFY)
    assert world.recorded == [(HOST, SPARE)]


def test_who_plays_the_host_is_written_down_by_the_attempt_that_ends_proven(world: World) -> None:
    world.stops = {Phase.VERIFY: Unproven("not so")}
    run = world.new_run()
    world.stopped(run, Unproven)
    assert world.recorded == []
    world.attempt(run)
    assert world.recorded == [(HOST, SPARE)]
