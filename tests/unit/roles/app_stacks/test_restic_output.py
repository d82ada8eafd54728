"""What restic says, as 0.14 (Debian 12) and 0.18 (Debian 13) really said it."""

from __future__ import annotations

import pytest

from tests.unit.roles.programs import stacks

told = stacks("restic_output")

STATUS_14 = (
    '{"message_type":"status","percent_done":1,"total_files":3,"files_done":2,"total_bytes":600003,"bytes_done":600003}'
)
STATUS_18 = '{"message_type":"status","percent_done":0.5,"total_files":10,"total_bytes":300003,"bytes_restored":150000}'
SUMMARY = '{"message_type":"summary","files_new":3,"total_files_processed":3,"total_bytes_processed":600003,"snapshot_id":"190c4f64"}'  # noqa: E501
COPIED = """[{"time":"2026-11-26T09:18:39.15Z","tree":"09c8","paths":["/src"],"hostname":"vm","original":"47d9",
"tags":["stack=notes","label=20261126-091839F"],"id":"cdba","short_id":"cdba"},
{"time":"2026-11-26T08:18:39.15Z","tree":"09c8","paths":["/src"],"hostname":"vm","id":"1111","short_id":"1111"}]"""
AWAY_14 = """Fatal: unable to open config file: Head "http://127.0.0.1:9/x/config": connect: connection refused
Is there a repository at the following location?
rest:http://127.0.0.1:9/x/"""
MISSING_14 = """Fatal: unable to open config file: stat /x/config: no such file or directory
Is there a repository at the following location?
/x"""


@pytest.mark.parametrize(
    ("line", "found"),
    [
        (STATUS_14, (600003, 600003)),
        (STATUS_18, (150000, 300003)),
        ('{"message_type":"status","percent_done":0}', None),
        ("restoring <Snapshot 190c4f64 of [/src]> to /out", None),
        (SUMMARY, None),
        ("[1]", None),
    ],
)
def test_progress(line: str, found: tuple[int, int] | None) -> None:
    assert told.progress(line) == found


def test_a_summary_counts() -> None:
    assert told.parse_summary(f"{STATUS_14}\n{SUMMARY}\n") == told.Summary("190c4f64", 3, 600003)
    with pytest.raises(told.NotUnderstood):
        told.parse_summary(STATUS_14)


def test_snapshots_are_sorted_and_know_what_they_are_copies_of() -> None:
    early, late = told.parse_snapshots(COPIED)
    assert (early.id, early.label, early.original) == ("1111", None, None)
    assert (late.tag("stack"), late.label, late.original) == ("notes", "20261126-091839F", "47d9")
    assert told.parse_snapshots("null") == []


@pytest.mark.negative
@pytest.mark.parametrize("text", ["", "{}x", '[{"id": 1}]', "[3]"])
def test_what_is_no_list_of_snapshots(text: str) -> None:
    with pytest.raises(told.NotUnderstood):
        told.parse_snapshots(text)


@pytest.mark.parametrize(
    ("status", "text", "missing"), [(1, MISSING_14, True), (1, AWAY_14, False), (10, "", True), (12, "", False)]
)
def test_a_repository_that_is_missing_is_told_from_one_that_is_away(status: int, text: str, missing: bool) -> None:
    assert told.is_missing(status, text) is missing


def test_complaints_are_for_people() -> None:
    text = "\n".join(
        [
            'Stat(<config/>) returned error, retrying after 2.07s: Head "http://127.0.0.1:9/": connection refused',
            '{"message_type":"error","error":{"message":"open: permission denied"},"during":"archival","item":"/x/y"}',
            '{"message_type":"exit_error","code":12,"message":"Fatal: wrong password or no key found"}',
            STATUS_14,
            "Fatal: something\nFatal: something",
        ]
    )
    assert told.complaint(text).splitlines() == [
        "/x/y: open: permission denied",
        "Fatal: wrong password or no key found",
        "Fatal: something",
    ]


@pytest.mark.parametrize(
    ("status", "text", "said"),
    [
        (12, "", "another key"),
        (1, "Fatal: wrong password or no key found", "another key"),
        (1, "write /x: no space left on device", "make room"),
        (11, "unable to create lock: repository is already locked exclusively by PID 5", "wait for it"),
        (1, "ciphertext verification failed", "missing or damaged"),
        (1, "Fatal: repository contains errors", "missing or damaged"),
    ],
)
def test_hints(status: int, text: str, said: str) -> None:
    assert said in told.hint(status, text)
    assert told.hint(1, "something else") is None
