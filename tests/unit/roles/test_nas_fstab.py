"""The block of `nas_mounts` in fstab: nobody else's lines are touched, and findmnt's words are understood."""

from __future__ import annotations

import pytest

from tests.unit.roles import modules

fstab = modules.part("fstab")
NasError = modules.part("nas_entries").NasError

OWN = "nas:/srv/x /mnt/x nfs4 nofail,hard 0 0"
FOREIGN = "# a comment\nLABEL=hlp-root / ext4 noatime 0 1\n\n  /dev/sdb1\t/mnt/usb\\040stick  ext4\n"


def written(text: str, *lines: str) -> str:
    result: str = fstab.with_lines(fstab.split(text), lines)
    return result


def test_the_block_comes_and_goes_and_leaves_the_rest_alone() -> None:
    with_block = written(FOREIGN, OWN)
    assert with_block == f"{FOREIGN}{fstab.BEGIN}\n{OWN}\n{fstab.END}\n"
    assert written(with_block, OWN) == with_block
    assert written(with_block) == FOREIGN


def test_the_block_stays_where_it_is() -> None:
    text = f"first / ext4\n{fstab.BEGIN}\nold:/ /mnt/old nfs4 ro 0 0\n{fstab.END}\nlast /srv ext4\n"
    assert written(text, OWN) == f"first / ext4\n{fstab.BEGIN}\n{OWN}\n{fstab.END}\nlast /srv ext4\n"


@pytest.mark.parametrize("text", ["", "no line break at the end"])
def test_every_line_ends(text: str) -> None:
    assert written(text, OWN).endswith(f"{fstab.END}\n")
    assert f"end{fstab.BEGIN}" not in written(text, OWN)


def test_a_text_without_shares_is_not_touched() -> None:
    assert written(FOREIGN) == FOREIGN


@pytest.mark.parametrize(
    "text",
    [
        f"{fstab.BEGIN}\n{OWN}\n",
        f"{OWN}\n{fstab.END}\n",
        f"{fstab.END}\n{fstab.BEGIN}\n",
        f"{fstab.BEGIN}\n{fstab.BEGIN}\n{fstab.END}\n",
        f"{fstab.BEGIN}\n{fstab.END}\n{fstab.BEGIN}\n{fstab.END}\n",
    ],
)
@pytest.mark.negative
def test_half_a_block_is_left_to_its_owner(text: str) -> None:
    with pytest.raises(NasError, match=r"not one pair .*in line [12]"):
        fstab.split(text)


def test_own_lines_are_known_by_their_path() -> None:
    table = fstab.split(f"{FOREIGN}{fstab.BEGIN}\n{OWN}\n//a/b /mnt/a\\040b cifs ro 0 0\n# odd\n{fstab.END}\n")
    assert fstab.own_lines(table) == {"/mnt/x": OWN, "/mnt/a b": "//a/b /mnt/a\\040b cifs ro 0 0"}
    assert fstab.servers(table) == {"/mnt/x": ("nas", 2049), "/mnt/a b": ("a", 445)}


@pytest.mark.parametrize("where", ["before", "after"])
@pytest.mark.negative
def test_a_foreign_line_for_the_same_path_is_named(where: str) -> None:
    block = f"{fstab.BEGIN}\n{OWN}\n{fstab.END}\n"
    text = FOREIGN + block if where == "before" else block + FOREIGN
    number = text.splitlines().index("  /dev/sdb1\t/mnt/usb\\040stick  ext4") + 1
    with pytest.raises(NasError, match=rf"line {number}, already mounts /mnt/usb stick: `/dev/sdb1"):
        fstab.refuse_foreign(fstab.split(text), ["/mnt/x", "/mnt/usb stick"])
    fstab.refuse_foreign(fstab.split(text), ["/mnt/x", "/mnt/usb"])


@pytest.mark.negative
def test_a_slash_at_the_end_hides_no_foreign_line() -> None:
    with pytest.raises(NasError, match="already mounts /mnt/x/"):
        fstab.refuse_foreign(fstab.split("nas:/a /mnt/x/ nfs ro 0 0\n"), ["/mnt/x"])


def test_a_comment_claims_no_path() -> None:
    fstab.refuse_foreign(fstab.split("# nas:/a /mnt/x nfs ro 0 0\n#nas:/a /mnt/x nfs ro 0 0\n"), ["/mnt/x"])


# What findmnt 2.41 prints to both of its outputs.
JUDGED = """\
/
/nowhere
   [E] unreachable on boot required target: No such file or directory
   [W] unreachable source: LABEL=nope
/mnt/sp ace
   [E] unreachable on boot required target: No such file or directory
none
   [E] something else
   [W] your fstab has been modified, but systemd still uses the old version;
       use 'systemctl daemon-reload' to reload
findmnt: /tmp/draft: parse error at line 3 -- ignored

0 parse errors, 3 errors, 2 warnings
"""


def test_errors_of_findmnt_are_told_from_its_warnings() -> None:
    missing = "unreachable on boot required target: No such file or directory"
    assert fstab.complaints(JUDGED) == {
        ("/nowhere", missing),
        ("/mnt/sp ace", missing),
        ("none", "something else"),
        ("", "parse error at line 3 -- ignored"),
    }


def test_a_good_table_has_no_errors() -> None:
    assert fstab.complaints("Success, no errors or warnings detected\n") == set()
