"""What a host shows when the role `nas_mounts` has done its work, whether its NAS is there or not."""

from __future__ import annotations

import re
from typing import Any

import pytest

# An access mounts within 15 s or ends; where the NAS went away under a mounted share, each of its two requests takes
# about 40 s to fail.
LIMIT = 100

OWN = "grep --files-with-matches --no-messages '^# Written by the role nas_mounts' /etc/systemd/system/*.mount"
PATHS = f"{OWN} | while read -r unit; do sed -n 's/^Where=//p' \"$unit\" | sed 's/%%/%/g'; done"

# A second view of each parent directory, in which nothing is mounted: there root tries to write beneath the share.
BENEATH = f"""
mkdir view
cat >try <<'end'
while read -r path; do
    mount --bind "$(dirname "$path")" view
    bare=view/$(basename "$path")
    [ -d "$bare" ] || echo "missing $path"
    touch "$bare/.verify" 2>/dev/null && echo "written $path"
    beside=$(mktemp -d "$bare.XXXXXX") && touch "$beside/.verify" && rm -r "$beside" && echo "tried $path"
    umount view
done
end
{PATHS} >paths
unshare --mount sh try <paths
"""

READ = f"""
{PATHS} | {{
    while read -r path; do
        (
            start=$(date +%s)
            timeout --signal=KILL {LIMIT * 2} ls "$path" >/dev/null 2>&1
            echo "$(($(date +%s) - start)) $path"
        ) &
    done
    wait
}}
"""

SECRETS = """
cd /etc/homelab-provision/nas 2>/dev/null || exit 0
for file in . *; do
    stat --format='%a %U %n' "$file"
    setpriv --reuid=65534 --regid=65534 --clear-groups test -r "$file" && echo "readable $file"
    test -r "$file" || echo "unreadable $file"
done
true
"""

QUESTIONS = {
    "units": f"{OWN} | xargs -r -d '\\n' cat",
    "paths": PATHS,
    "automounts": f"{PATHS} | while read -r path; do systemctl is-active"
    ' "$(systemd-escape --path --suffix=automount "$path")"; done',
    "beneath": BENEATH,
    "first": f"{PATHS} | while read -r path; do systemctl show --property=Before --value"
    ' "$(systemd-escape --path --suffix=mount "$path")"; done',
    "last": "systemctl show --property=ActiveState,Before homelab-dead-shares.service",
    "read": READ,
    "secrets": SECRETS,
    "ports": "ss --no-header --listening --tcp --udp --numeric --processes",
}


@pytest.fixture(scope="module")
def paths(answers: Any) -> list[str]:
    """Where shares are mounted; a host without shares has nothing to show."""
    found: list[str] = answers["paths"].text.splitlines()
    return found or pytest.skip("this host mounts no shares")


def test_every_share_is_mounted_by_its_first_use(answers: Any, paths: list[str]) -> None:
    assert answers["automounts"].text.split() == ["active"] * len(paths)


def test_an_access_ends_in_time_whether_the_nas_is_there_or_not(answers: Any, paths: list[str]) -> None:
    took = {path: int(seconds) for seconds, path in (line.split(" ", 1) for line in answers["read"].text.splitlines())}
    assert took.keys() == set(paths)
    assert {path: seconds for path, seconds in took.items() if seconds > LIMIT} == {}


def test_a_share_is_unmounted_only_after_those_of_a_dead_nas_were_let_go(answers: Any, paths: list[str]) -> None:
    """Of units that stop together, the one that would start last stops first."""
    orders = answers["first"].text.splitlines()
    assert ["homelab-dead-shares.service" in order.split() for order in orders] == [True] * len(paths)
    told = dict(line.split("=", 1) for line in answers["last"].text.splitlines())
    assert told["ActiveState"] == "active", "what does not run is not stopped either"
    assert set(told["Before"].split()) == {"shutdown.target"}, "nothing waits for it at boot"


@pytest.mark.negative
def test_nobody_writes_beneath_a_share(answers: Any, paths: list[str]) -> None:
    output = answers["beneath"].text.splitlines()
    assert sorted(output) == sorted(f"tried {path}" for path in paths), (
        "beside the paths one can write, beneath them not"
    )


@pytest.mark.negative
def test_credentials_are_roots_alone(answers: Any, paths: list[str]) -> None:
    assert answers["secrets"].status == 0
    lines = answers["secrets"].text.splitlines()
    assert [line for line in lines if line.startswith(("readable", "unreadable"))] == []
    assert {line.rsplit(" ", 1)[0] for line in lines} <= {"700 root", "600 root"}
    desired = re.findall(r"credentials=([^,\s]+)", answers["units"].text)
    assert len(desired) == len(set(desired)) == max(len(lines) - 1, 0)


@pytest.mark.negative
def test_units_which_everybody_reads_tell_no_secret(answers: Any, paths: list[str]) -> None:
    assert not re.search(r"\b(pass|password|username|user)=", answers["units"].text)


@pytest.mark.negative
def test_a_client_listens_for_nobody(answers: Any) -> None:
    assert answers["ports"].status == 0
    listening = [line.split() for line in answers["ports"].text.splitlines()]
    assert [words for words in listening if words[4].endswith(":111") or "rpc" in words[-1]] == []
