"""Write the file of prompts that the paper's models are compared on.

    python -m examples.paper.prompts --pairs pickapic --hps hpdv2/*.json -o prompts.txt

draws 500 of the captions of Pick-a-Pic v1 (parquet files) and the prompts of HPD v2's benchmark
(JSON lists). The paper names both sources and no split, so they are drawn from the union.
"""

from __future__ import annotations

import argparse
import random
from collections.abc import Sequence
from pathlib import Path

from lamsearch.config.prompt_files import read_prompts
from lamsearch.errors import SettingsError


def captions(folder: Path) -> list[str | None]:
    """Return the captions of a folder of parquet files."""
    from pyarrow import parquet

    tables = [parquet.read_table(f, columns=["caption"]) for f in sorted(folder.glob("*.parquet"))]
    return [caption for table in tables for caption in table["caption"].to_pylist()]


def drawn(prompts: Sequence[str | None], *, count: int, seed: int) -> list[str]:
    """Return different prompts of one line each, in a random order; absent ones (None) are none.

    Raises:
        SettingsError: If there are fewer than `count`.
    """
    lines = sorted({" ".join(prompt.split()) for prompt in prompts if prompt} - {""})
    if len(lines) < count:
        raise SettingsError(
            f"{len(lines)} different prompts found, expected {count}: give more files, or --count"
        )
    return random.Random(seed).sample(lines, count)


def main(arguments: Sequence[str] | None = None) -> Path:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pairs", type=Path, required=True, help="folder of parquet files")
    parser.add_argument("--hps", type=Path, nargs="*", default=[], help="files of HPD v2's prompts")
    parser.add_argument("--count", type=int, default=500)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("-o", "--output", type=Path, default=Path("prompts.txt"))
    given = parser.parse_args(arguments)
    prompts = captions(given.pairs) + [
        prompt for file in given.hps for prompt in read_prompts(file)
    ]
    try:
        chosen = drawn(prompts, count=given.count, seed=given.seed)
    except SettingsError as error:
        parser.error(str(error))
    given.output.write_text("\n".join(chosen) + "\n", encoding="utf-8")
    return Path(given.output)


if __name__ == "__main__":
    main()
