"""What the command line sets for its own process, before heavy libraries are imported.

Nothing of this happens where lamsearch is used from Python.
"""

from __future__ import annotations

import gc
import os
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

SPIN_COUNT = "1000"
"""How long OpenMP threads spin while they wait. By default they spin so long that one other busy
process on the machine slows small models down by a factor of 15 to 20."""

_SPIN_VARIABLES = ("GOMP_SPINCOUNT", "OMP_WAIT_POLICY")
_SMALL_BYTES = 64_000_000

_LIBRARIES = (
    "torch|diffusers|transformers|botorch|gpytorch|linear_operator|optuna|peft|huggingface_hub"
)


def spin_less(models: Path | None = None, device: str | None = None) -> None:
    """Shorten the spinning of OpenMP threads, unless the user has set it.

    With models it does so only if they are small and run on the CPU: large ones have work enough
    for every thread. torch must not be imported yet.

    Args:
        models: Folder of the models that will run.
        device: Where they run; None for the accelerator if there is one.
    """
    if any(name in os.environ for name in _SPIN_VARIABLES):
        return
    if models is None or (_is_cpu(device) and _is_small(models)):
        os.environ["GOMP_SPINCOUNT"] = SPIN_COUNT


@contextmanager
def quick_imports() -> Iterator[None]:
    """Import without garbage collections, which take a sixth of the time and find nothing."""
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        if was_enabled:
            gc.enable()


def silence_library_warnings() -> None:
    """Hide deprecations inside libraries, which a user of the command line can do nothing about."""
    for category in (FutureWarning, DeprecationWarning, PendingDeprecationWarning):
        warnings.filterwarnings("ignore", category=category, module=rf"({_LIBRARIES})(\.|$)")


def quiet_libraries() -> None:
    """Silence what would draw over the progress bar; imports these libraries."""
    import diffusers
    import optuna
    import transformers

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    library: Any
    for library in (diffusers, transformers):
        library.utils.logging.disable_progress_bar()
        library.utils.logging.set_verbosity_error()


def _is_cpu(device: str | None) -> bool:
    if device is not None:
        return device.startswith("cpu")
    return sys.platform != "darwin" and not Path("/dev/nvidiactl").exists()


def _is_small(folder: Path) -> bool:
    """Return whether a local folder is small; a model on the hub is taken for a large one."""
    if not folder.is_dir():
        return False
    return sum(file.stat().st_size for file in folder.rglob("*") if file.is_file()) < _SMALL_BYTES
