"""How old an image may be, and what happens when it is older."""

from __future__ import annotations

import threading
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from homelab_provision.errors import ProvisionError
from homelab_provision.events import Event, Notice
from homelab_provision.image import host_image
from homelab_provision.image.host_image import image_line, image_of
from homelab_provision.image.image import Image, load_image
from homelab_provision.image.mirror import Mirror
from homelab_provision.image.os_image import renew
from homelab_provision.site.models import Host
from tests.unit.image.test_image import _image
from tests.unit.site.sites import MACHINES, problems_of, site_of

HOST = Host(name="db-wyse", address="192.168.50.10", provisioned=True)
TWO_WEEKS = timedelta(days=14)


class Shelf:
    """A cache with one image, a mirror that may answer, and a builder that may fail."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch, *, days: int) -> None:
        made = _image(folder / "old", datetime.now(UTC) - timedelta(days=days))
        self.old = made.placed(folder / "old")
        self.new = made.model_copy(update={"digest": "f" * 64, "created": datetime.now(UTC)})
        self.online, self.error, self.built = True, None, 0
        self.said: list[str] = []
        monkeypatch.setattr(host_image, "find_image", lambda recipe, cache: self.old)
        monkeypatch.setattr(host_image, "build_image", lambda recipe, cache, emit: self.build())
        monkeypatch.setattr(host_image, "find_mirror", lambda override: Mirror("http://m/debian"))
        monkeypatch.setattr(host_image, "is_offered", lambda base, suite: self.online)

    error: ProvisionError | None

    def build(self) -> Image:
        self.built += 1
        if self.error:
            raise self.error
        return self.new

    def get(self, **how: object) -> Image:
        return image_of(HOST, self.emit, **how)  # type: ignore[arg-type]

    def emit(self, event: Event) -> None:
        if isinstance(event, Notice):
            self.said.append(f"{event.level}: {event.text}")


@pytest.mark.parametrize(("days", "built"), [(0, 0), (13, 0), (15, 1), (400, 1), (-400, 1)])
def test_an_image_that_is_too_old_is_built_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, days: int, built: int
) -> None:
    shelf = Shelf(tmp_path, monkeypatch, days=days)
    assert shelf.get(max_age=TWO_WEEKS) == (shelf.new if built else shelf.old)
    assert shelf.built == built


def test_hosts_with_the_same_roles_have_one_image_built_however_many_ask(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shelf = Shelf(tmp_path, monkeypatch, days=0)
    build, there = shelf.build, list[Image]()

    def slowly() -> Image:
        time.sleep(0.2)  # the others come meanwhile
        there.append(build())
        return there[0]

    monkeypatch.setattr(shelf, "build", slowly)
    monkeypatch.setattr(host_image, "find_image", lambda recipe, cache: there[0] if there else None)
    found: list[Image] = []
    threads = [threading.Thread(target=lambda: found.append(shelf.get())) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert found == [shelf.new] * 3
    assert shelf.built == 1


def test_nobody_asked_for_an_age(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shelf = Shelf(tmp_path, monkeypatch, days=400)
    assert shelf.get() == shelf.old


@pytest.mark.negative
def test_offline_the_old_image_is_used_with_a_warning(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shelf = Shelf(tmp_path, monkeypatch, days=20)
    shelf.online = False
    assert shelf.get(max_age=TWO_WEEKS) == shelf.old
    assert shelf.built == 0
    assert [said for said in shelf.said if said.startswith("warning") and "20 days old" in said]


@pytest.mark.negative
def test_a_build_that_fails_does_not_keep_a_host_from_coming_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shelf = Shelf(tmp_path, monkeypatch, days=20)
    shelf.error = ProvisionError("the archive is half way through an update")
    assert shelf.get(max_age=TWO_WEEKS) == shelf.old
    assert any("half way through an update" in said for said in shelf.said if said.startswith("warning"))
    with pytest.raises(ProvisionError):
        shelf.get(anew=True)  # who asks for a new one is not given an old one


@pytest.mark.negative
def test_an_image_without_security_updates_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shelf = Shelf(tmp_path, monkeypatch, days=0)
    shelf.old = shelf.old.model_copy(update={"security": False})
    shelf.get(max_age=TWO_WEEKS)
    assert any("without Debian's security updates" in said for said in shelf.said if said.startswith("warning"))


def test_the_same_content_built_again_is_new(tmp_path: Path) -> None:
    """Same inputs, same digest: without this it would be built again at every rebuild."""
    old = _image(tmp_path / "x", datetime(2026, 1, 1, tzinfo=UTC))
    renew(tmp_path / "x", old.model_copy(update={"created": datetime(2026, 3, 1, tzinfo=UTC), "payload_sha256": "z"}))
    now = load_image(tmp_path / "x")
    assert now.created == datetime(2026, 3, 1, tzinfo=UTC)
    assert (now.digest, now.payload_sha256) == (old.digest, old.payload_sha256)


@pytest.mark.parametrize(
    ("days", "security", "line"),
    [
        (0, True, "abc, built less than a day ago"),
        (1, True, "abc, built a day ago"),
        (12, True, "abc, built 12 days ago"),
        (-3, True, "abc, built less than a day ago"),
        (2, False, f"abc, built 2 days ago, {host_image.WITHOUT_SECURITY}"),
    ],
)
def test_the_plan_shows_how_old_the_image_is(days: int, security: bool, line: str) -> None:
    now = datetime(2026, 11, 25, tzinfo=UTC)
    assert image_line("abc", now - timedelta(days=days), security, now) == line
    assert image_line("abc", None, True) == "abc"  # the plan of an older version


def test_a_site_says_how_old_is_too_old() -> None:
    assert site_of().image_max_age == TWO_WEEKS
    assert site_of(f"image_max_age: 36h\n{MACHINES}").image_max_age == timedelta(hours=36)


@pytest.mark.negative
@pytest.mark.parametrize("value", ["14", "0d", "-3d", "1.5d", "two weeks", "''", "[14d]", "9999999d", "yes"])
def test_what_is_no_age_is_shown_with_its_line(value: str) -> None:
    said = problems_of(f"image_max_age: {value}\n{MACHINES}")
    assert "machines.yml:1" in said
    assert "image_max_age" in said
    assert "14d" in said or "36h" in said
