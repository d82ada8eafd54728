"""Lines of fstab for the path of a share are somebody else's, and named."""

from __future__ import annotations

import pytest

from tests.unit.roles import modules

mountpoint = modules.part("mountpoint", "nas_mounts")
NasError = modules.part("spec", "nas_mounts").NasError

TABLE = """\
# a comment
LABEL=hlp-root / ext4 noatime 0 1

  /dev/sdb1\t/mnt/usb\\040stick  ext4
nas:/a /mnt/x/ nfs ro 0 0
"""


@pytest.mark.parametrize(
    ("path", "line"),
    [
        ("/mnt/usb stick", r"line 4, already mounts /mnt/usb stick: `/dev/sdb1"),
        ("/mnt/x", r"line 5, already mounts /mnt/x"),
    ],
)
@pytest.mark.negative
def test_a_foreign_line_for_the_same_path_is_named(path: str, line: str) -> None:
    with pytest.raises(NasError, match=line):
        mountpoint.refuse_line_of_fstab(TABLE, ["/mnt/other", path])


@pytest.mark.parametrize("text", [TABLE, "", "# nas:/a /mnt/y nfs\n#nas:/a /mnt/y nfs ro 0 0\n", "/mnt/y /mnt/y\n"])
def test_comments_and_other_paths_are_no_matter(text: str) -> None:
    mountpoint.refuse_line_of_fstab(text, ["/mnt/usb", "/mnt/y", "/mnt"])
