"""The machine: versions of libraries, devices with their memory, disks, and the hub's cache."""

from __future__ import annotations

import os
import platform
import shutil
import tempfile
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, requires, version
from pathlib import Path

import psutil
import torch

from lamsearch.doctor.check import Check, State, size_text

_SHOWN = ("torch", "diffusers", "transformers", "botorch", "optuna")
_LEAST_FREE_BYTES = 1_000_000_000
_CGROUP = Path("/sys/fs/cgroup")


def versions() -> Iterator[Check]:
    """Check that the installed libraries are those that the package requires."""
    from packaging.requirements import Requirement  # comes with accelerate and transformers

    too_old = []
    for text in requires("lamsearch") or ():
        needed = Requirement(text)
        if needed.marker is not None and not needed.marker.evaluate({"extra": ""}):
            continue
        try:
            found = version(needed.name)
        except PackageNotFoundError:
            too_old.append(f"{needed.name} is not installed")
            continue
        if not needed.specifier.contains(found, prereleases=True):
            too_old.append(f"{needed.name} is {found}, expected {needed.specifier}")
    shown = ", ".join(f"{name} {version(name)}" for name in _SHOWN)
    text = f"lamsearch {version('lamsearch')}, Python {platform.python_version()}, {shown}"
    if too_old:
        yield Check("versions", "wrong", f"{'; '.join(too_old)}: pip install -U lamsearch")
    else:
        yield Check("versions", "ok", text)


def device_check(device: str) -> Iterator[Check]:
    """Check which device models run on, and how much of its memory is free."""
    free, total = device_memory(device)
    memory = f"{size_text(free)} of {size_text(total)} of memory free"
    if torch.device(device).type == "cuda":
        count = torch.cuda.device_count()
        others = f"; {count} devices in all" if count > 1 else ""
        name = torch.cuda.get_device_name(device)
        yield Check("device", "ok", f"{device}: {name}, {memory}{others}")
    else:
        cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
        yield Check("device", "ok", f"{device}: {cores} CPU cores, {memory}")


def device_memory(device: str) -> tuple[int, int]:
    """Return the free and the total memory of a device, in bytes; of the host for all but CUDA."""
    if torch.device(device).type == "cuda":
        free, total = torch.cuda.mem_get_info(device)
        return free, total
    memory = psutil.virtual_memory()
    free, total = memory.available, memory.total
    try:  # a container may have less than its host
        limit = int((_CGROUP / "memory.max").read_text())
        used = int((_CGROUP / "memory.current").read_text())
    except (OSError, ValueError):
        return free, total
    return min(free, max(0, limit - used)), min(total, limit)


def hub_cache() -> Iterator[Check]:
    """Check that models can be downloaded, or that only those in the cache are to be used."""
    from huggingface_hub import constants

    cache = Path(constants.HF_HUB_CACHE)
    mode = "offline: only what it holds is loaded" if constants.HF_HUB_OFFLINE else "online"
    yield _space("hub cache", cache, f"{cache} ({mode})")


def disk(folder: Path) -> Iterator[Check]:
    """Check that studies and pictures find space where they go."""
    yield _space("disk", folder, f"{folder}")


def can_write(folder: Path) -> bool:
    """Return whether files can be created in a folder; a file without a name is, and goes."""
    try:
        with tempfile.TemporaryFile(dir=folder):
            return True
    except OSError:
        return False


def existing(folder: Path) -> Path:
    """Return the folder, or the nearest one above it that exists."""
    folder = folder.absolute()
    return next(each for each in (folder, *folder.parents) if each.is_dir())


def _space(name: str, folder: Path, shown: str) -> Check:
    there = existing(folder)
    if not can_write(there):
        return Check(name, "warning", f"{shown}: nothing can be written in {there}")
    free = shutil.disk_usage(there).free
    state: State = "ok" if free >= _LEAST_FREE_BYTES else "warning"
    advice = "" if state == "ok" else ": free some space"
    return Check(name, state, f"{shown}: {size_text(free)} free{advice}")
