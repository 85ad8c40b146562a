"""How to cite the method and the software, as BibTeX."""

from __future__ import annotations

_PAPER = """\
@article{manujith2026deradiff,
  title   = {{DeRaDiff: Denoising Time Realignment of Diffusion Models}},
  author  = {Manujith, Ratnavibusena Don Shahain and Zhang, Yang and {Teoh Tze Tzun}
             and Kawaguchi, Kenji},
  journal = {arXiv preprint arXiv:2601.20198},
  year    = {2026}
}
"""


def citation(version: str) -> str:
    """Return the entries of the paper and of this version of the software."""
    software = (
        "@software{lamsearch,\n  title   = {lamsearch},\n"
        f"  author  = {{{{The lamsearch developers}}}},\n  version = {{{version}}}\n}}"
    )
    return f"{_PAPER}\n{software}"
