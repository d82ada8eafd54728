"""The command `provision`. Only this package imports click and rich.

Each command lives in a module of its own, imported when it is used: `provision --help` stays fast.
"""

from __future__ import annotations

import importlib
import signal
import sys
from collections.abc import Callable
from contextlib import suppress
from io import StringIO
from types import FrameType

import click

from homelab_provision import __version__
from homelab_provision.cli.options import tell
from homelab_provision.cli.streams import settle
from homelab_provision.cli.trouble import of_a_bug, of_the_system
from homelab_provision.errors import ExitCode, Interrupted, ProvisionError

# name → where it is, what it does in a line
COMMANDS = {
    "rebuild": ("rebuild:rebuild", "Turn a machine into a host: wipe, write, converge, restore, prove."),
    "apply": ("plays:apply", "Bring hosts to what the site describes (site.yml)."),
    "run": ("plays:run", "Run any playbook against the site, recorded as a run."),
    "backup": ("data:backup", "Back up the data of a host now; --prove restores it to a scratch place and compares."),
    "restore": ("data:restore", "Bring the data of a host back: newest, of a time, or one database."),
    "verify": ("plays:verify", "Run the tests of a host's roles against it."),
    "runs": ("runs:runs", "Look at what was done: list, show, report."),
    "machines": ("machines:machines", "The boxes: who plays what, which could take over, and new ones."),
    "config": ("site:config", "Show the site as it is understood; the schema for editors."),
    "image": ("image:image", "Build and list bootable images."),
    "usb": ("usb:usb", "Write the rescue stick of the site; revoke the ones that are lost."),
    "identity": ("identity:identity", "New keys for a host whose box was stolen or sold; a new certificate authority."),
    "vpn": ("vpn:vpn", "Files and QR codes for the clients of the VPN; who may connect."),
    "lab": ("lab:lab", "Start, look into and stop the virtual lab."),
    "doctor": ("doctor:doctor", "Check that this computer can do all of this, with the repair for what is missing."),
}


class LazyGroup(click.Group):
    """Knows its commands by name; imports the one that is used."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        module, _, name = COMMANDS[cmd_name][0].partition(":")
        command = getattr(importlib.import_module(f"{__name__}.{module}"), name)
        assert isinstance(command, click.Command)
        return command

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """A word that is empty is what a shell makes of a variable that nobody has set: it never means "all"."""
        own = args[: args.index("--")] if "--" in args else args
        for before, word in zip(["", *own], own, strict=False):
            if not word.strip():
                what = f"`{before}` was given an empty value" if before.startswith("-") else "an argument is empty"
                raise click.UsageError(f"{what}; is a variable of your shell not set?", ctx)
            name, equals, value = word.partition("=")
            if name.startswith("--") and equals and not value.strip():
                raise click.UsageError(f"`{name}` was given an empty value; is a variable of your shell not set?", ctx)
        return super().parse_args(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, text) for name, (_, text) in COMMANDS.items()])


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.version_option(__version__, prog_name="provision")
def cli() -> None:
    """Rebuild the machines of a homelab: from a blank disk to a proven host, in one command.

    \b
    Example, in the virtual lab of a clone:
      provision lab up
      provision rebuild db-wyse --onto wyse-b
      provision runs report latest
    """


def main() -> None:
    """The entry point: one place where errors become a message and an exit code."""
    settle()
    _end_like_ctrl_c()
    # Without its stand-alone mode, click returns the code of `ctx.exit` instead of raising it.
    code = _guarded(lambda: cli.main(standalone_mode=False))
    sys.exit(_guarded(sys.stdout.flush) or code)


def _end_like_ctrl_c() -> None:
    """A closed terminal or a `kill` ends us as Ctrl-C does: children, keys and temporary files go with us."""
    ours = [each for each in (signal.SIGTERM, signal.SIGHUP) if signal.getsignal(each) is signal.SIG_DFL]

    def stop(number: int, frame: FrameType | None) -> None:
        for each in ours:  # a second one would only disturb the cleaning up
            signal.signal(each, lambda number, frame: None)
        raise KeyboardInterrupt

    for each in ours:  # `nohup` has them ignored: so be it
        signal.signal(each, stop)


def _guarded(work: Callable[[], object]) -> int:
    """The exit code of some work; what it raised has been said on standard error."""
    try:
        code = work()
    except SystemExit as left:
        code = left.code
    except (KeyboardInterrupt, click.exceptions.Abort):
        return _said(Interrupted("interrupted"))
    except click.ClickException as error:
        with suppress(OSError):
            error.show(file=(shown := StringIO()))
            tell(shown.getvalue().rstrip("\n"))
        return ExitCode.USAGE
    except ProvisionError as error:
        return _said(error)
    except OSError as error:
        return _said(of_the_system(error))
    except Exception as bug:
        return _said(of_a_bug(bug))
    return int(code) if isinstance(code, int) else ExitCode.DONE


def _said(error: ProvisionError) -> int:
    from homelab_provision.cli.render import print_error

    with suppress(OSError):  # a full standard error takes nothing; the exit code still tells
        print_error(error)
        sys.stderr.flush()
    return error.exit_code
