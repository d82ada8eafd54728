"""Copies of a share that its host cannot delete, and the way back: tried on a host that nobody uses."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.container import Container

SHARE = "/srv/backup/db-wyse"
COPIES = "/srv/snapshots/backup/db-wyse"
# As a host writes through its share: the account of the shares, with the modes of pgBackRest.
AS_HOST = "runuser -u nas -- sh -euc"


class Machine(Container):
    """A NAS, and what its hosts do there."""

    def host(self, script: str) -> str:
        return self.sh(f"umask 027; {AS_HOST} '{script}'")

    def snapshot(self) -> str:
        """Take a copy; its path. Two of one second would bear one name."""
        told = self.run("sleep 1.1; homelab-shares snapshot")
        assert told.returncode == 0, told.stderr
        return told.stdout.strip()


@pytest.fixture(scope="session")
def machine(request: pytest.FixtureRequest) -> Machine:
    return Machine.of(request.config)


@pytest.fixture(autouse=True)
def share(machine: Machine) -> Iterator[None]:
    """A share with a file and a directory, no copies, and afterwards nothing."""
    clean = f"rm -rf /srv/snapshots && find {SHARE} -mindepth 1 -delete && find / -xdev -name stolen -delete"
    machine.sh(clean)
    machine.host(f"cd {SHARE}; mkdir full; echo good >full/bundle; echo mine >record; ln record twin")
    yield
    machine.sh(clean)


def tree(machine: Machine, folder: str) -> str:
    return machine.sh(f"cd {folder} && find . -type f -exec sha256sum {{}} + | sort")


def test_a_share_that_its_host_has_emptied_comes_back(machine: Machine) -> None:
    before = tree(machine, SHARE)
    stats = machine.sh(f"cd {SHARE} && find . -printf '%p %u:%g %m\\n' | sort")
    copy = machine.snapshot()
    machine.host(f"rm -r {SHARE}/full {SHARE}/record; echo ransom >{SHARE}/twin; echo new >{SHARE}/later")
    machine.snapshot()
    machine.sh(f"homelab-shares put-back {SHARE} {copy.rsplit('/', 1)[1]}")
    assert tree(machine, SHARE) == before
    assert machine.sh(f"cd {SHARE} && find . -printf '%p %u:%g %m\\n' | sort") == stats
    machine.host(f"echo more >>{SHARE}/record")  # and its host goes on


def test_what_did_not_change_is_kept_once(machine: Machine) -> None:
    first, second = machine.snapshot(), machine.snapshot()
    inode = "stat --format=%i "
    assert machine.sh(inode + f"{first}/full/bundle") == machine.sh(inode + f"{second}/full/bundle")
    assert machine.sh(inode + f"{first}/full/bundle") != machine.sh(inode + f"{SHARE}/full/bundle")
    machine.host(f"echo changed >{SHARE}/full/bundle")
    third = machine.snapshot()
    assert machine.sh(f"cat {second}/full/bundle {third}/full/bundle") == "good\nchanged"
    assert machine.sh("homelab-shares list").splitlines() == [
        f"{SHARE} {each.rsplit('/', 1)[1]}" for each in (first, second, third)
    ]


@pytest.mark.negative
def test_whoever_writes_the_share_neither_reads_nor_changes_a_copy(machine: Machine) -> None:
    copy = machine.snapshot()
    assert machine.sh("find /srv/snapshots \\( ! -user root -o ! -group root -o -perm /077 \\) -print") == ""
    # By its handle a client would be at the file itself, past every directory: enter as the account, from inside.
    for deed in ("cat bundle", "echo x >bundle", "rm bundle", "touch new"):
        words = f"cd {copy}/full && setpriv --reuid=nas --regid=nas --clear-groups sh -c '{deed}'"
        assert "denied" in machine.run(words).stderr, deed
    assert machine.sh(f"cat {copy}/full/bundle") == "good"


@pytest.mark.negative
def test_a_link_in_a_share_leads_nowhere(machine: Machine) -> None:
    machine.sh("install -d -m 0700 /root/secret && echo hidden >/root/secret/stolen")
    machine.host(f"ln -s /root/secret {SHARE}/way; ln -s /root/secret/stolen {SHARE}/file")
    copy = machine.snapshot()
    assert machine.sh(f"find {copy} -type l | wc -l") == "2"
    assert machine.sh("grep -r hidden /srv/snapshots || true") == ""
    # The other way: where the copy has a directory, the share has a link by now.
    machine.host(f"rm -r {SHARE}/full; ln -s /root/secret {SHARE}/full")
    machine.sh(f"homelab-shares put-back {SHARE} latest")
    assert machine.sh("ls /root/secret; stat --format='%U %a' /root/secret").splitlines() == ["stolen", "root 700"]
    # And one that is laid while it is read: nothing is read through it on the mount on which copies are made.
    script = (
        'import sys; sys.path.insert(0, "/usr/local/lib/homelab-provision"); import homelab_shares as shares; '
        f'print(shares.within(shares.Path("{SHARE}"), "ro", "cat", shares.HERE / "file"))'
    )
    done = machine.run(f"python3 -Bc '{script}'")
    assert done.returncode != 0
    assert "Too many levels of symbolic links" in done.stderr
    machine.sh("rm -r /root/secret")


def test_a_copy_that_was_cut_off_is_none_and_the_next_is_whole(machine: Machine) -> None:
    machine.sh(f"install -d -m 0700 /srv/snapshots/backup/db-wyse/.new && echo half >{COPIES}/.new/left")
    assert machine.sh("homelab-shares list") == ""
    copy = machine.snapshot()
    assert tree(machine, copy) == tree(machine, SHARE)
    assert machine.sh(f"ls -A {COPIES}") == copy.rsplit("/", 1)[1]


def test_old_copies_go_and_a_wrong_clock_costs_none(machine: Machine) -> None:
    """Copies are kept for two days here (converge.yml)."""
    machine.sh(f"cd / && for day in 01 02 03; do install -d -m 0700 {COPIES}/2020-01-${{day}}T063000Z; done")
    first = machine.snapshot()
    # Two newer ones must stay, however old all are.
    assert machine.sh(f"ls {COPIES}").split() == ["2020-01-03T063000Z", first.rsplit("/", 1)[1]]
    second = machine.snapshot()
    assert machine.sh(f"ls {COPIES}").split() == [each.rsplit("/", 1)[1] for each in (first, second)]
    machine.snapshot()
    assert len(machine.sh(f"ls {COPIES}").split()) == 3, "none of them is two days old"


@pytest.mark.negative
def test_no_copy_is_made_that_would_fill_the_disk(machine: Machine) -> None:
    first = machine.snapshot()
    machine.host(f"truncate --size=900T {SHARE}/huge 2>/dev/null || truncate --size=15T {SHARE}/huge")
    done = machine.run("sleep 1.1; homelab-shares snapshot")
    assert done.returncode == 1
    assert "/srv/backup/db-wyse: no copy was made: it needs" in done.stderr
    assert machine.sh(f"ls {COPIES}") == first.rsplit("/", 1)[1]


@pytest.mark.negative
@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("put-back /srv/other latest", "/srv/other is no share"),
        (f"put-back {SHARE} latest", "has no copy latest; it has none"),
        (f"put-back {SHARE} ../../../etc", "has no copy ../../../etc"),
    ],
)
def test_what_is_not_there_is_not_put_back(machine: Machine, words: str, said: str) -> None:
    done = machine.run(f"homelab-shares {words}")
    assert done.returncode == 1
    assert said in done.stderr
    assert machine.sh(f"cat {SHARE}/full/bundle") == "good"


@pytest.mark.negative
def test_a_limit_that_nobody_would_keep_is_an_error(machine: Machine) -> None:
    """The container's disk has no project quotas."""
    settings = "/etc/homelab-provision/shares.json"
    machine.sh(f'cp {settings} /root/shares.json; sed -i \'s/"path": "\\/srv\\/media"/&, "size": "1 GB"/\' {settings}')
    done = machine.run("homelab-shares limit")
    machine.sh(f"cp /root/shares.json {settings}; rm /root/shares.json")
    assert done.returncode == 1
    assert "was made without project quotas" in done.stderr
    assert machine.run("homelab-shares limit").returncode == 0
