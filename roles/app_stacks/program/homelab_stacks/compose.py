"""Docker compose: how this host calls it for a stack, and for the throw-away copy of one."""

from __future__ import annotations

from pathlib import Path

from .config import Kind, Stack

OVERRIDE = "override.json"


def call(home: Path, name: str) -> list[str]:
    """The beginning of every call for the project that lies there, with what the toolkit has laid over it."""
    files = [home / "compose.yml", *([home / OVERRIDE] if (home / OVERRIDE).exists() else [])]
    words = ["docker", "compose", f"--project-name={name}", f"--project-directory={home}"]
    words += [f"--file={file}" for file in files]
    environment = home / "environment"
    return [*words, f"--env-file={environment}"] if environment.exists() else words


def project(stack: Stack) -> list[str]:
    """The beginning of every call for the stack itself; its unit calls the same."""
    return call(stack.project, stack.name)


def copy_name(stack: Stack) -> str:
    return f"proof-{stack.name}"


def copy(stack: Stack, file: Path) -> list[str]:
    """The beginning of every call for the throw-away copy, which `file` describes as a whole."""
    return ["docker", "compose", f"--project-name={copy_name(stack)}", f"--file={file}"]


def of_hooks(stack: Stack) -> dict[str, str]:
    """What hooks see, so that `docker compose exec -T db …` in one is about their own stack."""
    seen = {"STACK": stack.name, "STACK_DATA": str(stack.folder)}
    if stack.kind is Kind.COMPOSE:
        seen |= {"COMPOSE_PROJECT_NAME": stack.name, "COMPOSE_FILE": f"{stack.project}/compose.yml"}
        environment = stack.project / "environment"
        seen |= {"COMPOSE_ENV_FILES": str(environment)} if environment.exists() else {}
    return seen
