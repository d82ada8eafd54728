"""The models that are declared, all of them whole and verified; those that are declared no more are named."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from homelab_host import report, synced
from homelab_host.disk_space import shown
from homelab_host.errors import Trouble

from .config import Config, File, Model
from .download import digest, download, have, part_of, refused_of

# In the folder of a model: which of its files were verified, and how they looked then.
NOTES = ".verified.json"


def folder_of(config: Config, model: Model) -> Path:
    return config.models_folder / model.name


def fetch(config: Config, check: bool = False) -> list[str]:
    """Bring what is missing; returns what was (or would be) done. A disk that is too small is refused before all."""
    missing = [
        (model, file) for model in config.models for file in model.files if not _is_here(config, model, file, check)
    ]
    if not missing:
        return []
    _check_room(config, missing)
    if check:
        return [f"bring {file.name} of {model.name}, {shown(file.size or 0)}" for model, file in missing]
    for model, file in missing:
        report.step(f"bring {file.name} of {model.name} from {file.source.partition('?')[0]}")
        folder = _made(config, model)
        download(file, folder / file.name)
        _note(folder, file)
    return [f"brought {file.name} of {model.name}" for model, file in missing]


def undeclared(config: Config) -> list[Path]:
    """Folders and files of models that this program has brought, and that nobody declares any more."""
    declared = {model.name: {file.name for file in model.files} for model in config.models}
    found = []
    for folder in sorted(config.models_folder.iterdir()) if config.models_folder.is_dir() else ():
        if not (folder / NOTES).is_file():
            continue
        if folder.name not in declared:
            found.append(folder)
        else:
            found += sorted(folder / name for name in _notes(folder) if name not in declared[folder.name])
    return found


def purge(config: Config) -> list[str]:
    """Delete what is declared no more. What somebody else has laid there is none of this program's business."""
    gone = []
    for path in undeclared(config):
        size = shown(size_of(path))
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)
            notes = _notes(path.parent)
            notes.pop(path.name)
            synced.write(path.parent / NOTES, json.dumps(notes, indent=1), 0o644)
        gone.append(f"deleted {path}, {size}")
    return gone


def size_of(path: Path) -> int:
    return sum(each.stat().st_size for each in ([path] if path.is_file() else path.rglob("*")) if each.is_file())


def missing_files(config: Config) -> list[str]:
    """What of the declared models is not here, or was not verified; nothing is read for it but notes."""
    return [
        f"{model.name}/{file.name}"
        for model in config.models
        for file in model.files
        if not _is_noted(folder_of(config, model), file)
    ]


def _is_here(config: Config, model: Model, file: File, check: bool) -> bool:
    folder = folder_of(config, model)
    if _is_noted(folder, file):
        return True
    path = folder / file.name
    if check or not path.is_file() or path.stat().st_size != file.size:
        return False
    # Somebody has brought it another way, or it was changed: its bytes tell.
    report.step(f"verify {file.name} of {model.name}")
    if digest(path, file.name) != file.sha256:
        return False
    path.chmod(0o644)
    _note(folder, file)
    return True


def _is_noted(folder: Path, file: File) -> bool:
    try:
        found = (folder / file.name).stat()
    except OSError:
        return False
    return _notes(folder).get(file.name) == {
        "sha256": file.sha256,
        "size": found.st_size,
        "mtime_ns": found.st_mtime_ns,
    }


def _note(folder: Path, file: File) -> None:
    found = (folder / file.name).stat()
    notes = _notes(folder)
    notes[file.name] = {"sha256": file.sha256, "size": found.st_size, "mtime_ns": found.st_mtime_ns}
    synced.write(folder / NOTES, json.dumps(notes, indent=1), 0o644)


def _notes(folder: Path) -> dict[str, Any]:
    try:
        found = json.loads((folder / NOTES).read_text())
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def _made(config: Config, model: Model) -> Path:
    """The folder of a model, which everybody may read: the server is nobody in particular."""
    folder = folder_of(config, model)
    for path in (config.models_folder, folder):
        path.mkdir(parents=True, exist_ok=True)
        path.chmod(0o755)
    return folder


def _check_room(config: Config, missing: list[tuple[Model, File]]) -> None:
    wanted = [(file.size or 0) - _here(folder_of(config, model) / file.name, file) for model, file in missing]
    disk = next(_upward(config.models_folder))
    found = os.statvfs(disk)
    free, needed = found.f_bavail * found.f_frsize, sum(wanted)
    if needed + config.reserve <= free:
        return
    each = ", ".join(
        f"{model.name}/{file.name} {shown(size)}" for (model, file), size in zip(missing, wanted, strict=True)
    )
    few = needed + config.reserve - free
    raise Trouble(
        f"the models need {shown(needed)} more below {config.models_folder} ({each}); {shown(free)} are"
        f" free there, of which {shown(config.reserve)} stay free: {shown(few)} too few. Nothing"
        " was brought",
        "declare less, lower inference_reserve_gib, or make room: `homelab-inference purge` deletes models that nobody"
        " declares any more",
    )


def _here(target: Path, file: File) -> int:
    """Bytes that a download need not find room for: what has come of it, taken or refused."""
    refused = refused_of(target)
    return max(have(target, file) if part_of(target).exists() else 0, refused.stat().st_size if refused.exists() else 0)


def _upward(path: Path) -> Iterator[Path]:
    """The nearest folders that are there, from `path` to the root."""
    yield from (each for each in (path, *path.parents) if each.is_dir())
