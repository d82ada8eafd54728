"""Who signed a record: the right host at the right time is believed, nobody else. All signatures are OpenSSH's own."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

import pytest

from homelab_provision.data.backups import plan_backups
from homelab_provision.errors import Refused
from homelab_provision.identity.signing import digest, objection
from tests.unit.data.signers import HOST, NOW, body_of, program, sealed, signature, signers
from tests.unit.data.test_backups import PROGRAM, WEEK, good, proof, record

LABEL = "20261122-030000F"
NAME = f"postgres/{LABEL}.json"
RECORD = record()
pytestmark = pytest.mark.processes


def right() -> str:
    return sealed(NAME, RECORD)


def against(text: str, name: str = NAME, moment: datetime = NOW) -> str | None:
    return objection(text, HOST, name, moment, signers())


def test_the_hosts_own_key_is_believed() -> None:
    assert against(right()) is None


def test_what_the_old_box_signed_in_its_time_is_believed_by_the_new_one() -> None:
    assert against(sealed(NAME, record(), by="old"), moment=NOW - timedelta(days=31)) is None


def test_a_clock_that_is_a_little_off_harms_nothing() -> None:
    assert against(right(), moment=NOW - timedelta(days=30, minutes=9)) is None
    assert against(right(), moment=NOW - timedelta(days=30, minutes=11)) is not None


WRONG: dict[str, tuple[Callable[[], str], str]] = {
    "one byte": (lambda: right().replace('"bytes": 1000000000', '"bytes": 1000000001'), "was changed after"),
    "one blank": (lambda: right().replace(": 512", ":  512"), "was changed after it was signed"),
    "another host's key": (lambda: sealed(NAME, RECORD, by="site-wyse"), "a key that was not db-wyse's at that time"),
    "a key that was retired": (lambda: sealed(NAME, RECORD, by="old"), "a key that was not db-wyse's at that time"),
    "said of another host": (lambda: sealed(NAME, RECORD, host="site-wyse"), "was not signed as"),
    "signed as another file": (lambda: sealed("postgres/proof.json", RECORD), "was not signed as"),
    "signed for something else": (lambda: sealed(NAME, RECORD, namespace="file"), "was not signed as"),
    "not signed": (lambda: body_of(RECORD), "is not signed"),
    "cut short": (lambda: right()[: right().rindex("-----END")] + '"\n}\n', "was changed after it was signed"),
    "empty": (lambda: str(program.embed(body_of(RECORD), "")), "was changed after it was signed"),
    "no signature": (lambda: str(program.embed(body_of(RECORD), "<b>")), "cut short or damaged"),
    "more behind it": (lambda: right().removesuffix("}\n") + ' , "bytes": 1}\n', "cut short or damaged"),
    "two of them": (lambda: str(program.embed(right(), signature("x"))), "was changed after it was signed"),
}


@pytest.mark.negative
@pytest.mark.parametrize("wrong", WRONG)
def test_whatever_else_is_refused(wrong: str) -> None:
    make, said = WRONG[wrong]
    text = make()
    assert text != right()
    assert said in (against(text) or "")


@pytest.mark.negative
@pytest.mark.parametrize("moment", ["0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59-14:00", "0900-01-01T00:00:00Z"])
def test_a_time_at_which_no_key_counted(moment: str) -> None:
    said = against(sealed(NAME, record(), by="old"), moment=datetime.fromisoformat(moment))
    assert said == "was signed with a key that was not db-wyse's at that time"


def plan(files: dict[str, str], accept: bool = False) -> Any:
    return plan_backups(HOST, PROGRAM, good(**files), signers(), (), WEEK, accept_unproven=accept)


@pytest.mark.negative
@pytest.mark.parametrize(("name", "document"), [(NAME, record()), ("postgres/proof.json", proof())])
@pytest.mark.parametrize(
    ("how", "said"),
    [("unsigned", "is not signed"), ("site-wyse", "was not db-wyse's"), ("old", "was not db-wyse's")],
)
def test_no_disk_is_wiped_for_it(name: str, document: dict[str, Any], how: str, said: str) -> None:
    text = body_of(document) if how == "unsigned" else sealed(name, document, by=how)
    with pytest.raises(Refused) as refused:
        plan({name: text})
    assert said in (refused.value.evidence or "")
    assert "provision backup db-wyse --prove" in (refused.value.hint or "")
    _, (doubt,) = plan({name: text}, accept=True)
    assert said in doubt


def test_the_plan_names_the_very_record_that_was_judged() -> None:
    (backup,), _ = plan({NAME: right()})
    assert backup.sha256 == digest(right())
