"""The main job: a machine with nothing on it becomes a host, proven.

    preflight → boot → identify → flash → arrive → converge → restore → verify

Every phase is journalled with the proof it leaves. A run that was killed anywhere goes on at the first
phase that is not proven.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial

from homelab_provision.doors.ssh import RESCUE, Answer
from homelab_provision.errors import ProvisionError, UsageError
from homelab_provision.events import Emit, Notice, Proof, RunResult, RunStarted
from homelab_provision.files import scratch
from homelab_provision.jobs.report import plan_of, write_report
from homelab_provision.lab import reach
from homelab_provision.operators import operator_called
from homelab_provision.phases import NEED_RESCUE, ORDER, arrive, boot, converge, flash, identify, restore, verify
from homelab_provision.phases.context import Person, Rebuild
from homelab_provision.phases.plan import Plan
from homelab_provision.phases.preflight import decide, proof
from homelab_provision.phases.session import session
from homelab_provision.rescue.facts import same_serial
from homelab_provision.runs import lock, store
from homelab_provision.runs.phase import Phase
from homelab_provision.runs.recorder import at_phase, attempt, telling
from homelab_provision.runs.store import Request, Run
from homelab_provision.site.assignment import record_player
from homelab_provision.site.loading import load_site
from homelab_provision.site.models import Machine, Site, nearest
from homelab_provision.site.vault.store import Vault

PHASES: Mapping[Phase, Callable[[Rebuild], Proof]] = {
    Phase.BOOT: boot.run,
    Phase.IDENTIFY: identify.run,
    Phase.FLASH: flash.run,
    Phase.ARRIVE: arrive.run,
    Phase.CONVERGE: converge.run,
    Phase.RESTORE: restore.run,
    Phase.VERIFY: verify.run,
}


def rebuild(
    asked: Request | Run,
    *,
    emit: Emit,
    person: Person,
    unattended: bool,
    first: Phase | None = None,
    code: str | None = None,
    site: Site | None = None,
    agreed: bool = False,
    begun: Callable[[Run], None] = lambda run: None,
) -> Run:
    """Carry a rebuild to its end, and return its run: a new one as `asked`, or one that was begun before, which goes
    on at its first phase that is not proven.

    `first` starts earlier or later than that; the phases before it must be proven. `code` is what stands on the
    rescue's screen (empty: to be asked for); a run that was begun with one asks for it whenever it goes on. A new run
    exists once it holds the lock on its host; `begun` is then told. Raises what stopped it; the run's journal then says
    so too, and its report is written.

    Whoever begins several gives them the `site` that he has loaded, and has `agreed` with the person on their disks.
    """
    request = asked if isinstance(asked, Request) else asked.request
    if site is None:
        site = load_site(request.site)
        warn(site, emit)
    _require_known(site, request)
    with lock.locked([f"host-{request.host}"]) as held_by:
        run = store.start(request) if isinstance(asked, Request) else asked
        held_by(run.id)
        begun(run)
        try:
            _attempt(run, site, emit, person, unattended, first, code, agreed)
        finally:
            _report(run, emit)
    return run


def _require_known(site: Site, request: Request) -> None:
    """What is not there is a slip of the pen, and leaves no run behind. Raises `UsageError`."""
    site.host(request.host)
    machines = [site.machine(request.onto)] if request.onto else site.machines.values()
    require_disks(request.erase, machines)


def require_disks(erase: Iterable[str], machines: Iterable[Machine]) -> None:
    """Raise `UsageError` for a serial of `--erase` that no system disk of these machines has."""
    serials = [disk.serial for machine in machines for disk in machine.passport.system_disks]
    for serial in sorted(erase):
        if not any(same_serial(serial, known) for known in serials):
            raise UsageError(
                f"`--erase {serial}`: no machine that could be meant has a system disk with this serial",
                hint=nearest(serial, serials, "system disks"),
            )


def warn(site: Site, emit: Emit) -> None:
    for warning in site.warnings:
        emit(Notice(level="warning", text=f"hosts.yml: {warning}"))


def _attempt(
    run: Run,
    site: Site,
    emit: Emit,
    person: Person,
    unattended: bool,
    first: Phase | None,
    code: str | None,
    agreed: bool,
) -> None:
    """One attempt at a run, under its lock."""
    tell = telling(run, emit)
    begin = RunStarted(command=f"{run.request.command} {run.request.host}", resumed=bool(run.events()))
    again = f"go on with `provision rebuild {run.request.host} --resume`"
    with (
        attempt(tell, begin, RunResult.PROVEN, again=again),
        session(site, [run.request.host], emit=tell) as opened,
    ):
        plan = plan_of(run)
        if plan is None or Phase.PREFLIGHT not in run.proven() or first is Phase.PREFLIGHT:
            with at_phase(tell, Phase.PREFLIGHT) as leave:
                plan = decide(opened, run.request, None if unattended else person, tell)
                run.write(run.plan_file.name, plan.model_dump_json(indent=2) + "\n")
                leave(proof(plan))
        with lock.locked([f"machine-{plan.machine}"], run.id):
            opened.ssh.know(RESCUE, reach.rescue_address(site, site.machine(plan.machine)))
            asked_before = "identify" in run.proven()
            boot.remember(run, opened.ssh)
            wanted = code or ("" if run.request.confirm_code or code == "" else None)
            context = Rebuild(
                opened,
                run,
                plan,
                operator_called(plan.operator)(site, run.console_log, tell, partial(_at_host, site)),
                tell,
                person,
                unattended or agreed or asked_before,
                unattended,
                wanted,
            )
            for phase in _remaining(run, context, first):
                with at_phase(tell, phase) as leave:
                    leave(PHASES[phase](context))
        if record_needed(site, plan):
            record_player(site, plan.host, plan.machine)
            tell(Notice(text=f"machines.yml: {plan.machine} plays {plan.host} now"))


def _at_host(site: Site, host: str, argv: Sequence[str], input: str, deadline: float) -> None:
    """Run a program at another host than the one that is rebuilt."""
    with session(site, [host]) as opened:
        opened.ssh.run(host, *argv, input=input, deadline=deadline)


def _report(run: Run, emit: Emit) -> None:
    """Write the run's report. Where that fails, what ended the run is still what has to be told."""
    try:
        write_report(run)
    except (OSError, ProvisionError) as error:
        emit(Notice(level="warning", text=f"no report of run {run.id}: {error}"))


def plan_only(request: Request, *, emit: Emit, person: Person, unattended: bool) -> Plan:
    """What a rebuild would do. Nothing is recorded, no key is kept and no machine touched; a missing image is built."""
    with scratch() as folder:
        site = load_site(request.site)
        _require_known(site, request)
        warn(site, emit)
        # A lab that has no vault yet gets none by being looked at.
        new = site.lab is not None and not Vault.at(site.root)
        vault = Vault.of(folder if new else site.root, name=site.name, create=new)
        with session(site, [request.host], emit=emit, vault=vault, keep=False) as opened:
            return decide(opened, request, None if unattended else person, emit)


def record_needed(site: Site, plan: Plan) -> bool:
    """Whether machines.yml still says something else than who plays the host now."""
    player = site.player_of(plan.host)
    return player is None or player.name != plan.machine


def _remaining(run: Run, context: Rebuild, first: Phase | None) -> tuple[Phase, ...]:
    """The phases still to be done. A phase that needs a rescue which is gone takes `boot` with it."""
    proven = run.proven()
    later = ORDER[1:]
    begin = next((phase for phase in later if phase not in proven), later[-1])
    if first and first is not Phase.PREFLIGHT:
        if ORDER.index(first) > ORDER.index(begin):
            raise UsageError(
                f"cannot start from `{first}`: `{begin}` is not proven yet in run {run.id}",
                hint="`--resume` goes on at the first phase that is not proven",
            )
        begin = first
    if begin is Phase.FLASH:
        begin = Phase.IDENTIFY  # the passport is read again seconds before every write
    if begin in NEED_RESCUE and context.ssh.answer(RESCUE) is not Answer.OURS:
        begin = Phase.BOOT
    return ORDER[ORDER.index(begin) :]
