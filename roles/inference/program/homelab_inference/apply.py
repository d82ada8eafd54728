"""From what is declared to what is served; and back to the build before."""

from __future__ import annotations

from homelab_host import report
from homelab_host.errors import Trouble

from . import builds, fetch
from .config import Config
from .places import Places, led_to
from .serve import models, settle
from .service import Service


def apply(config: Config, places: Places, service: Service, check: bool = False) -> dict[str, object]:
    """Install, fetch, and serve. The old goes on being served until the new has been tried. Raises Trouble."""
    actions = builds.install(config.build, config.backend, places, check)
    installed = not check or not actions
    actions += fetch.fetch(config, check)
    if installed:
        actions += settle(config, config.build.name, places, service, check)
    return {
        "changed": bool(actions),
        "actions": actions,
        "undeclared": [str(path) for path in fetch.undeclared(config)],
    }


def install(config: Config, places: Places) -> dict[str, object]:
    actions = builds.install(config.build, config.backend, places)
    return {"changed": bool(actions), "actions": actions}


def bring(config: Config) -> dict[str, object]:
    actions = fetch.fetch(config)
    return {
        "changed": bool(actions),
        "actions": actions,
        "undeclared": [str(path) for path in fetch.undeclared(config)],
    }


def switch(config: Config, name: str, places: Places, service: Service) -> dict[str, object]:
    """Serve with another build that is installed."""
    if name not in builds.installed(places):
        raise Trouble(f"build {name} is not installed", f"there are {', '.join(builds.installed(places)) or 'none'}")
    actions = settle(config, name, places, service)
    if name != config.build.name:
        report.notice(
            f"the site declares build {config.build.name}: the next play serves that unless inference_build says {name}"
        )
    return {"changed": bool(actions), "actions": actions}


def rollback(config: Config, places: Places, service: Service) -> dict[str, object]:
    name = led_to(places.previous)
    if not name:
        raise Trouble(
            "there is no build before this one", "`homelab-inference switch BUILD` serves another that is installed"
        )
    return switch(config, name, places, service)


def purge(config: Config, places: Places) -> dict[str, object]:
    actions = fetch.purge(config) + builds.purge(places, config.build)
    return {"changed": bool(actions), "actions": actions}


def restore(config: Config) -> dict[str, object]:
    """Models are never backed up: they are fetched again from where they came."""
    report.notice("nothing to restore: models are fetched again")
    return bring(config)


def status(config: Config, places: Places, service: Service) -> dict[str, object]:
    """What a person wants to know first."""
    states = models(places)
    return {
        "unit": service.state(),
        "build": led_to(places.current),
        "previous": led_to(places.previous),
        "declared_build": config.build.name,
        "builds": builds.installed(places),
        "models": {name: "failed" if state.get("failed") else state.get("value") for name, state in states.items()},
        "missing": fetch.missing_files(config),
        "undeclared": [str(path) for path in fetch.undeclared(config)],
    }
