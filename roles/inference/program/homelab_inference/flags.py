"""What a build of llama.cpp understands, from its own `--help`: options come, go, and are renamed."""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from homelab_host import process
from homelab_host.errors import Trouble

SECONDS = 300.0  # of a processor that is emulated, and a disk that is asked for the first time
# What only a file of presets may say.
PRESET_ONLY = ("load-on-startup", "stop-timeout")
# What stands before the description: names, separated by commas, and what they take.
_OPTION = re.compile(r"(?P<names>-{1,2}[A-Za-z0-9][\w.-]*(?:,\s+-{1,2}[A-Za-z0-9][\w.-]*)*)(?P<rest>.*)")
YES, NO = ("on", "true", "1", "enabled"), ("off", "false", "0", "disabled")


@dataclass(frozen=True)
class Option:
    """`takes` stands for its value in the help (`N`, `FNAME`, `[on|off|auto]`); empty: it is switched on or off."""

    names: tuple[str, ...]
    takes: str
    text: str

    @property
    def removed(self) -> bool:
        return "argument has been removed" in self.text

    @property
    def words(self) -> tuple[str, ...]:
        """The only values there are; none if they are not listed."""
        if not self.takes:
            return (*YES, *NO)
        listed = re.fullmatch(r"[\[{<](.+)[\]}>]", self.takes)
        found = tuple(re.split(r"[|,]", listed[1])) if listed else tuple(re.findall(r"(?<!\S)- ([\w+-]+):", self.text))
        return found if len(found) > 1 and all(re.fullmatch(r"[\w+-]+", word) for word in found) else ()


@dataclass(frozen=True)
class Flags:
    """The options of one build, by each of their long names, without the dashes."""

    version: str
    options: Mapping[str, Option]

    def knows(self, name: str) -> bool:
        return name in self.options and not self.options[name].removed

    def complain(self, name: str, value: str) -> str:
        """Why this build would not take it as a preset; empty if it would, as far as its help tells."""
        if name in PRESET_ONLY:
            return ""
        if not self.knows(name):
            return f"this build has no option `{name}`{_similar(name, self.options)}"
        option = self.options[name]
        words = option.words
        if words and value.lower() not in (*words, *(YES + NO if "on" in words else ())):
            return f"`{name}` is one of {', '.join(words)}, and not {value!r}"
        if option.takes == "N" and not re.fullmatch(r"-?\d+(\.\d+)?", value) and f"'{value}'" not in option.text:
            return f"`{name}` is a number, and not {value!r}"
        return ""


def flags_of(server: Path) -> Flags:
    """Ask a build. Raises Trouble if it does not run here."""
    answers = {}
    for word in ("--version", "--help"):
        done = process.run_within([server, word], seconds=SECONDS)
        if done.status:
            raise Trouble(
                f"`{server} {word}` fails with status {done.status}: {done.last_words}",
                "is the build for this kind of processor, and for the libraries of this release of Debian?",
            )
        answers[word] = f"{done.out}\n{done.err}"
    version = re.search(r"^version: (.+)$", answers["--version"], re.MULTILINE)
    flags = Flags(version[1].strip() if version else "unknown", parse_help(answers["--help"]))
    if not flags.knows("models-preset"):
        raise Trouble(
            f"{server} ({flags.version}) has no router: its help does not know --models-preset", "take a newer build"
        )
    return flags


def parse_help(text: str) -> dict[str, Option]:
    """Every option, by its long names. Their descriptions are indented, or follow in the same line."""
    found: dict[str, Option] = {}
    paragraph: list[str] = []
    for line in [*text.splitlines(), "-----"]:
        if line[:1].isspace() or not line:
            paragraph.append(line.strip())
            continue
        for option in _option(paragraph):
            found |= {name[2:]: option for name in option.names if name.startswith("--")}
        paragraph = [line]
    return found


def _option(paragraph: list[str]) -> list[Option]:
    matched = _OPTION.fullmatch(paragraph[0]) if paragraph and paragraph[0].startswith("-") else None
    if not matched or paragraph[0].startswith("---"):
        return []
    names = tuple(re.split(r",\s+", matched["names"]))
    # The value follows after one blank, the description after more.
    takes, _, described = matched["rest"].partition("  ")
    if matched["rest"].startswith("  "):
        takes, described = "", matched["rest"]
    return [Option(names, takes.strip(), " ".join([described.strip(), *paragraph[1:]]))]


def _similar(name: str, options: Mapping[str, Option]) -> str:
    """Named differently, perhaps: the nearest names that there are."""
    near = difflib.get_close_matches(name, [each for each in options if not options[each].removed], n=2, cutoff=0.75)
    return f"; did you mean {' or '.join(f'`{each}`' for each in near)}?" if near else ""
