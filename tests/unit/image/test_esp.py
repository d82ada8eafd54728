"""The command that formats an ESP."""

from __future__ import annotations

from pathlib import Path

from homelab_provision.image import esp


def test_the_serial_comes_after_the_option_that_would_overrule_it() -> None:
    argv = esp.mkfs_argv(Path("/x.img"), 1024, label="L", serial="0011aabb", offset_sectors=2048)
    assert argv.index("--invariant") < argv.index("-i")
    assert argv[argv.index("-i") + 1] == "0011aabb"
    assert "--offset=2048" in argv
    assert argv[-2:] == ["/x.img", "1024"]
