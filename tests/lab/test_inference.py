"""A host that serves language models is lost, and answers the same as before: its models come again from the NAS."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from homelab_provision.site.loading import load_site
from homelab_provision.site.vault.store import Vault
from tests.asking import Answer, question
from tests.lab import language_models as nas
from tests.lab.conftest import Homelab

pytestmark = [pytest.mark.lab, pytest.mark.long]

HOST, ADDRESS, MACHINE = "framework", "192.168.50.12", "wyse-a"
LAN = "192.168.50.0/24"
URL = f"http://{ADDRESS}:8080/v1"
CHAT = {
    "model": "tiny",
    "messages": [{"role": "user", "content": "What is a house by the sea?"}],
    "temperature": 0,
    "max_tokens": 16,
    "ignore_eos": True,
    "cache_prompt": False,
}
VECTORS = {"model": "vectors", "input": ["a house by the sea", "another"]}
# Seconds that llama-server may take under emulation to come up with a model.
SLOW = 1200


class House:
    """A homelab whose wyse-a serves models, and whose NAS has them: one over HTTP, one on a share."""

    def __init__(self, homelab: Homelab, folder: Path) -> None:
        self.homelab, self.folder = homelab, folder
        self.on, self.done = homelab.on, homelab.done
        place = {
            "ansible_host": ADDRESS,
            "provision_network": {"address": f"{ADDRESS}/24", "gateway": "192.168.50.1", "dns": ["192.168.50.1"]},
            "provision_needs": {"disk_gb": 12, "memory_mib": 2048},
        }
        homelab.edit("plays: db-wyse", f"plays: {HOST}")
        homelab.edit("        web:\n", "        web:\n        inference:\n", "hosts.yml")
        group = f"    inference:\n      hosts:\n        {HOST}: {json.dumps(place)}\n\n"
        homelab.edit("    web:\n      hosts:\n", f"{group}    web:\n      hosts:\n", "hosts.yml")
        homelab.tell(
            "nas",
            nfs_server_exports=[{"path": nas.FOLDER, "clients": [{"address": ADDRESS, "access": "ro"}]}],
            nfs_server_lease_time=10,
            nfs_server_grace_time=10,
            base_firewall_rules=[f"ip saddr {ADDRESS} tcp dport {nas.PORT} accept"],
        )
        for machine, host in (("nas-a", "nas"), (MACHINE, HOST)):
            homelab.install(machine, host)

    def describe(self, files: dict[str, dict[str, Any]]) -> None:
        server = f"http://{nas.NAS}:{nas.PORT}"
        self.homelab.tell(
            HOST,
            provision_secrets=["inference"],
            provision_mounts=[{"source": f"{nas.NAS}:{nas.FOLDER}", "path": nas.SHARE}],
            inference_backend="cpu",
            inference_build=nas.BUILD,
            inference_build_source=f"{server}/{nas.ARCHIVE}",
            inference_build_sha256=files["build"]["sha256"],
            inference_listen=ADDRESS,
            inference_networks=[LAN],
            inference_api_keys=["{{ secret_inference }}"],
            inference_reserve_gib=1,
            inference_start_timeout=SLOW,
            inference_models_max=2,
            inference_models_url=server,
            inference_models=[
                {
                    "name": "tiny",
                    "context": 2048,
                    "load_on_startup": True,
                    "repository": nas.REPOSITORY,
                    "revision": nas.REVISION,
                    "files": [{"file": "tiny.gguf", **files["tiny"]}],
                    # More of them wait for each other, which takes long where processors are emulated.
                    "options": {"threads": 1},
                },
                {
                    "name": "vectors",
                    "kind": "embedding",
                    "files": [{"path": f"{nas.SHARE}/{nas.MODELS['vectors']}", **files["vectors"]}],
                    "options": {"pooling": "mean", "threads": 1},
                },
            ],
        )

    @property
    def key(self) -> str:
        site = load_site(self.homelab.site)
        secrets: dict[str, str] = Vault.of(site.root, name=site.name).read(["secrets"])["secrets"]
        return secrets["secret_inference"]

    def ask(self, path: str, data: object = None, *, key: str | None = None) -> Answer:
        """What another machine of the LAN is answered."""
        shown = f"Bearer {self.key if key is None else key}"
        return Answer.of(self.on("nas", question(URL + path, data, authorization=shown)))

    def answers(self) -> dict[str, Any]:
        """What each model says; all that means anything in it, and nothing of when it was said."""
        told, vectors = self.ask("/chat/completions", CHAT), self.ask("/embeddings", VECTORS)
        assert (told.status, vectors.status) == (200, 200), (told, vectors)
        [choice] = told.json["choices"]
        return {
            "said": choice["message"]["content"],
            "tokens": told.json["usage"]["completion_tokens"],
            "vectors": [each["embedding"] for each in vectors.json["data"]],
        }


def test_an_inference_host_comes_back_with_its_models(homelab: Homelab, tmp_path: Path) -> None:
    house = House(homelab, tmp_path)
    house.done("apply", "nas")
    house.describe(nas.lay(homelab, "nas", tmp_path))
    house.done("apply", HOST)
    before = it_answers_who_has_a_key(house)
    served = nas.asked(homelab, "nas")
    assert sorted(served) == sorted([nas.ARCHIVE, nas.MODELS["tiny"]])

    machine = homelab.machine(MACHINE)
    machine.power_off()
    machine.wipe()
    house.done("rebuild", HOST, "--onto", MACHINE, "--yes")
    shown = homelab.latest()
    assert shown["result"] == "proven", shown
    restored = next(phase["proof"] for phase in shown["phases"] if phase["name"] == "restore")
    assert (restored["data"], restored["restored"]) == ("new", {}), restored
    assert sorted(nas.asked(homelab, "nas")) == sorted(2 * served), "build and model were fetched once more, and once"
    assert it_answers_who_has_a_key(house) == before


def it_answers_who_has_a_key(house: House) -> dict[str, Any]:
    """And says the same each time; who has none is not answered."""
    for key in ("", "a-guess-of-somebody"):
        assert house.ask("/chat/completions", CHAT, key=key).status == 401
    told = house.answers()
    assert house.answers() == told
    assert (told["tokens"], bool(told["said"]), [len(each) for each in told["vectors"]]) == (16, True, [64, 64])
    assert told["vectors"][0] != told["vectors"][1]
    return told
