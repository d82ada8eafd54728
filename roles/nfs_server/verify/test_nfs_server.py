"""What a host shows when the role `nfs_server` has done its work."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest

# The host is its own client here, from an address that no share is for. The same share is then opened for that address
# and closed again: so the door is closed for the address, and not for another reason. Listing needs no open file, so
# the grace time after a start is not waited for.
KNOCK = """
share=$(awk 'NR == 1 {print $1}' /var/lib/nfs/etab)
[ -n "$share" ] || exit 3
marker=$(mktemp "$share/.verify.XXXXXX")
knock() {
    mkdir -p door
    if timeout 30 mount -t nfs4 -o "ro,soft,timeo=50,$2" "127.0.0.1:$share" door 2>/dev/null; then
        [ -e "door/$(basename "$marker")" ] && echo "$1 sees the file" || echo "$1 mounts"
        umount door
    else
        echo "$1 is refused"
    fi
}
knock foreign vers=4.2
exportfs -i -o ro,no_subtree_check,all_squash,anonuid=$(id -u nas),anongid=$(id -g nas) "127.0.0.1:$share"
knock known vers=4.2
knock old vers=3,nolock
exportfs -u "127.0.0.1:$share"
knock former vers=4.2
rm "$marker"
"""

QUESTIONS = {
    "exported": "cat /var/lib/nfs/etab",
    "owners": "awk '{print $1}' /var/lib/nfs/etab | sort -u | xargs -r stat --format='%u:%g %a %n'",
    "account": "id nas; passwd --status nas",
    "sockets": "ss --no-header --listening --tcp --udp --numeric --processes",
    "firewall": "nft --json list chain inet homelab services",
    "knock": KNOCK,
    "shares": "cat /etc/homelab-provision/shares.json",
    "timer": "systemctl is-active homelab-share-snapshot.timer; true",
    "open": "find /srv/snapshots \\( ! -user root -o ! -group root -o -perm /077 \\) -print -quit 2>/dev/null; true",
    "limits": "repquota --project --output=csv --no-names /srv",
    "projects": "awk '{print $1}' /var/lib/nfs/etab | sort -u | xargs -r lsattr -pd 2>/dev/null; true",
    "failed": "systemctl --failed --plain --no-legend",
}


def exported(answers: Any) -> list[tuple[str, str]]:
    """Address and options of each line that the server goes by."""
    return re.findall(r"^\S+\t([^(]+)\((.*)\)$", answers["exported"].text, re.MULTILINE)


def own_rules(answers: Any) -> list[dict[str, Any]]:
    """The firewall's rules for the port of NFS, as the values that they compare and what they do."""
    rules = [entry["rule"]["expr"] for entry in json.loads(answers["firewall"].text)["nftables"] if "rule" in entry]
    found = []
    for rule in rules:
        matched = {json.dumps(one["match"]["left"]): one["match"]["right"] for one in rule if "match" in one}
        if 2049 in matched.values():
            found.append(matched)
    return found


def test_nothing_failed_to_start(answers: Any) -> None:
    assert answers["failed"] == (0, "")


def test_all_that_is_written_belongs_to_one_account(answers: Any) -> None:
    assert answers["account"].text.startswith("uid=2049(nas) gid=2049(nas)")
    for _, options in exported(answers):
        words = set(options.split(","))
        assert {"all_squash", "anonuid=2050" if "ro" in words else "anonuid=2049", "anongid=2049"} <= words
    owners = {line.split()[0] for line in answers["owners"].text.splitlines()}
    assert owners <= {"2049:2049"}


@pytest.mark.negative
def test_the_account_of_the_shares_opens_nothing(answers: Any) -> None:
    assert answers["account"].text.splitlines()[1].split()[:2] == ["nas", "L"]


def test_copies_are_made_where_they_are_wanted(answers: Any) -> None:
    desired = any(share.get("snapshots") for share in json.loads(answers["shares"].text))
    assert answers["timer"].text == ("active" if desired else "inactive")


@pytest.mark.negative
def test_nobody_but_root_reads_or_changes_a_copy(answers: Any) -> None:
    assert answers["open"].text == ""


@pytest.mark.negative
@pytest.mark.machine("its disk has no project quotas")
def test_each_share_is_held_to_its_size(answers: Any) -> None:
    desired = {share["path"]: share["size"] for share in json.loads(answers["shares"].text) if share.get("size")}
    if not desired:
        pytest.skip("no share has a limit")
    projects = {words[2]: words[0] for words in map(str.split, answers["projects"].text.splitlines())}
    limits = {line.split(",")[0].lstrip("#"): line.split(",") for line in answers["limits"].text.splitlines()}
    assert [path for path in desired if projects.get(path) not in limits] == []


@pytest.mark.negative
def test_nothing_of_nfs_listens_but_its_one_port(answers: Any) -> None:
    sockets = [line.split() for line in answers["sockets"].text.splitlines()]
    assert any(words[4].endswith(":22") for words in sockets), "nothing was listed, so nothing is shown"
    assert [words for words in sockets if words[4].endswith((":111", ":20048")) or "rpc." in words[-1]] == []
    # The kernel's own sockets belong to no process; its lock manager for NFSv3 would have one.
    kernels = [words for words in sockets if words[0] == "tcp" and "users:" not in words[-1]]
    assert {words[4].rsplit(":", 1)[1] for words in kernels} <= {"2049"}


@pytest.mark.machine("its kernel serves no NFS")
def test_the_server_answers(answers: Any) -> None:
    sockets = [line.split() for line in answers["sockets"].text.splitlines()]
    assert any(words[:1] == ["tcp"] and words[4].endswith(":2049") for words in sockets)


@pytest.mark.negative
def test_the_port_is_open_for_clients_alone(answers: Any) -> None:
    rules = own_rules(answers)
    if not exported(answers):
        assert rules == []
        return
    assert rules, "no rule lets the clients in"
    assert [rule for rule in rules if not any('"saddr"' in left for left in rule)] == []


@pytest.mark.negative
@pytest.mark.machine("its kernel serves no NFS")
def test_a_foreign_address_sees_nothing(answers: Any) -> None:
    if not exported(answers):
        pytest.skip("nothing is shared")
    assert answers["knock"].text.splitlines() == [
        "foreign is refused",
        "known sees the file",
        "old is refused",
        "former is refused",
    ]
