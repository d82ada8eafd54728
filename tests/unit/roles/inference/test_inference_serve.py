"""From what is declared to a server that answers: builds, presets, and the way back when the new one does not do."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.unit.roles import programs
from tests.unit.roles.inference import stand_in_server
from tests.unit.roles.inference.conftest import CAREFUL, KEY, RELEASE, Document, Release, Unit, of_path, parsed

apply, ask, serve = programs.inference("apply"), programs.inference("ask"), programs.inference("serve")
Trouble = programs.inference("errors").Trouble
pytestmark = [pytest.mark.processes, CAREFUL]
stand_in_only = pytest.mark.skipif(bool(RELEASE), reason="a real build does not misbehave at will")


def models(places: Any, key: str = "") -> list[str]:
    answer = ask.ask(places.socket, "/v1/models", key)
    return [str(model["id"]) for model in answer.json["data"]]


def test_what_is_declared_is_served_and_nothing_is_done_twice(
    places: Any, unit: Unit, document: Document, release: Release
) -> None:
    config = parsed(document(release(11669)))
    told = apply.apply(config, places, unit, check=True)
    assert told["actions"] == [
        "install build b11669",
        "bring tiny.gguf of tiny, " + told["actions"][1].partition(", ")[2],
    ]
    assert not places.builds.exists()
    done = apply.apply(config, places, unit)
    assert done["actions"][1:] == [
        "brought tiny.gguf of tiny",
        "serve build b11669",
        "write presets",
        "write arguments",
    ]
    assert models(places) == ["tiny"]
    assert apply.apply(config, places, unit, check=True) == {"changed": False, "actions": [], "undeclared": []}
    assert apply.apply(config, places, unit)["changed"] is False
    assert unit.starts == 1


def test_a_newer_build_is_served_and_the_one_before_it_comes_back(
    places: Any, unit: Unit, document: Document, release: Release
) -> None:
    apply.apply(parsed(document(release(11669))), places, unit)
    config = parsed(document(release(11670)))
    assert "serve build b11670 instead of b11669" in apply.apply(config, places, unit)["actions"]
    assert "/builds/b11670/" in Path(f"/proc/{unit.child.pid}/cmdline").read_text()
    apply.rollback(config, places, unit)
    assert "/builds/b11669/" in Path(f"/proc/{unit.child.pid}/cmdline").read_text()
    assert (places.current.readlink().name, places.previous.readlink().name) == ("b11669", "b11670")
    assert apply.status(config, places, unit)["declared_build"] == "b11670"
    assert models(places) == ["tiny"]


@stand_in_only
def test_a_build_is_told_in_its_own_words(places: Any, unit: Unit, document: Document, release: Release) -> None:
    """From one before the renames to one after them, and back."""
    older = release(9000, help=stand_in_server.COMMON + stand_in_server.BEFORE)
    apply.apply(parsed(document(older)), places, unit)
    assert "mmap = off\n" in places.presets.read_text()
    assert "--cors-origins" not in places.arguments.read_text()
    config = parsed(document(release(11669)))
    apply.apply(config, places, unit)
    assert "load-mode = none\n" in places.presets.read_text()
    assert "--cors-origins localhost" in places.arguments.read_text()
    apply.rollback(config, places, unit)
    assert "mmap = off\n" in places.presets.read_text()


@pytest.mark.parametrize(
    ("options", "why"),
    [
        ({"ctx-sise": 5}, "no option `ctx-sise`; did you mean `ctx-size`?"),
        ({"ctx-size": "many"}, "`ctx-size` is a number, and not 'many'"),
        ({"pooling": "sum"}, "`pooling` is one of none, mean, cls, last, rank, and not 'sum'"),
        ({"load-mode": "quick"}, "`load-mode` is one of auto, none, mmap, "),
        ({"warmup": "perhaps"}, "`warmup` is one of on, true"),
        ({"draft-max": 5}, "no option `draft-max`"),
        ({"api-key": "x"}, "`api-key` is not said this way"),
        ({"hf-repo": "a/b"}, "`hf-repo` is not said this way"),
    ],
)
def test_presets_that_the_build_would_not_take_change_nothing(
    places: Any, unit: Unit, document: Document, release: Release, options: dict[str, Any], why: str
) -> None:
    build = release(11669)
    apply.apply(parsed(document(build)), places, unit)
    before = serve.in_place(places)
    broken = document(build)
    broken["models"][0]["options"] = options
    with pytest.raises(Trouble) as caught:
        apply.apply(parsed(broken), places, unit)
    assert why in caught.value.message
    assert "options of tiny" in caught.value.message
    assert serve.in_place(places) == before
    assert (unit.starts, models(places)) == (1, ["tiny"])


@pytest.mark.negative
def test_more_models_at_the_start_than_there_may_be_are_refused(document: Document, release: Release) -> None:
    told = document(release(11669))
    told["models"] = [dict(told["models"][0], name=name, aliases=[], load_on_startup=True) for name in ("one", "two")]
    with pytest.raises(Trouble, match=r"one, two are to be loaded when the server starts, and .* is 1"):
        parsed(told)
    assert parsed({**told, "models_max": 2}).models_max == 2


def test_what_its_help_does_not_tell_the_build_itself_tells(
    places: Any, unit: Unit, document: Document, release: Release, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A key of the presets that looks right and is not: the trial finds it, and the old server has never stopped."""
    build = release(11669)
    apply.apply(parsed(document(build)), places, unit)
    child = unit.child.pid
    flags = programs.inference("flags")
    monkeypatch.setattr(flags.Flags, "complain", lambda self, name, value: "")
    with pytest.raises(Trouble) as caught:
        apply.apply(parsed(document(build, defaults={"no-such-key": "on"})), places, unit)
    assert "does not start with these presets" in caught.value.message
    assert "option 'no-such-key' not recognized in preset" in caught.value.message
    assert (unit.child.pid, unit.state(), models(places)) == (child, "active", ["tiny"])


def test_a_build_that_does_not_run_here_is_not_installed(
    places: Any, unit: Unit, document: Document, release: Release
) -> None:
    apply.apply(parsed(document(release(11669))), places, unit)
    with pytest.raises(Trouble, match="fails with status 127"):
        apply.apply(parsed(document(release(11670, status=127))), places, unit)
    assert [path.name for path in places.builds.iterdir()] == ["b11669", "current"]
    assert models(places) == ["tiny"]


@stand_in_only
def test_a_build_that_fails_only_in_service_makes_room_for_the_one_before(
    places: Any, unit: Unit, document: Document, release: Release
) -> None:
    """As one would that the unit's sandbox disturbs: the trial has seen nothing of it."""
    apply.apply(parsed(document(release(11669))), places, unit)
    before = serve.in_place(places)
    bad = release(11670, extra="if '--metrics' in sys.argv: sys.exit('0.00 E cannot work here')")
    with pytest.raises(Trouble) as caught:
        apply.apply(parsed(document(bad)), places, unit)
    assert "cannot work here" in caught.value.message
    assert caught.value.hint == "build b11669 is served again, as it was"
    assert serve.in_place(places) == before
    assert not places.previous.exists()
    assert models(places) == ["tiny"]


def test_a_model_that_cannot_be_loaded_at_the_start_brings_the_old_back(
    places: Any, unit: Unit, document: Document, release: Release, tmp_path: Path
) -> None:
    build = release(11669)
    apply.apply(parsed(document(build)), places, unit)
    broken = tmp_path / "nas" / "broken.gguf"
    broken.write_bytes(b"no model")
    changed = document(build)
    changed["models"].append({"name": "broken", "files": [of_path(broken)], "load_on_startup": True})
    with pytest.raises(Trouble, match="broken could not be loaded"):
        apply.apply(parsed(changed), places, unit)
    assert models(places) == ["tiny"]


def test_a_model_that_is_to_be_loaded_at_the_start_is(
    places: Any, unit: Unit, document: Document, release: Release
) -> None:
    wanted = document(release(11669))
    wanted["models"][0]["load_on_startup"] = True
    apply.apply(parsed(wanted), places, unit)
    assert apply.status(parsed(wanted), places, unit)["models"] == {"tiny": "loaded"}


def test_with_keys_strangers_get_nothing(places: Any, unit: Unit, document: Document, release: Release) -> None:
    places.state.mkdir()
    (places.state / "keys").write_text(f"# of the site\n{KEY}\n")
    apply.apply(parsed(document(release(11669), keys=True)), places, unit)
    assert ask.ask(places.socket, "/v1/models").status == 401
    assert models(places, KEY) == ["tiny"]
    assert KEY not in places.arguments.read_text() + places.presets.read_text()


def test_other_bytes_of_a_model_are_a_reason_to_start_anew(
    places: Any, unit: Unit, document: Document, release: Release, tmp_path: Path
) -> None:
    build = release(11669)
    apply.apply(parsed(document(build)), places, unit)
    source = tmp_path / "nas" / "tiny.gguf"
    source.write_bytes(source.read_bytes()[::-1])
    changed = document(build)
    changed["models"][0]["files"] = [of_path(source)]
    assert apply.apply(parsed(changed), places, unit)["actions"] == ["brought tiny.gguf of tiny", "write presets"]
    assert unit.starts == 2


def test_a_server_that_has_stopped_is_started(places: Any, unit: Unit, document: Document, release: Release) -> None:
    config = parsed(document(release(11669)))
    apply.apply(config, places, unit)
    unit.stop()
    assert apply.apply(config, places, unit, check=True)["actions"] == ["start the server"]
    assert apply.apply(config, places, unit)["actions"] == ["start the server"]
    assert models(places) == ["tiny"]


def test_builds_that_nobody_wants_are_purged(places: Any, unit: Unit, document: Document, release: Release) -> None:
    for number in (1, 2, 3):
        config = parsed(document(release(number)))
        apply.apply(config, places, unit)
    assert apply.purge(config, places)["actions"] == ["deleted build b1"]
    assert programs.inference("builds").installed(places) == ["b2", "b3"]


@pytest.mark.negative
def test_a_build_that_is_served_is_not_replaced_under_its_own_name(
    places: Any, unit: Unit, document: Document, release: Release
) -> None:
    build = release(11669)
    apply.apply(parsed(document(build)), places, unit)
    with pytest.raises(Trouble, match="made from something else"):
        apply.apply(parsed(document({**build, "sha256": "0" * 64})), places, unit)
