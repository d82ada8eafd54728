"""What a host has to be before it serves models: each host of the fixtures, with all that is said of it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.unit.roles.inference import parts

preflight = parts.part("preflight")
hardware = parts.part("hardware")
known = parts.part("known")

BACKPORTS = "on Debian 13 take kernel and firmware from backports, start again"
NEWER = "install a newer one (Debian 13: from backports), run update-initramfs -u, start again"
NO_GPU = (
    "if there is one: is it switched on in the BIOS, and does `dmesg | grep amdgpu` show why it has no driver? "
    "If there is none: inference_backend: cpu serves small models with the CPU"
)
SAID: dict[tuple[str, str], list[str]] = {
    ("framework-desktop", "vulkan"): [],
    ("framework-desktop", "rocm"): [],
    ("framework-desktop", "cpu"): [],
    ("denied-firmware", "vulkan"): [
        "refused firmware: firmware-amd-graphics 20251125-1: its microcode for the GPU's scheduler (MES 0x83) makes "
        "the GPU hang and programs fail with page faults\n"
        "  expected: any other version than 20251125\n"
        f"  to mend it: {NEWER}\n"
        "  source: ROCm/legacy-rocm-build#5724; kyuz0/amd-strix-halo-toolboxes, README",
        "refused firmware: the GPU runs MES 0x83: programs that compute on the GPU hang or fail with page faults\n"
        "  expected: any other than 0x83\n"
        f"  to mend it: {NEWER}. If it stays: `apt purge amdgpu-dkms amdgpu-dkms-firmware`, "
        "whose files come before the right ones\n"
        "  source: ROCm/legacy-rocm-build#5724",
    ],
    ("old-kernel", "rocm"): [
        "refused kernel: Linux 6.12.107+deb13-amd64 on debian\n"
        "  expected: 6.18.4 or newer: ROCm crashes on older ones\n"
        f"  to mend it: {BACKPORTS}; or inference_backend: vulkan, which goes with this kernel\n"
        "  source: AMD, ROCm documentation, system optimization for RDNA 3.5 (read up to ROCm 7.12)",
    ],
    ("old-kernel", "vulkan"): [
        "warned kernel: Linux 6.12.107+deb13-amd64 on debian\n"
        "  expected: 6.18.4 or newer; Vulkan goes with older ones, less tested\n"
        f"  to mend it: {BACKPORTS}\n"
        "  source: AMD, ROCm documentation, system optimization for RDNA 3.5 (read up to ROCm 7.12)",
    ],
    ("carve-out", "vulkan"): [
        "refused carve-out: the BIOS keeps 96.0 GiB for the GPU; the system has 31.1 GiB\n"
        "  expected: at most 4.0 GiB, better 0.5: the GPU takes what it needs from the rest\n"
        "  to mend it: in the BIOS setup, set the integrated GPU's memory (UMA frame buffer) to its minimum, "
        "and start again\n"
        "  source: AMD recommends 0.5 GB; ollama/ollama#16462: of 128 GB with 96 set aside, 27.5 GiB were of use",
    ],
    ("not-restarted", "vulkan"): [
        "warned arguments: the kernel runs with other arguments: no ttm.pages_limit; no amdgpu.lockup_timeout; "
        "amdgpu.gttsize=131072; ttm/parameters/pages_limit is 16380639; mem_info_gtt_total of card1 is 62.5 GiB\n"
        "  expected: 108 GiB for the GPU, 28311552 pages; ttm.pages_limit=28311552; amdgpu.lockup_timeout=20000; "
        "no amdgpu.gttsize\n"
        "  to mend it: the role writes them for the next start: take amdgpu.gttsize out of /etc/default/grub and run "
        "update-grub; then start the host again (inference_reboot: true does it)\n"
        "  source: ggml-org/llama.cpp#25664, #27076: on kernels 7.x long prompts end in DeviceLost",
    ],
    ("leftovers", "rocm"): [
        "refused amdgpu-dkms: amdgpu-dkms and amdgpu-dkms-firmware installed\n"
        "  expected: the kernel's own driver and the distribution's firmware, as AMD says for Ryzen\n"
        "  to mend it: apt purge amdgpu-dkms amdgpu-dkms-firmware, update-initramfs -u, start again\n"
        "  source: ROCm/legacy-rocm-build#5991; AMD's instructions for Ryzen",
        "refused override: HSA_OVERRIDE_GFX_VERSION is set in /etc/profile.d/rocm.sh\n"
        "  expected: that it is set nowhere: ROCm knows this GPU by itself\n"
        "  to mend it: remove it there, and log in again\n"
        "  source: lemonade-sdk/llamacpp-rocm#115: with it, ROCm loads the kernels of another GPU",
    ],
    ("no-gpu", "vulkan"): [
        "refused gpu: no GPU: card0 is the picture of a virtual machine (bochs)\n"
        "  expected: an AMD GPU with the driver amdgpu, as of a Ryzen AI Max\n"
        f"  to mend it: {NO_GPU}",
    ],
    ("wyse-5070", "vulkan"): [
        "refused gpu: Wyse 5070 Thin Client has the GPU of a thin client: UHD Graphics 600 (Gemini Lake: Wyse 5070), "
        "8086:3185, driver i915\n"
        "  expected: an AMD GPU with the driver amdgpu, as of a Ryzen AI Max; "
        "this one is slower than the CPU beside it\n"
        "  to mend it: inference_backend: cpu serves small models with the CPU\n"
        "  source: pci.ids; linuxhw/LsPCI",
    ],
    ("wyse-5070", "cpu"): [
        "warned cpu: Intel(R) Celeron(R) J4105 CPU @ 1.50GHz has no AVX2\n"
        "  expected: a CPU with AVX2 for models of more than about a billion parameters\n"
        "  to mend it: declare small models only here, or serve them from another host",
    ],
}


def said(root: Path, **words: Any) -> list[str]:
    packages = (*known.FIRMWARE_PACKAGES, *known.DKMS_PACKAGES)
    found = preflight.look(hardware.read(root, packages), preflight.settings(json.dumps(words)))
    return [finding.text for finding in found]


@pytest.mark.parametrize(("name", "backend"), SAID, ids=lambda word: word)
def test_what_is_said_of_a_host(name: str, backend: str, tmp_path: Path) -> None:
    assert said(parts.host(name, tmp_path), backend=backend) == SAID[name, backend]


def test_what_stops_rocm_is_a_warning_for_vulkan(tmp_path: Path) -> None:
    root = parts.host("leftovers", tmp_path)
    assert [each.split(":")[0] for each in said(root)] == ["warned amdgpu-dkms", "warned override"]


def test_a_card_that_nobody_shows(tmp_path: Path) -> None:
    root = parts.host("no-gpu", tmp_path)
    (root / "sys/class/drm/card0/device/uevent").unlink()
    (root / "sys/class/drm/card0/device").rmdir()
    (root / "sys/class/drm/card0").rmdir()
    assert "no GPU: the kernel shows no graphics card (/sys/class/drm)" in said(root)[0]
    # Verify may be told to accept the software renderer, which needs no card.
    assert said(root, accept_software_renderer=True) == []


def test_a_container_has_the_kernel_of_another(tmp_path: Path) -> None:
    root = parts.host("not-restarted", tmp_path)
    assert [each.split(":")[0] for each in said(root)] == ["warned arguments"]
    (root / "run/systemd").mkdir(parents=True)
    (root / "run/systemd/container").write_text("docker")
    assert said(root) == []


def test_the_gpu_of_a_thin_client_in_another_box_is_no_better(tmp_path: Path) -> None:
    root = parts.host("wyse-5070", tmp_path)
    for name in ("product_name", "product_family"):
        (root / "sys/class/dmi/id" / name).write_text("Mini PC\n")
    (text,) = said(root)
    assert text.startswith(
        "refused gpu: Mini PC has the GPU of a thin client: UHD Graphics 600 (Gemini Lake: Wyse 5070)"
    )


def test_a_thin_client_with_a_gpu_of_amd_is_one_all_the_same(tmp_path: Path) -> None:
    root = parts.host("wyse-5070", tmp_path)
    card = root / "sys/class/drm/card0/device"
    (card / "vendor").write_text("0x1002\n")
    (card / "device").write_text("0x98e4\n")
    (card / "uevent").write_text("DRIVER=amdgpu\n")
    (root / "sys/class/dmi/id/product_name").write_text("Wyse 5470\n")
    (text,) = said(root)
    assert text.startswith(
        "refused gpu: Wyse 5470 has the GPU of a thin client: integrated, 1002:98e4, driver amdgpu\n"
    )


@pytest.mark.parametrize(("vendor", "device", "driver"), [("10de", "2204", "nvidia"), ("1002", "1586", "")])
def test_a_gpu_without_the_driver_that_is_needed(vendor: str, device: str, driver: str, tmp_path: Path) -> None:
    root = parts.host("framework-desktop", tmp_path)
    card = root / "sys/class/drm/card1/device"
    (card / "vendor").write_text(f"0x{vendor}\n")
    (card / "device").write_text(f"0x{device}\n")
    (card / "uevent").write_text(f"DRIVER={driver}\n" if driver else "")
    (text,) = said(root)
    assert text.startswith(f"refused gpu: card1 is {vendor}:{device} with the driver {driver or 'none'}\n")


def test_another_gpu_of_amd_is_known_by_its_target(tmp_path: Path) -> None:
    root = parts.host("framework-desktop", tmp_path)
    properties = root / "sys/class/kfd/kfd/topology/nodes/1/properties"
    properties.write_text(properties.read_text().replace("110501", "110000"))
    assert said(root) == []
    (text,) = said(root, backend="rocm")
    assert text.startswith("warned gpu: a GPU whose target is 110000\n  expected: 110501 (gfx1151)")


@pytest.mark.parametrize(
    ("distribution", "kernel", "fits"),
    [
        ("debian", "6.18.4+deb14-amd64", True),
        ("debian", "6.18.3+deb14-amd64", False),
        ("debian", "6.18-amd64", False),
        ("debian", "7.0.0-rc1-amd64", True),
        ("debian", "", False),
        ("fedora", "6.17.9-300.fc43.x86_64", False),
        ("ubuntu", "6.17.0-19-generic", True),
        ("ubuntu", "6.17.0-18-generic", False),
        ("ubuntu", "6.14.0-1018-oem", True),
        ("ubuntu", "6.14.0-1017-oem", False),
        ("ubuntu", "6.14.0-1018-generic", False),
    ],
)
def test_the_least_kernel_of_each_distribution(distribution: str, kernel: str, fits: bool, tmp_path: Path) -> None:
    root = parts.host("framework-desktop", tmp_path)
    (root / "proc/sys/kernel/osrelease").write_text(f"{kernel}\n")
    (root / "etc/os-release").write_text(f'NAME="Linux"\nID="{distribution}"\n')
    assert [each.split(":")[0] for each in said(root, backend="rocm")] == ([] if fits else ["refused kernel"])


def test_firmware_that_cannot_be_read_is_no_firmware_that_is_good(tmp_path: Path) -> None:
    root = parts.host("framework-desktop", tmp_path)
    (root / "sys/kernel/debug/dri/1/amdgpu_firmware_info").unlink()
    (text,) = said(root)
    assert text.startswith("warned firmware: which firmware the GPU runs could not be read")
    assert "mount -t debugfs none /sys/kernel/debug" in text


@pytest.mark.parametrize(
    ("backend", "build", "refused"),
    [
        ("rocm", "b10039", False),
        ("rocm", "b10040", True),
        ("rocm", 10840, True),
        ("rocm", "b10841", False),
        ("vulkan", "b10500", False),
        ("rocm", None, False),
    ],
)
def test_builds_that_compute_wrongly(backend: str, build: Any, refused: bool, tmp_path: Path) -> None:
    found = said(parts.host("framework-desktop", tmp_path), backend=backend, build=build)
    assert len(found) == refused
    for text in found:
        assert text.splitlines()[:2] == [
            f"refused build: llama.cpp b{str(build).removeprefix('b')} computes wrongly with ROCm, without a word",
            "  expected: a build before b10040 or after b10840",
        ]


def test_a_site_may_know_better(tmp_path: Path) -> None:
    assert said(parts.host("denied-firmware", tmp_path / "a"), firmware_deny=["2024"], mes_deny=[0x82]) == []
    assert len(said(parts.host("denied-firmware", tmp_path / "e"), firmware_deny=["2024"], mes_deny=[0x83])) == 1
    old = parts.host("old-kernel", tmp_path / "b")
    assert said(old, backend="rocm", min_kernel={"debian": "6.12.0"}) == []
    carved = parts.host("carve-out", tmp_path / "c")
    assert not any("carve-out" in each for each in said(carved, uma_max_mib=98304))
    good = parts.host("framework-desktop", tmp_path / "d")
    assert "refused build" in said(good, backend="rocm", build="b12000", deny_builds_rocm=[[11999, 12001]])[0]
    assert "expected: 100 GiB for the GPU, 26214400 pages; ttm.pages_limit=26214400\n" in said(good, gtt_gib=100)[0]
    assert "the GPU is to have 123 GiB of 124" in said(good, gtt_gib=123)[0]


def test_what_is_empty_is_what_the_program_knows() -> None:
    empty = {"min_kernel": {}, "firmware_deny": [], "mes_deny": [], "deny_builds_rocm": [], "build": ""}
    assert preflight.settings(json.dumps(empty | {"uma_max_mib": 0, "gtt_gib": 0})) == preflight.settings("{}")


WRONG: dict[str, tuple[str, str]] = {
    "no JSON": ("{", "the settings are no JSON"),
    "a list": ("[]", "settings that nobody knows: no object"),
    "a name": ('{"backends": "rocm"}', "settings that nobody knows: backends"),
    "a back end": ('{"backend": "cuda"}', "the settings cannot be used: 'cuda' is not a valid Backend"),
    "a build": ('{"build": "latest"}', "the settings cannot be used: invalid literal"),
    "builds": ('{"deny_builds_rocm": [1]}', "the settings cannot be used: "),
    "a kernel": ('{"min_kernel": {"debian": "new"}}', "the settings cannot be used: 'new' is no version of a kernel"),
    "a number": ('{"uma_max_mib": "much"}', "the settings cannot be used: invalid literal"),
    "firmware": ('{"mes_deny": ["old"]}', "the settings cannot be used: invalid literal"),
}


@pytest.mark.negative
@pytest.mark.parametrize("case", WRONG)
def test_settings_that_nobody_can_use(case: str) -> None:
    text, message = WRONG[case]
    with pytest.raises(parts.part("errors").Trouble) as caught:
        preflight.settings(text)
    assert caught.value.message.startswith(message)
    assert caught.value.hint


def test_the_command_says_it_for_people_and_for_programs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root = str(parts.host("old-kernel", tmp_path))
    assert preflight.preflight(["--root", root]) == 0
    assert capsys.readouterr().out.startswith("warned kernel: ")
    settings = tmp_path / "settings.json"
    settings.write_text('{"backend": "rocm", "build": "b10500"}')
    assert preflight.preflight(["--root", root, "--settings", str(settings), "--json"]) == 1
    told = json.loads(capsys.readouterr().out)
    assert [(each["gate"], each["level"]) for each in told["findings"]] == [("kernel", "refused"), ("build", "refused")]
    assert told["hardware"]["cards"][0]["pci"] == "1002:1586"
    assert preflight.preflight(["--root", root, "--settings", str(settings), "--backend", "cpu"]) == 0
    assert capsys.readouterr().out == "nothing is in the way of cpu here\n"
    # Where nothing is said, what the role has told the host is asked.
    document = tmp_path / "old-kernel/etc/homelab-provision/inference.json"
    document.parent.mkdir()
    document.write_text('{"port": 8080, "preflight": {"backend": "rocm"}}')
    assert preflight.preflight(["--root", root]) == 1
    assert capsys.readouterr().out.startswith("refused kernel: ")


@pytest.mark.negative
def test_the_command_says_when_it_is_asked_wrongly(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert preflight.preflight(["--settings", str(tmp_path / "missing.json")]) == 2
    assert "missing.json" in capsys.readouterr().err
    assert preflight.preflight(["--build", "newest"]) == 2
    assert "the settings cannot be used" in capsys.readouterr().err
