"""What a value has to look like is said in words."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from homelab_provision.site.machines import machines_schema
from homelab_provision.site.models import Host
from homelab_provision.site.problems import SiteError
from homelab_provision.site.validation import FORMS
from tests.unit.site.sites import HOSTS, MACHINES, site_of


def patterns(schema: object) -> Iterator[str]:
    if isinstance(schema, dict):
        if isinstance(found := schema.get("pattern"), str):
            yield found
        for part in schema.values():
            yield from patterns(part)
    elif isinstance(schema, list):
        for part in schema:
            yield from patterns(part)


@pytest.mark.negative
def test_no_mistake_is_answered_with_a_regular_expression() -> None:
    with pytest.raises(SiteError) as caught:
        site_of(f"lab: {{namespace: Größe, router: 10.9.9.1/24}}\n{MACHINES}", HOSTS)
    assert "a small letter, then small letters, digits and -" in caught.value.message
    assert "^[" not in caught.value.message


def test_every_pattern_of_the_models_has_words() -> None:
    used = {*patterns(machines_schema()), *patterns(Host.model_json_schema())}
    # For editors only: sizes, ages and MAC addresses have validators with words of their own.
    own_words = (r"^\d", "^[0-9A-Fa-f]{2}")
    assert {pattern for pattern in used - set(FORMS) if not pattern.startswith(own_words)} == set()
