"""The words of Label Studio, as far as texts are sorted into one of several choices: what a project asks for, what its
annotations say, what a prediction looks like."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Self
from xml.etree import ElementTree


class NotOurs(ValueError):
    """A project whose labels are no choices about a text."""


@dataclass(frozen=True)
class Question:
    """One <Choices> about one <Text> of a labelling configuration, and the field of a task that has the text."""

    choices: str
    text: str
    field: str

    @classmethod
    def of(cls, config: str) -> Self:
        """The first that there is. Raises `NotOurs`."""
        try:
            tags = list(ElementTree.fromstring(config).iter())
        except ElementTree.ParseError as error:
            raise NotOurs(f"the labelling configuration is no XML: {error}") from None
        fields = {tag.get("name"): tag.get("value", "") for tag in tags if tag.tag == "Text"}
        for tag in tags:
            name, about = tag.get("name"), tag.get("toName")
            if tag.tag == "Choices" and name and about and fields.get(about, "").startswith("$"):
                return cls(name, about, fields[about].removeprefix("$"))
        raise NotOurs("the labelling configuration has no <Choices> about a <Text> with a field of the task")

    def texts(self, tasks: Iterable[Mapping[str, Any]]) -> list[str]:
        return [str(task["data"].get(self.field, "")) for task in tasks]

    def examples(self, tasks: Iterable[Mapping[str, Any]]) -> list[tuple[str, str]]:
        """Text and label of every finished annotation that made one choice; what was skipped teaches nothing."""
        tasks = list(tasks)
        return [
            (text, label)
            for task, text in zip(tasks, self.texts(tasks), strict=True)
            for annotation in task.get("annotations") or []
            if not annotation.get("was_cancelled") and (label := self._label(annotation)) is not None
        ]

    def _label(self, annotation: Mapping[str, Any]) -> str | None:
        found = [
            choice
            for region in annotation.get("result") or []
            if region.get("from_name") == self.choices
            for choice in region["value"].get("choices", [])
        ]
        return str(found[0]) if len(found) == 1 else None

    def prediction(self, label: str, score: float, version: str) -> dict[str, Any]:
        """`score`: how sure it is, 0 to 1. Label Studio can show first what it is least sure of."""
        region = {"from_name": self.choices, "to_name": self.text, "type": "choices", "value": {"choices": [label]}}
        return {"result": [region], "score": round(score, 6), "model_version": version}
