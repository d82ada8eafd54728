"""`provision backup` and `provision restore`: the data of hosts that are up."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from homelab_provision.cli.options import find_site, json_option, print_json, print_table, site_option
from homelab_provision.errors import UsageError


@click.command()
@click.argument("host")
@site_option
@click.option(
    "--type",
    "kind",
    type=click.Choice(["full", "diff", "incr"]),
    help="How much is written.  [default: full once a week, else incr]",
)
@click.option("--prove", is_flag=True, help="Restore it to a scratch place and compare, as the timer does.")
@json_option
def backup(host: str, site_dir: Path | None, kind: str | None, prove: bool, as_json: bool) -> None:
    """Back up the data of HOST now, with the fingerprint that a restore is compared with.

    \b
    Examples:
      provision backup db-wyse
      provision backup db-wyse --type full --prove
    """
    from homelab_provision.cli.render import renderer
    from homelab_provision.jobs.backup import back_up

    with renderer() as show:
        results = back_up(find_site(site_dir), host, kind, prove=prove, emit=show)
    _print(results, as_json)


@click.command()
@click.argument("host")
@site_option
@click.option("--to", "to", metavar="TIME", help="Its state at this time: 2026-11-23T07:30, with or without an offset.")
@click.option("--database", metavar="NAME", help="Only this database; the others stay as they are.")
@click.option("--stack", metavar="NAME", help="Only this stack; the others stay as they are.")
@click.option(
    "--from",
    "origin",
    type=click.Choice(["share", "second"]),
    default="share",
    show_default=True,
    help="Which repository: that on the NAS, or the second one, elsewhere.",
)
@click.option("--yes", is_flag=True, help="Do not ask.")
@json_option
def restore(
    host: str,
    site_dir: Path | None,
    to: str | None,
    database: str | None,
    stack: str | None,
    origin: str,
    yes: bool,
    as_json: bool,
) -> None:
    """Bring the data of HOST back from its backup: the newest state, or that of a TIME; or one part of it.

    \b
    The old data is replaced when the new is complete and compared, and kept beside it until the next restore.
    Examples:
      provision restore db-wyse --to 2026-11-23T07:30
      provision restore db-wyse --database spans
      provision restore site-wyse --stack notes --to 2026-11-23T07:30
      provision restore site-wyse --from second    the NAS is gone, too
    """
    from homelab_provision.cli.render import renderer
    from homelab_provision.jobs.backup import Part
    from homelab_provision.jobs.backup import restore as job

    if as_json and not yes:
        raise UsageError("`--json` never asks and never changes anything by itself", hint="add --yes")
    if database and stack:
        raise UsageError("`--database` and `--stack` name one part each", hint="restore them one after the other")
    part = Part("database", database) if database else Part("stack", stack) if stack else None
    with renderer() as show:

        def confirm(text: str) -> None:
            if not yes:
                show.confirm(f"{text} Type the name of the host", host)

        results = job(find_site(site_dir), host, to, part, second=origin == "second", emit=show, confirm=confirm)
    _print(results, as_json)


def _print(results: dict[str, dict[str, Any]], as_json: bool) -> None:
    if as_json:
        print_json(results)
        return
    rows = [
        [role, key, str(value)]
        for role, result in results.items()
        for key, value in result.items()
        if not isinstance(value, dict)
    ]
    print_table(rows, ["role", "what", ""])
