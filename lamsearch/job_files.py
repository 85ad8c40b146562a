"""Job files that start workers of one study on a cluster: for Slurm, and for SkyPilot.

Whatever a user names only stands in the shell command, quoted. The URL of the database, which may
hold a password, comes from the environment.
"""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from importlib.metadata import version

STORAGE_VARIABLE = "LAMSEARCH_STORAGE"

_SLURM = """\
#!/bin/bash
#SBATCH --job-name=lamsearch
#SBATCH --array=0-{last}
#SBATCH --ntasks=1
#SBATCH --gpus=1
#SBATCH --time=24:00:00
#SBATCH --output=lamsearch-%A-%a.log
#SBATCH --requeue
#SBATCH --open-mode=append
#SBATCH --signal=B:TERM@60
# Each task is a worker of the same study; one that ends early is resumed by submitting this again.
set -eu
{storage}exec {command}
"""

_NEEDS_STORAGE = """\
: "${LAMSEARCH_STORAGE:?set it to the URL of a PostgreSQL database, and submit with --export=ALL}"
"""


def slurm_script(arguments: Sequence[str], workers: int, *, is_on_server: bool = True) -> str:
    """Return a batch script for `sbatch`, a job array.

    Args:
        arguments: The command of each worker.
        workers: Number of workers.
        is_on_server: Whether the study is in a database that the environment names.
    """
    return _SLURM.format(
        last=workers - 1,
        storage=_NEEDS_STORAGE if is_on_server else "",
        command=shlex.join(arguments),
    )


def skypilot_task(arguments: Sequence[str], workers: int, *, is_on_server: bool = True) -> str:
    """Return a task for `sky launch`, in YAML.

    Args:
        arguments: The command of each worker.
        workers: Number of nodes with a worker each.
        is_on_server: Whether the study is in a database that the environment names.
    """
    import yaml

    task = {
        "name": "lamsearch",
        "num_nodes": workers,
        "workdir": ".",
        "resources": {"accelerators": {"A100": 1}},
        **({"secrets": {STORAGE_VARIABLE: None}} if is_on_server else {}),
        "setup": f"pip install 'lamsearch[postgres]=={version('lamsearch')}'\n",
        "run": f"exec {shlex.join(arguments)}\n",
    }
    text: str = yaml.safe_dump(task, sort_keys=False, allow_unicode=False, width=100)
    return text
