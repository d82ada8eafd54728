"""What the role wants of a stack: what is made of it, and what is refused before anything is touched."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest

from tests.unit.roles import programs

desired = programs.stacks("desired")
values = programs.stacks("values")

IMAGE = f"registry/notes:1.4@sha256:{'0' * 64}"
NOTES: dict[str, Any] = {
    "name": "my-notes",
    "version": "1.4",
    "images": {"web": IMAGE},
    "environment": {"GREETING": "good day", "WORKERS": 2, "DEBUG": False},
    "secrets": {"token": "s3cret"},
    "folders": [{"path": "data", "owner": 1000}],
    "memory": "1G",
    "health": {"url": "http://127.0.0.1:8081/"},
}
SEARCH: dict[str, Any] = {
    "name": "search",
    "kind": "service",
    "version": 2,
    "account": 3001,
    "command": ["/opt/search", "--share", "50%", 'a "b"'],
    "secrets": {"key": "s3cret"},
    "folders": [{"path": "index", "owner": 3001}],
    "health": {"url": "http://127.0.0.1:8090/"},
}
PROJECTS = {"my-notes": "services: {}\n"}


def files(entry: dict[str, Any]) -> dict[str, str]:
    return dict(desired.parse(entry, PROJECTS).files)


def test_a_project_gets_its_variables_as_they_stand() -> None:
    assert files(NOTES)["environment"].splitlines() == [
        "DEBUG='false'",
        "GREETING='good day'",
        f"IMAGE_WEB='{IMAGE}'",
        "STACK_DATA='/srv/stacks/my-notes'",
        "STACK_FILES='/etc/homelab-provision/stacks/my-notes/files'",
        "STACK_SECRETS='/etc/homelab-provision/stacks/my-notes/secrets'",
        "WORKERS='2'",
    ]


def test_its_limit_is_that_of_a_slice_of_its_own() -> None:
    assert "MemoryMax=1G" in files(NOTES)["stack_my_notes.slice"].splitlines()
    assert "Slice=stack_search.slice" in files(SEARCH)["stack-search.service"].splitlines()
    assert "MemoryMax" not in files(SEARCH)["stack_search.slice"]


def test_a_service_runs_caged_with_its_words_and_its_credentials() -> None:
    lines = files(SEARCH)["stack-search.service"].splitlines()
    assert r'ExecStart="/opt/search" "--share" "50%%" "a \"b\""' in lines
    assert "LoadCredential=key:/etc/homelab-provision/stacks/search/secrets/key" in lines
    assert {"User=stack-search", "ProtectSystem=strict", "ReadWritePaths=/srv/stacks/search/index"} <= set(lines)


def test_no_secret_is_in_what_others_may_read() -> None:
    for entry in (NOTES, SEARCH):
        made = files(entry)
        assert [path for path, text in made.items() if "s3cret" in text] == [f"secrets/{next(iter(entry['secrets']))}"]


def test_texts_of_the_site_are_files_of_the_project() -> None:
    made = files({**NOTES, "files": {"Caddyfile": "notes.home.arpa {\n}\n"}})
    assert made["files/Caddyfile"] == "notes.home.arpa {\n}\n"


def test_a_file_of_the_host_that_changes_makes_another_stack(tmp_path: Path) -> None:
    certificate = tmp_path / "host.crt"
    entry = {**NOTES, "reads": [str(certificate)]}
    digests = [desired.parse(entry, PROJECTS).digest]
    for text in ("old", "new"):
        certificate.write_text(text)
        digests += [desired.parse(entry, PROJECTS).digest] * 2
    assert len(set(digests)) == 3
    assert digests[1] == digests[2]


def test_a_service_gets_an_environment_for_its_packages_and_another_for_others() -> None:
    places = set()
    for packages in (["notes==1.0", "flask==3.1"], ["notes==1.1", "flask==3.1"], ["flask==3.1", "notes==1.0"]):
        made = files({**SEARCH, "python_packages": packages, "command": ["${STACK_VENV}/bin/notes", "--all"]})
        assert f'ExecStart="{made["venv"]}/bin/notes" "--all"' in made["stack-search.service"].splitlines()
        assert f"STACK_VENV='{made['venv']}'" in made["environment"].splitlines()
        assert made["venv"].startswith("/srv/stacks/.venv/search/")
        places.add(made["venv"])
    assert len(places) == 2


@pytest.mark.parametrize("change", [{"version": "1.5"}, {"secrets": {"token": "other"}}, {"memory": "2G"}])
def test_whatever_changes_is_seen(change: dict[str, Any]) -> None:
    before = desired.parse(NOTES, PROJECTS)
    assert desired.parse(copy.deepcopy(NOTES), PROJECTS).digest == before.digest
    assert desired.parse({**NOTES, **change}, PROJECTS).digest != before.digest
    assert desired.parse(NOTES, {"my-notes": "services: {web: {}}\n"}).digest != before.digest


WRONG: list[tuple[dict[str, Any], str]] = [
    ({"name": "../x"}, "has to be of lower-case letters"),
    ({"name": "Notes"}, "has to be of lower-case letters"),
    ({"kind": "pod"}, "`compose` or `service`"),
    ({"version": ""}, "has a version"),
    ({"environment": {"A": "it's"}}, "A has to be one line of text without single quotes"),
    ({"environment": {"A": "one\ntwo"}}, "A has to be one line"),
    ({"environment": {"A-B": "x"}}, "'A-B' is no name of a variable"),
    ({"environment": {"A": ["x"]}}, "A has to be one line"),
    ({"secrets": {"token": ""}}, "the secret token has no value"),
    ({"secrets": {"token": None}}, "the secret token has no value"),
    ({"secrets": {"../token": "s3cret"}}, "is no name of a secret"),
    ({"images": {"web": ""}}, "the image web has to be NAME:TAG@sha256:DIGEST, not ''"),
    ({"images": {"web": "registry/notes:1.4"}}, "the image web has to be NAME:TAG@sha256:DIGEST"),
    ({"images": {"web": f"registry:5000/notes@sha256:{'0' * 64}"}}, "the image web has to be NAME:TAG@sha256:DIGEST"),
    ({"files": {"../Caddyfile": "text"}}, "a file has a name without blanks and slashes"),
    ({"files": {"Caddyfile": 5}}, "a file has a name without blanks and slashes, and a text, not 'Caddyfile'"),
    ({"checks": [{"url": "127.0.0.1"}]}, "stack my-notes, checks: '127.0.0.1' is no URL of HTTP"),
    ({"python_packages": ["notes==1"]}, "python_packages are for a service"),
    ({"kind": "service", "python_packages": ["notes>=1"]}, "a list of exact versions, as in `name==1.2`"),
    ({"kind": "service", "python_packages": ["--index-url=x==1"]}, "a list of exact versions, as in `name==1.2`"),
    ({"folders": [{"path": "../x"}]}, "is no path below the stack's folder"),
    ({"folders": [{"path": "/etc"}]}, "is no path below the stack's folder"),
    ({"folders": [{"path": "data", "mode": "rwx"}]}, "is not octal"),
    ({"memory": "much"}, "has to be a number and K, M, G or T"),
    ({"health": {"url": "ftp://127.0.0.1/"}}, "is no URL of HTTP"),
    ({"health": {}}, "`url` is missing"),
    ({"mounts": ["media"]}, "is no absolute path"),
    ({"reads": ["host.crt"]}, "`reads`: 'host.crt' is no absolute path"),
    ({"reads": "/etc/host.crt"}, "`reads` is a list of files"),
    ({"databases": [{"host": 5}]}, "`host` has to be str"),
    ({"kind": "service", "command": []}, "a service has a `command`"),
    ({"kind": "service", "command": ["search"]}, "begins with the whole path of a program"),
    ({"kind": "service", "command": ["/bin/a\nExecStartPost=/bin/b"]}, "a service has a `command`"),
]


@pytest.mark.negative
@pytest.mark.parametrize(("change", "message"), WRONG)
def test_what_makes_no_sense_is_named(change: dict[str, Any], message: str) -> None:
    with pytest.raises(values.Wrong) as caught:
        desired.parse({**NOTES, **change}, PROJECTS)
    assert message in str(caught.value)
    assert "s3cret" not in str(caught.value)


@pytest.mark.negative
def test_a_project_without_its_text_is_named() -> None:
    with pytest.raises(values.Wrong, match="stack my-notes, compose"):
        desired.parse(NOTES, {})


def test_one_that_is_absent_needs_no_more_than_its_name() -> None:
    gone = desired.parse({"name": "notes", "version": "1", "state": "absent", "purge": True}, {})
    assert (gone.present, gone.purge) == (False, True)
