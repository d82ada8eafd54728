"""machines.yml, read into models; every mistake with its line."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar

from pydantic import Field, JsonValue
from ruamel.yaml.nodes import MappingNode

from homelab_provision.site.document import Document, at, is_null, plain
from homelab_provision.site.form import LABEL_EXPECTED, fault_of_name
from homelab_provision.site.models import IMAGE_MAX_AGE, Frozen, Machine, Part
from homelab_provision.site.problems import Problem
from homelab_provision.site.validation import validate
from homelab_provision.site.values import WrittenAge, age_text
from homelab_provision.site.virtual import LabNetwork
from homelab_provision.text import did_you_mean

MACHINES_FILE = "machines.yml"
Named = TypeVar("Named", Machine, Part)


class Settings(Frozen):
    """What a site may say about itself."""

    image_max_age: WrittenAge = Field(IMAGE_MAX_AGE, json_schema_extra={"default": age_text(IMAGE_MAX_AGE)})
    """An image of the system that is older than this is built anew before it is written, if a mirror can be reached:
    14d, 36h."""


class MachinesFile(Settings):
    """The machines of a homelab: boxes that can play a host, each with the passport it is recognised by."""

    lab: LabNetwork | None = None
    """The private network of a virtual lab."""
    machines: dict[str, Machine]
    """Name of a box: its description."""
    parts: dict[str, Part] = Field({})
    """Name of a part on the shelf: what it is, and which machines it goes into."""


@dataclass(frozen=True)
class Machines:
    """What could be read of machines.yml, and what is wrong with the rest."""

    machines: Mapping[str, Machine] = field(default_factory=dict)
    parts: Mapping[str, Part] = field(default_factory=dict)
    lab: LabNetwork | None = None
    settings: Settings = field(default_factory=Settings)
    problems: tuple[Problem, ...] = ()


def read_machines(document: Document) -> Machines:
    """Validate machine by machine, so that one mistake does not hide another."""
    problems = list(document.problems)
    if problems and document.root is None:
        return Machines(problems=tuple(problems))
    names = at(document.root, ("machines",))
    if not isinstance(document.root, MappingNode) or not (isinstance(names, MappingNode) or is_null(names)):
        problems.append(
            document.problem(
                ("machines",), "there are no machines", expected="a mapping `machines:` of names to machines"
            )
        )
        return Machines(problems=tuple(problems))
    data: Any = plain(document.root)
    known = list(MachinesFile.model_fields)
    for key in data.keys() - set(known):
        problems.append(
            document.problem(
                (key,), "unknown key", expected="one of: " + ", ".join(known), suggestion=did_you_mean(key, known)
            )
        )
    lab = validate(LabNetwork, data["lab"], document, ("lab",), problems) if "lab" in data else None
    machines = _named(Machine, "machines", document, data, problems)
    parts = _named(Part, "parts", document, data, problems)
    given = {key: data[key] for key in Settings.model_fields if key in data}
    settings = validate(Settings, given, document, (), problems, whole=False) or Settings()
    return Machines(machines, parts, lab, settings, tuple(problems))


def _named(
    model: type[Named], key: str, document: Document, data: Mapping[str, Any], problems: list[Problem]
) -> dict[str, Named]:
    """The things below a key of the file, each by its name."""
    names, described, found = at(document.root, (key,)), data.get(key) or {}, {}
    if not isinstance(names, MappingNode):
        if not is_null(names) and names is not None:
            problems.append(document.problem((key,), "does not fit", expected="a mapping of names", at_value=True))
        return {}
    for name in dict.fromkeys(str(each.value) for each, _ in names.value):
        if fault := fault_of_name(name):
            problems.append(document.problem((key, name), fault, expected=LABEL_EXPECTED))
        # A name with nothing below it is something that somebody began to describe: say what it lacks.
        thing = validate(model, described.get(name, {}), document, (key, name), problems, computed={"name": name})
        if thing is not None:
            found[name] = thing
    return found


def machines_schema() -> dict[str, JsonValue]:
    """The JSON schema of machines.yml, for editors; made from the models that read the file."""
    schema: dict[str, Any] = MachinesFile.model_json_schema(mode="validation")
    for described in (schema["$defs"]["Machine"], schema["$defs"]["Part"]):
        del described["properties"]["name"]  # it is the key above
        described["required"] = [key for key in described["required"] if key != "name"]
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema}
