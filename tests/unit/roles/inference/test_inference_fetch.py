"""Models come whole or not at all: over connections that fall, onto disks too small, with no bytes but the declared."""

from __future__ import annotations

import json
import os
from collections import namedtuple
from pathlib import Path
from typing import Any

import pytest

from tests.unit.roles import programs
from tests.unit.roles.inference.conftest import Document, Hub, of_path, of_url, parsed, sha256, spoken

config, download, fetch = (programs.inference(name) for name in ("config", "download", "fetch"))
Trouble = programs.inference("errors").Trouble
DATA = bytes(range(256)) * 4096 * 4  # 4 MiB
BUILD = {"name": "b1", "method": "release", "source": "/nowhere.tar", "sha256": "0" * 64}


@pytest.fixture(autouse=True)
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(download, "PAUSES", (0.0,))


def of(document: Document, *models: dict[str, Any], **changed: Any) -> Any:
    return parsed(document(BUILD, models=list(models), **changed))


def file_of(told: Any) -> Path:
    return Path(fetch.folder_of(told, told.models[0]) / told.models[0].files[0].name)


def test_a_connection_that_falls_is_taken_up_where_it_fell(hub: Hub, document: Document) -> None:
    told = of(document, {"name": "large", "files": [of_url(hub, "large.gguf", DATA)]})
    hub.drops = [1_000_000, 500_000]
    fetch.fetch(told)
    assert file_of(told).read_bytes() == DATA
    assert hub.asked == [None, "bytes=1000000-", "bytes=1500000-"]
    assert [path.name for path in sorted(file_of(told).parent.iterdir())] == [".verified.json", "large.gguf"]


def test_a_run_that_gave_up_is_taken_up_by_the_next(hub: Hub, document: Document) -> None:
    told = of(document, {"name": "large", "files": [of_url(hub, "large.gguf", DATA)]})
    hub.drops, hub.statuses = [1_000_000], [200, *([503] * download.TRIES)]
    with pytest.raises(
        Trouble, match=f"broke off {download.TRIES} times, the last time: the server answers 503"
    ) as caught:
        fetch.fetch(told)
    assert "1.0 MB are here" in caught.value.hint
    assert not file_of(told).exists()
    fetch.fetch(told)
    assert hub.asked[-1] == "bytes=1000000-"
    assert file_of(told).read_bytes() == DATA


def test_what_has_changed_at_its_source_is_begun_anew(hub: Hub, document: Document) -> None:
    """Half of one file and half of another would be neither."""
    of_url(hub, "large.gguf", DATA[::-1])
    hub.drops, hub.statuses = [1_000_000], [200, *([503] * download.TRIES)]
    other = of(
        document, {"name": "large", "files": [{**of_url(hub, "large.gguf", DATA[::-1]), "sha256": sha256(DATA)}]}
    )
    with pytest.raises(Trouble):
        fetch.fetch(other)
    told = of(document, {"name": "large", "files": [of_url(hub, "large.gguf", DATA)]})
    fetch.fetch(told)
    assert hub.asked[-1] == "bytes=1000000-"
    assert file_of(told).read_bytes() == DATA


def test_a_server_that_knows_no_ranges_gives_it_again_from_the_beginning(hub: Hub, document: Document) -> None:
    told = of(document, {"name": "large", "files": [of_url(hub, "large.gguf", DATA)]})
    hub.ranges, hub.drops = False, [1_000_000]
    fetch.fetch(told)
    assert file_of(told).read_bytes() == DATA


def test_what_was_verified_is_not_read_again(hub: Hub, document: Document, monkeypatch: pytest.MonkeyPatch) -> None:
    told = of(document, {"name": "large", "files": [of_url(hub, "large.gguf", DATA)]})
    fetch.fetch(told)
    read: list[str] = []

    def digest(path: Path, name: str) -> str:
        read.append(name)
        return sha256(path.read_bytes())

    monkeypatch.setattr(fetch, "digest", digest)
    assert fetch.fetch(told) == []
    assert read == []
    # Other bytes of the same length, at another time: read, seen, and brought again.
    file_of(told).write_bytes(DATA[::-1])
    os.utime(file_of(told), ns=(1, 1))
    assert fetch.missing_files(told) == ["large/large.gguf"]
    assert fetch.fetch(told) == ["brought large.gguf of large"]
    assert (read, file_of(told).read_bytes()) == (["large.gguf"], DATA)


def test_a_file_that_somebody_has_laid_there_is_verified_and_taken(hub: Hub, document: Document) -> None:
    told = of(document, {"name": "large", "files": [of_url(hub, "large.gguf", DATA)]})
    file_of(told).parent.mkdir(parents=True)
    file_of(told).write_bytes(DATA)
    assert fetch.fetch(told) == []
    assert hub.asked == []
    assert fetch.missing_files(told) == []


@pytest.mark.negative
def test_wrong_bytes_are_refused_put_away_and_not_brought_again(hub: Hub, document: Document) -> None:
    declared = {**of_url(hub, "large.gguf", DATA), "sha256": sha256(b"another")}
    told = of(document, {"name": "large", "files": [declared]})
    with pytest.raises(Trouble, match=f"has not the SHA-256 {sha256(b'another')}, but {sha256(DATA)}") as caught:
        fetch.fetch(told)
    assert not file_of(told).exists()
    assert not download.part_of(file_of(told)).exists()
    assert str(download.refused_of(file_of(told))) in caught.value.message
    with pytest.raises(Trouble, match="as it was the last time"):
        fetch.fetch(told)
    assert len(hub.asked) == 1
    # Another source is another matter.
    elsewhere = {**of_url(hub, "elsewhere/large.gguf", b"x" * len(DATA)), "sha256": sha256(b"another")}
    with pytest.raises(Trouble, match=f"but {sha256(b'x' * len(DATA))}"):
        fetch.fetch(of(document, {"name": "large", "files": [elsewhere]}))
    with pytest.raises(Trouble, match=f"but {sha256(DATA)}"):
        fetch.fetch(told)
    assert len(hub.asked) == 3
    # It was the declaration that was wrong: what has come is taken.
    fetch.fetch(of(document, {"name": "large", "files": [of_url(hub, "large.gguf", DATA)]}))
    assert (len(hub.asked), file_of(told).read_bytes()) == (3, DATA)


@pytest.mark.negative
def test_another_size_than_declared_is_refused_before_anything_comes(hub: Hub, document: Document) -> None:
    told = of(document, {"name": "large", "files": [{**of_url(hub, "large.gguf", DATA), "size": len(DATA) + 1}]})
    with pytest.raises(Trouble, match=f"is {len(DATA)} bytes large, and not {len(DATA) + 1} as declared"):
        fetch.fetch(told)
    assert not download.part_of(file_of(told)).exists()


@pytest.mark.negative
def test_a_server_that_has_it_not_is_asked_once(hub: Hub, document: Document) -> None:
    told = of(document, {"name": "large", "files": [{**of_url(hub, "large.gguf", DATA), "url": f"{hub.url}/no.gguf"}]})
    with pytest.raises(Trouble, match=r"/no.gguf: the server answers 404"):
        fetch.fetch(told)
    assert len(hub.asked) == 1


Disk = namedtuple("Disk", "f_bavail f_frsize")


@pytest.mark.negative
def test_a_disk_that_is_too_small_is_refused_before_the_first_byte(
    hub: Hub, document: Document, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All that is missing is counted together, with what is to stay free; what is here of it already is not."""
    models = [{"name": name, "files": [of_url(hub, f"{name}.gguf", DATA)]} for name in ("one", "two")]
    need = 2 * len(DATA)
    monkeypatch.setattr(fetch.os, "statvfs", lambda path: Disk(need + 999, 1))
    with pytest.raises(Trouble) as caught:
        fetch.fetch(of(document, *models, reserve=1000))
    assert "the models need 8.4 MB more" in caught.value.message
    assert "(one/one.gguf 4.2 MB, two/two.gguf 4.2 MB)" in caught.value.message
    assert "0.0 MB too few. Nothing was brought" in caught.value.message
    assert hub.asked == []
    monkeypatch.setattr(fetch.os, "statvfs", lambda path: Disk(need + 1000, 1))
    told = of(document, *models, reserve=1000)
    hub.drops, hub.statuses = [1_000_000], [200, *([503] * download.TRIES)]
    with pytest.raises(Trouble, match="broke off"):
        fetch.fetch(told)
    monkeypatch.setattr(fetch.os, "statvfs", lambda path: Disk(need - 1_000_000 + 1000, 1))
    fetch.fetch(told)
    monkeypatch.setattr(fetch.os, "statvfs", lambda path: Disk(0, 1))
    assert fetch.fetch(told) == [], "who has all of it needs no room"


def test_shards_of_one_model_lie_side_by_side(hub: Hub, document: Document) -> None:
    names = [f"big-0000{number}-of-00003.gguf" for number in (1, 2, 3)]
    files = [of_url(hub, f"owner/big/resolve/v1/Q4/{name}", name.encode() * 100) for name in names]
    files = [
        {"file": f"Q4/{name}", "sha256": file["sha256"], "size": file["size"]}
        for name, file in zip(names, files, strict=True)
    ]
    told = of(
        document, {"name": "big", "repository": "owner/big", "revision": "v1", "files": files}, models_url=hub.url
    )
    fetch.fetch(told)
    assert sorted(path.name for path in file_of(told).parent.glob("*.gguf")) == names
    assert file_of(told).name == names[0]


def test_from_the_nas_it_is_copied_and_a_share_that_is_away_is_named(document: Document, tmp_path: Path) -> None:
    source = tmp_path / "nas" / "copy.gguf"
    source.write_bytes(DATA)
    told = of(document, {"name": "copied", "files": [of_path(source)]})
    source.rename(source.with_name("away"))
    with pytest.raises(Trouble, match=r"copy.gguf: No such file or directory") as caught:
        fetch.fetch(told)
    assert "is the share mounted" in caught.value.hint
    source.with_name("away").rename(source)
    fetch.fetch(told)
    assert file_of(told).read_bytes() == DATA
    assert oct(file_of(told).stat().st_mode & 0o777) == "0o644"


def test_how_far_it_is_is_told(hub: Hub, document: Document, capsys: pytest.CaptureFixture[str]) -> None:
    fetch.fetch(of(document, {"name": "large", "files": [of_url(hub, "large.gguf", DATA)]}))
    told = [line for line in spoken(capsys) if line["kind"] == "progress" and line["name"] == "large.gguf"]
    assert told[-1] == {
        "kind": "progress",
        "name": "large.gguf",
        "done": len(DATA),
        "total": len(DATA),
        "unit": "bytes",
    }


def test_what_nobody_declares_is_named_and_only_purged_when_asked(hub: Hub, document: Document) -> None:
    both: list[dict[str, Any]] = [
        {"name": name, "files": [of_url(hub, f"{name}.gguf", name.encode())]} for name in ("kept", "old")
    ]
    both[0]["files"].append(of_url(hub, "projector.gguf", b"projector"))
    told = of(document, *both)
    fetch.fetch(told)
    foreign = told.models_folder / "by-hand"
    foreign.mkdir()
    (foreign / "model.gguf").write_bytes(b"of somebody else")
    fewer = of(document, {"name": "kept", "files": both[0]["files"][:1]})
    fetch.fetch(fewer)
    gone = [told.models_folder / "kept" / "projector.gguf", told.models_folder / "old"]
    assert fetch.undeclared(fewer) == gone
    assert all(path.exists() for path in gone)
    assert fetch.purge(fewer) == [f"deleted {gone[0]}, 0.0 MB", f"deleted {gone[1]}, 0.0 MB"]
    assert sorted(path.name for path in told.models_folder.iterdir()) == ["by-hand", "kept"]
    assert json.loads((told.models_folder / "kept" / fetch.NOTES).read_text()).keys() == {"kept.gguf"}
    assert fetch.fetch(fewer) == []


PINNED = {"sha256": "0" * 64, "size": 1}
BAD = [
    ({"name": "../up", "files": []}, r"files: at least one file"),
    ({"name": "../up", "files": [{"path": "/a.gguf", **PINNED}]}, r"models\[0\].name: a name of letters"),
    ({"name": "a", "files": [{"path": "/a.gguf", "sha256": "0" * 63, "size": 1}]}, r"files\[0\].sha256: the SHA-256"),
    ({"name": "a", "files": [{"path": "/a.gguf", "sha256": "0" * 64}]}, r"files\[0\].size: a number from 1"),
    ({"name": "a", "files": [{"path": "a.gguf", **PINNED}]}, r"files\[0\].path: an address"),
    ({"name": "a", "files": [{"url": "file:///etc/shadow", **PINNED}]}, r"files\[0\].url: an address"),
    ({"name": "a", "files": [{"url": "/a.gguf", **PINNED}]}, r"files\[0\].url: an address that begins"),
    ({"name": "a", "files": [{"path": "/.ssh", **PINNED}]}, r"ends with a file's name"),
    ({"name": "a", "files": [{"file": "a.gguf", **PINNED}]}, r"files\[0\].file: `models_url`"),
    ({"name": "a", "files": [{**PINNED}]}, r"`url`, `path`, or `file`"),
    ({"name": "a", "kind": "poem", "files": [{"path": "/a.gguf", **PINNED}]}, r"kind: one of chat, "),
]


@pytest.mark.negative
@pytest.mark.parametrize(("model", "said"), BAD)
def test_what_is_declared_wrong_is_said_where(document: Document, model: dict[str, Any], said: str) -> None:
    with pytest.raises(Trouble, match=said):
        of(document, model)


@pytest.mark.negative
def test_a_name_means_one_model(document: Document) -> None:
    file = {"path": "/a.gguf", "sha256": "0" * 64, "size": 1}
    with pytest.raises(Trouble, match="for one model alone"):
        of(document, {"name": "a", "files": [file]}, {"name": "b", "aliases": ["a"], "files": [file]})
