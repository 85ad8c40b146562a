"""What timings depend on, as one line to print beside them."""

from __future__ import annotations

import os
import platform
from importlib.metadata import version

LIBRARIES = ("torch", "diffusers", "transformers", "botorch", "optuna")


def environment() -> str:
    """Return the versions of Python and of the heavy libraries, and the number of cores."""
    libraries = ", ".join(f"{name} {version(name)}" for name in LIBRARIES)
    return f"python {platform.python_version()}, {libraries}, {os.cpu_count()} cores"
