"""`provision rebuild`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

import click

from homelab_provision.cli.options import find_site, json_option, print_json, print_text, site_option, tell
from homelab_provision.errors import ExitCode, UsageError
from homelab_provision.paths import way_choices
from homelab_provision.phases import ORDER
from homelab_provision.runs.phase import Phase

if TYPE_CHECKING:
    from homelab_provision.runs.store import Request


LAST = "last"
# What `--confirm-code` without a code stands for; no code has such letters.
ASK = "ask"


def _code(context: click.Context, option: click.Parameter, value: str | None) -> str | None:
    """A code, `ASK`, or nothing. A host's name that was taken for the code is told from one."""
    from homelab_provision.phases.confirm import is_code

    if value is None or value == ASK or is_code(value):
        return value
    raise click.BadParameter(
        f"{value!r} is no code, which has eight letters, as in BCDF-GHJK. Without a code, "
        "`--confirm-code` stands behind HOST and asks for it."
    )


@click.command()
@click.argument("hosts", nargs=-1, metavar="[HOST]...")
@click.option("--all", "everything", is_flag=True, help="All hosts that may be rebuilt, at once.")
@site_option
@click.option(
    "--onto", metavar="MACHINE", help="The machine that becomes HOST.  [default: its own, or the spare that fits]"
)
@click.option(
    "--way",
    type=click.Choice(way_choices()),
    help="How it gets into the rescue; `auto` takes the safest that it can go.  [default: as machines.yml says]",
)
@click.option("--keep-data", is_flag=True, help="Leave the data partition (/srv) untouched.")
@click.option(
    "--accept-unproven-backup", is_flag=True, help="Go on although the backup is missing, damaged or unproven."
)
@click.option(
    "--erase", metavar="SERIAL", multiple=True, help="This disk may go although it carries something foreign."
)
@click.option(
    "--from", "first", type=click.Choice([phase.value for phase in ORDER]), help="Begin the last run again here."
)
@click.option(
    "--resume",
    metavar="[RUN]",
    is_flag=False,
    flag_value=LAST,
    help="Go on with the last run of HOST, or with RUN, at its first phase that is not proven.",
)
@click.option("--plan", "plan_only", is_flag=True, help="Show what would happen, and change nothing.")
@click.option(
    "--confirm-code",
    "code",
    metavar="[CODE]",
    is_flag=False,
    flag_value=ASK,
    callback=_code,
    help="Compare the code on the rescue's own screen with the rescue that answers, before anything is sent to it: "
    "a stolen stick cannot know it. Asks for it, unless it is given.",
)
@click.option("--yes", is_flag=True, help="Do not ask. Needs everything to be unambiguous.")
@json_option
def rebuild(
    hosts: tuple[str, ...],
    everything: bool,
    site_dir: Path | None,
    onto: str | None,
    way: str | None,
    keep_data: bool,
    accept_unproven_backup: bool,
    erase: tuple[str, ...],
    first: str | None,
    resume: str | None,
    plan_only: bool,
    code: str | None,
    yes: bool,
    as_json: bool,
) -> None:
    """Turn a machine into HOST: wipe it, write the system, converge, restore the data, prove that it works.

    Several at once: what one of them needs of another comes first, and one question is asked for all.

    \b
    Examples:
      provision rebuild db-wyse                    its own machine, or the one spare that fits
      provision rebuild db-wyse --onto wyse-b      this spare becomes db-wyse
      provision rebuild db-wyse --plan             what would happen
      provision rebuild db-wyse --resume           after an interruption
      provision rebuild db-wyse --resume 0042      another run than the last one
      provision rebuild db-wyse site-wyse          several at once; --all: every host
      provision rebuild db-wyse --confirm-code     a stick of this site may be in other hands
    """
    from homelab_provision.cli.render import renderer
    from homelab_provision.jobs import rebuild as job
    from homelab_provision.jobs.report import document
    from homelab_provision.runs import store
    from homelab_provision.runs.store import Request

    if not hosts and resume and not everything:
        hosts, resume = (resume,), LAST  # `--resume db-wyse`: what stands behind it is the host
    if bool(hosts) == everything:
        raise click.UsageError("`--all` names every host already." if hosts else "Missing argument 'HOST'.")
    if resume is not None and not resume.strip():
        raise UsageError("`--resume` was given an empty name", hint="leave it out for the last run")
    site = find_site(site_dir)
    if as_json and not yes and not plan_only:
        raise UsageError("`--json` never asks and never changes anything by itself", hint="add --yes, or --plan")
    if (resume or first) and (onto or way or erase or keep_data or accept_unproven_backup):
        raise UsageError(
            "a run that goes on keeps its plan: --onto, --way, --erase, --keep-data and --accept-unproven-backup "
            "do not go with it",
            hint="leave them out, or start a new run without --resume and --from",
        )
    request = Request(
        command="rebuild",
        site=site,
        host=hosts[0] if hosts else "",
        onto=onto,
        way=way,
        keep_data=keep_data,
        accept_unproven_backup=accept_unproven_backup,
        erase=frozenset(erase),
        confirm_code=code is not None,
    )
    if everything or len(hosts) > 1:
        from homelab_provision.cli.rebuild_many import rebuild_many

        alone = {"--onto": onto, "--resume": resume, "--from": first, "a code": code if code != ASK else None}
        if given := [word for word, value in alone.items() if value]:
            raise UsageError(
                f"{given[0]} is for one host, and these are several",
                hint="rebuild that one alone; which machine each of several becomes stands in machines.yml (`plays`)",
            )
        code = None if code is None else ""
        rebuild_many(request, hosts, plan_only=plan_only, unattended=yes, code=code, as_json=as_json)
    if plan_only:
        _show_plan(request, unattended=yes or as_json, as_json=as_json)
    asked: Request | store.Run = request
    if resume or first:
        asked = store.last_of(hosts[0], site) if resume in (None, LAST) else store.named(resume, hosts[0], site)
    with renderer(phases=[phase.value for phase in ORDER]) as show:
        run = job.rebuild(
            asked,
            emit=show,
            person=show,
            unattended=yes,
            first=Phase(first) if first else None,
            code="" if code == ASK else code,
        )
    if as_json:
        print_json(document(run))
    tell(f"report: {run.report}")


def _show_plan(request: Request, *, unattended: bool, as_json: bool) -> NoReturn:
    from homelab_provision.cli.render import renderer
    from homelab_provision.jobs.rebuild import plan_only

    with renderer() as show:
        plan = plan_only(request, emit=show, person=show, unattended=unattended)
    if as_json:
        print_json(plan.model_dump(mode="json"))
    else:
        for label, text in plan.lines().items():
            print_text(f"{label:<8} {text}")
    raise click.exceptions.Exit(ExitCode.CHANGES_PENDING)
