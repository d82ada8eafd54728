"""The program `homelab-pihole`: archives without secrets, backups that are what they were, and a copy in step."""

from __future__ import annotations

import importlib
import io
import json
import sys
import zipfile
from pathlib import Path
from typing import Any

import pytest

from tests.unit.roles import programs
from tests.unit.roles.pihole.ftl import PASSWORD, Served, served

sys.path.append(str(programs.ROLES / "pihole" / "program"))
archive, backups, copy, prepare, setup = (
    importlib.import_module(f"homelab_pihole.{name}") for name in ("archive", "backups", "copy", "prepare", "setup")
)
Trouble = programs.library("errors").Trouble

# As FTL writes it.
TOML = """# Pi-hole configuration file
[dns]
  # Array of custom DNS records
  hosts = [
    "192.168.50.20 nas"
  ] ### CHANGED, default = []
  cnameRecords = []

[webserver.api]
  # Pi-hole web interface and API password hash
  pwhash = "$BALLOON-SHA256$v=1$s=1024,t=32$secret" ### CHANGED, default = ""
  totp_secret = "secret"
  app_pwhash = "secret"
  app_sudo = false
"""


@pytest.fixture
def known(pihole: Served, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """What the role has written down; the share is a folder here."""
    for name in ("PASSWORD", "SOURCE_PASSWORD"):
        monkeypatch.setattr(setup, name, tmp_path / name)
        (tmp_path / name).write_text(f"{PASSWORD}\n")
    monkeypatch.setattr(copy, "SOURCE_PASSWORD", tmp_path / "SOURCE_PASSWORD")
    monkeypatch.setattr(backups.share, "require", lambda share: None)
    monkeypatch.setattr(backups, "bounded", lambda work: work())
    monkeypatch.setattr(backups.records, "bounded", lambda work: work())
    monkeypatch.setattr(backups.records, "signed", lambda role, host, name, body: body)
    (tmp_path / "share").mkdir()
    return setup.Setup("dns-one", tmp_path / "share", pihole.url, "")


def test_a_host_that_never_had_one_gets_a_place_for_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    state = tmp_path / "pihole" / "etc"
    monkeypatch.setattr(prepare, "STATE", state)
    monkeypatch.setattr(prepare.subprocess, "run", lambda *_, **__: None)
    monkeypatch.setattr(prepare, "_certificate", lambda _: None)
    prepare.prepare()
    assert (state / "adlists.list").read_text() == "", "the image would bring in a list of its own"


def test_a_source_is_asked_with_tls_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "pihole.json"
    monkeypatch.setattr(setup, "CONFIGURATION", file)
    file.write_text('{"host": "dns-two", "share": null, "url": "http://127.0.0.1:80", "source": "192.168.50.5:443"}')
    assert setup.load().source == "https://192.168.50.5:443"
    file.write_text('{"host": "dns-two"}')
    with pytest.raises(Trouble, match=r"pihole\.json: url: a text is expected"):
        setup.load()


def test_an_archive_loses_what_opens_a_door() -> None:
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w") as file:
        file.writestr("etc/pihole/pihole.toml", TOML)
        file.writestr("etc/hosts", "127.0.0.1 localhost\n")
    with zipfile.ZipFile(io.BytesIO(archive.without_secrets(made.getvalue()))) as file:
        text = file.read("etc/pihole/pihole.toml").decode()
        assert file.namelist() == ["etc/pihole/pihole.toml", "etc/hosts"]
    assert "secret" not in text
    assert "192.168.50.20 nas" in text
    assert "app_sudo = false" in text


def test_a_backup_is_proven_and_comes_back_with_the_password_that_is(pihole: Served, known: Any) -> None:
    pihole.ftl.gravity.write("domains", ["ads.example.net"], {}, 1, new=True)
    told = backups.backup(known)
    assert (told["domains"], told["groups"]) == (1, 1)
    assert backups.prove(known)["label"] == told["label"]
    pihole.ftl.gravity.delete("domains", [("ads.example.net", 1)])
    assert backups.fingerprint(known, told["fingerprint"])["differences"] == ["domains: 0 instead of 1"]
    hashed = pihole.values["webserver.api.pwhash"]
    assert backups.restore(known)["fingerprint"] == told["fingerprint"]
    assert pihole.values["webserver.api.pwhash"] == hashed
    assert pihole.sessions == 0


@pytest.mark.negative
def test_what_is_not_what_was_recorded_is_refused(pihole: Served, known: Any) -> None:
    with pytest.raises(Trouble, match="there is no backup"):
        backups.prove(known)
    label = backups.backup(known)["label"]
    file = known.share / "pihole-archives" / f"{label}.zip"
    whole = file.read_bytes()
    file.write_bytes(whole[:-40])
    with pytest.raises(Trouble, match="is not the archive that was recorded"):
        backups.restore(known)
    file.write_bytes(whole)
    record = known.share / "pihole" / f"{label}.json"
    record.write_text(json.dumps({**json.loads(record.read_text()), "facts": {"groups": 7}}))
    with pytest.raises(Trouble, match="does not hold what was recorded"):
        backups.prove(known)
    with pytest.raises(Trouble, match="damaged"):
        archive.facts(archive.without_secrets(_empty()))


def _empty() -> bytes:
    made = io.BytesIO()
    zipfile.ZipFile(made, "w").close()
    return made.getvalue()


def test_a_copy_takes_what_the_source_has_and_keeps_its_own_settings(
    pihole: Served, known: Any, tmp_path: Path
) -> None:
    folder = tmp_path / "source"
    folder.mkdir()
    with served(folder) as source:
        source.ftl.gravity.write("groups", ["children"], {}, None, new=True)
        source.ftl.gravity.write("domains", ["ads.example.net"], {"groups": [1]}, 1, new=True)
        source.ftl.settings.install({"dns.hosts": ["192.168.50.20 nas"], "dhcp.active": True, "dns.blockTTL": 9})
        pihole.ftl.gravity.write("domains", ["old.example.net"], {}, 1, new=True)
        twin = setup.Setup("dns-two", None, pihole.url, source.url)
        assert copy.copy(twin)["changed"]
        assert [each["domain"] for each in pihole.ftl.gravity.read("domains")] == ["ads.example.net"]
        assert pihole.ftl.gravity.read("domains")[0]["groups"] == [1]
        assert pihole.values["dns.hosts"] == ["192.168.50.20 nas"]
        assert (pihole.values["dhcp.active"], pihole.values["dns.blockTTL"]) == (False, 2)
        assert copy.copy(twin) == {"actions": [], "changed": False}
        assert (pihole.sessions, source.sessions) == (0, 0)
    with pytest.raises(Trouble, match="no copy"):
        copy.copy(known)
