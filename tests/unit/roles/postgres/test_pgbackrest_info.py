"""What pgBackRest tells, as types."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.unit.roles.postgres.repository_output import (
    BACKUP_LOG,
    BIRTHS,
    DAMAGED,
    FAILED_LOG,
    FULL,
    INCR,
    NOTHING,
    OFFLINE,
    OFFLINE_LABEL,
    SYSTEM_ID,
    UNREADABLE,
    VERIFIED,
    archive_listing,
    info,
    info_with,
    unreadable,
)
from tests.unit.roles.programs import part

told = part("pgbackrest_info")


def test_backups_come_oldest_first_with_what_they_refer_to() -> None:
    stanza = told.parse_info(info(), "main")
    assert [backup.label for backup in stanza.backups] == [FULL, INCR]
    incr = stanza.find(INCR)
    assert incr.references == (FULL,)
    assert (incr.type, incr.timeline, incr.stop_position, incr.system_id) == ("incr", 1, 0x0F000120, SYSTEM_ID)
    assert stanza.newest_system_id == SYSTEM_ID
    assert stanza.archives_of(SYSTEM_ID) == ["17-1"]
    assert stanza.archives_of(1) == []


@pytest.mark.parametrize(("text", "name"), [(NOTHING, "main"), (info(), "other"), ("[]", "main")])
def test_a_missing_stanza_is_no_error(text: str, name: str) -> None:
    stanza = told.parse_info(text, name)
    assert not stanza.exists
    assert stanza.newest_system_id is None
    assert stanza.find(FULL) is None


@pytest.mark.negative
@pytest.mark.parametrize("kind", UNREADABLE)
def test_a_repository_that_cannot_be_read_is_no_empty_one(kind: str) -> None:
    with pytest.raises(told.NotUnderstood) as refused:
        told.parse_info(unreadable(kind), "main")
    assert str(refused.value) == UNREADABLE[kind][1]


@pytest.mark.negative
def test_a_bad_state_of_the_repository_counts_also_below_a_good_one_of_the_stanza() -> None:
    (stanza,) = json.loads(info())
    stanza["repo"] = [{"key": 1, "status": {"code": 99, "message": "[FileReadError] Input/output error"}}]
    with pytest.raises(told.NotUnderstood, match="Input/output error"):
        told.parse_info(json.dumps([stanza]), "main")


@pytest.mark.negative
@pytest.mark.parametrize("text", ["", "Segmentation fault", "{}", "null", "7", '[{"name": "main"}]', "[[]]", "[7]"])
def test_other_words_are_no_description(text: str) -> None:
    with pytest.raises(told.NotUnderstood, match="it said"):
        told.parse_info(text, "main")


@pytest.mark.negative
@pytest.mark.parametrize("text", ["", "[]", '{"x": 1}', '{"x": {"type": "file"}}'])
def test_other_words_are_no_listing(text: str) -> None:
    with pytest.raises(told.NotUnderstood):
        told.parse_listing(text, "backup/main")


@pytest.mark.parametrize(
    "change",
    [
        {},
        {"lsn": None},
        {"lsn": {"start": None, "stop": None}},
        {"archive": None},
        {"timestamp": {}},
        {"database": {"id": 7, "repo-key": 1}},
        {"info": None},
        {"archive": {"start": "x", "stop": 5}},
    ],
    ids=str,
)
def test_what_no_restore_can_begin_with_is_listed_and_never_chosen(change: dict[str, Any]) -> None:
    stanza = told.parse_info(info_with({**OFFLINE, **change}), "main")
    assert [backup.label for backup in stanza.backups] == [FULL, INCR]
    assert stanza.unusable == (OFFLINE_LABEL,)
    assert set(stanza.labels) == {FULL, INCR, OFFLINE_LABEL}
    assert stanza.find(OFFLINE_LABEL) is None


def test_a_stanza_without_backups_exists() -> None:
    assert told.parse_info(info(2), "main").exists


def test_progress_is_read_from_the_log() -> None:
    assert [told.percentage(line) for line in BACKUP_LOG.splitlines()] == [98.41, 100.0, 7.0, None]


def test_the_first_error_is_the_complaint() -> None:
    said = told.complaint(FAILED_LOG)
    assert said.splitlines() == [
        "raised from local-2 protocol: unexpected eof",
        "[FileReadError] on 2 retries from 923-15993ms: unexpected eof",
    ]


def test_without_an_error_the_last_words_are_the_complaint() -> None:
    assert told.complaint("\n".join(f"line {number}" for number in range(20))).startswith("line 12\n")


def test_a_good_repository_has_no_complaints() -> None:
    assert told.verify_complaints(VERIFIED) == []


def test_a_damaged_repository_has_some() -> None:
    assert told.verify_complaints(DAMAGED) == [
        "status: error",
        "backup: 20261123-132327F, status: invalid, total files checked: 1266, total valid files: 1256",
        "checksum invalid: 10",
    ]


def test_segments_and_histories_are_found_among_the_files() -> None:
    files = told.parse_listing(archive_listing(), "archive/main/17-1")
    segments = told.segments(files)
    assert len(segments) == 13
    assert segments["00000003" + "0" * 14 + "17"].path.startswith("archive/main/17-1/0000000300000000/")
    histories = told.history_files(files)
    assert {timeline: each.written for timeline, each in histories.items()} == BIRTHS
