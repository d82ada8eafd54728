"""From parsed YAML to a model: what pydantic has to say, said with lines, expectations and suggestions."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, TypeVar, get_args, get_origin

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from homelab_provision.site.document import Document, KeyPath, at, is_null, walk
from homelab_provision.site.problems import Problem
from homelab_provision.site.values import EXPECTATION
from homelab_provision.text import did_you_mean, suggestion

Model = TypeVar("Model", bound=BaseModel)

_UNKNOWN_KEY = "unknown key"
# The last part of a place, where the key itself is wrong and not what stands behind it (pydantic).
_THE_KEY = "[key]"
# What belongs where a key is missing, where the name of the key alone does not say it.
_MEANING = {
    "passport": "the identity of the box: `macs`, `disks` and, where its firmware has one, `serial` (else "
    "`board_serial` or `uuid`); it is compared before anything is written",
    "macs": "a list of the MAC addresses of its wired network cards",
    "disks": "a list of its disks, each with `serial` and `size`",
    "size": 'bytes, or a size as in "256 GB"',
    "server": "the IPv4 address of the NFS server",
    "export": "the directory that the server exports, as in /srv/backup",
    "address": "an IPv4 address with the length of its prefix, as in 192.168.50.10/24",
    "endpoint": "a name or an address by which the home is found from outside, as in home.example.org",
    "networks": "a list of the tunnel's networks, as in [10.77.0.0/24]",
    "number": "a number of its own, from 2 on: that of its address in the tunnel's networks",
}
# The patterns of the models, in words.
FORMS = {
    r"^[0-9a-f][02468ace](:[0-9a-f]{2}){5}$": "the MAC address of one network card: six pairs of hex digits, "
    "as in 52:54:00:50:70:0b",
    r"^0x[0-9a-f]{16}$": "a world-wide name: 0x and 16 hex digits, as in 0x5000c50015ea71ac",
    r"^[a-z][a-z0-9_-]{0,30}$": "a name: a small letter, then small letters, digits, - and _ (31 at most)",
    r"^[ -~]{1,64}$": "one line of 1 to 64 ASCII characters",
    r"^\d{2}/\d{2}/\d{4}$": "a date as firmware writes it: month/day/year, as in 07/09/2024",
    r"^[A-Za-z0-9_-]+$": "the name of a CPU as QEMU calls it: letters, digits, - and _, as in Denverton",
    r"^[a-z0-9-]+$": "the name of a network card as QEMU calls it: small letters, digits and -, as in e1000e",
    r"^[a-z][a-z0-9-]{0,30}$": "a name: a small letter, then small letters, digits and - (31 at most)",
    r"^[a-z][a-z0-9]{0,14}$": "the name of a network interface: a small letter, then letters and digits (15 at most)",
    r"^[a-z0-9]([a-z0-9.-]*[a-z0-9])?$": "a domain in small letters, as in lab.home.arpa",
    r"^[a-z][a-z0-9_]*$": "the name of a variable: a small letter, then small letters, digits and _",
    r"^(/[A-Za-z0-9._-]+)+$": "an absolute path of letters, digits, . - and _, as in /srv/backup",
}
_KINDS = {
    "int_parsing": "a whole number",
    "int_type": "a whole number",
    "int_from_float": "a whole number",
    "float_parsing": "a number",
    "float_type": "a number",
    "bool_parsing": "true or false",
    "bool_type": "true or false",
    "string_type": "a text",
    "tuple_type": "a list",
    "list_type": "a list",
    "dict_type": "keys with values",
    "model_type": "keys with values",
    "model_attributes_type": "keys with values",
    "ip_v4_address": "an IPv4 address",
    "ip_v4_interface": _MEANING["address"],
}


def validate(
    model: type[Model],
    data: object,
    document: Document,
    path: KeyPath,
    problems: list[Problem],
    *,
    computed: Mapping[str, object] | None = None,
    whole: bool = True,
) -> Model | None:
    """`data`, which stands at `path` in `document`, as a `model`; None if it is not one (see `problems`).

    `computed` are fields that the file does not hold (a machine's name is the key above it); without `whole`, other
    things stand there, too.
    """
    hidden = frozenset(computed or ())
    if isinstance(data, dict):
        for key in hidden & data.keys():
            problems.append(_unknown_key(model, document, (*path, key), hidden))
        data = {**data, **(computed or {})}
    nothing = list(_keys_without_value(model, document, path, hidden)) if whole else []
    problems += nothing
    try:
        found = model.model_validate(data)
        return None if nothing else found
    except ValidationError as error:
        every = error.errors(include_url=False)
    wrong = [
        (details, _problem(model, document, path, details, hidden)) for details in every if not _follows(details, every)
    ]
    meant = {(details["loc"][:-1], problem.suggestion) for details, problem in wrong if problem.message == _UNKNOWN_KEY}
    for details, problem in wrong:
        # A misspelt key is one mistake, not also a missing one.
        if details["type"] != "missing" or (details["loc"][:-1], suggestion(str(details["loc"][-1]))) not in meant:
            problems.append(problem)
    return None


def _keys_without_value(
    model: type[BaseModel], document: Document, path: KeyPath, hidden: frozenset[str]
) -> Iterator[Problem]:
    """Unknown keys behind which nothing stands, as in `{use:keep}`, where a blank was forgotten."""
    for below, node in walk(at(document.root, path)):
        owner = model_at(model, below[:-1]) if below else None
        if owner and is_null(node) and isinstance(below[-1], str) and below[-1] not in owner.model_fields:
            yield _unknown_key(owner, document, (*path, *below), hidden if len(below) == 1 else frozenset())


def _follows(details: ErrorDetails, every: list[ErrorDetails]) -> bool:
    """A list is also "too short" when its items are wrong; that says nothing new."""
    place = details["loc"]
    return details["type"] == "too_short" and any(
        other["loc"][: len(place)] == place and len(other["loc"]) > len(place) for other in every
    )


def _problem(
    model: type[BaseModel], document: Document, base: KeyPath, details: ErrorDetails, hidden: frozenset[str]
) -> Problem:
    path, kind = (*base, *details["loc"]), details["type"]
    if kind == "extra_forbidden":
        owner = model_at(model, details["loc"][:-1])
        return _unknown_key(owner, document, path, hidden if len(details["loc"]) == 1 else frozenset())
    if kind == "missing":
        key = str(path[-1])
        return document.problem(path[:-1], f"missing key `{key}`", expected=_MEANING.get(key))
    if kind == "enum":
        words = [word.strip("' ") for word in details["ctx"]["expected"].replace(" or ", ", ").split(",")]
        return document.problem(
            path,
            _bad(details, document),
            expected=_one_of(words),
            at_value=True,
            suggestion=did_you_mean(str(details["input"]), words),
        )
    if kind == "too_short":
        return document.problem(path, "the list is empty", expected=_MEANING.get(str(path[-1]), "at least one"))
    if path[-1] == _THE_KEY:
        return document.problem(path[:-1], _bad(details, document), expected=_expected(details))
    if expected := _expected(details):
        return document.problem(path, _bad(details, document), expected=expected, at_value=True)
    message = details["msg"].removeprefix("Value error, ")
    return document.problem(path, message[:1].lower() + message[1:], at_value=isinstance(details["input"], str))


def _expected(details: ErrorDetails) -> str | None:
    """What belongs there, where the error is about one value."""
    kind, message = details["type"], details["msg"]
    if kind == EXPECTATION:
        return message
    if kind == "string_pattern_mismatch":
        return FORMS.get(details["ctx"]["pattern"], "another form")
    if kind not in _KINDS and message.startswith("Input should be "):
        return message.removeprefix("Input should be ")
    return _KINDS.get(kind)


def _bad(details: ErrorDetails, document: Document) -> str:
    if document.sealed:
        return "does not fit"
    return f"`{details['input']}` does not fit" if isinstance(details["input"], (str, int, float)) else "does not fit"


def _unknown_key(owner: type[BaseModel] | None, document: Document, path: KeyPath, hidden: frozenset[str]) -> Problem:
    known = [name for name in owner.model_fields if name not in hidden] if owner else []
    return document.problem(
        path, _UNKNOWN_KEY, expected=_one_of(known), suggestion=did_you_mean(str(path[-1]).partition(":")[0], known)
    )


def _one_of(words: list[str]) -> str | None:
    return "one of: " + ", ".join(sorted(words)) if words else None


def model_at(model: type[BaseModel], path: tuple[str | int, ...]) -> type[BaseModel] | None:
    """The model that describes what stands at `path` below `model` (lists are looked through; a mapping of names to
    models is none itself)."""
    current: type[BaseModel] | None = model
    names = False
    for step in path:
        if current is None:
            return None
        if names:
            names = False
        elif isinstance(step, str):
            field = current.model_fields.get(step)
            current = _model_in(field.annotation) if field else None
            names = field is not None and get_origin(field.annotation) is dict
    return None if names else current


def _model_in(annotation: Any) -> type[BaseModel] | None:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    return next((found for part in get_args(annotation) if (found := _model_in(part))), None)
