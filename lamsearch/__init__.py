"""Find the alignment strength β/λ* that your reward likes best, from one aligned model."""

from lamsearch.errors import LamsearchError
from lamsearch.sampler import LamSampler
from lamsearch.search import run, search
from lamsearch.summary import Summary

__all__ = ["LamSampler", "LamsearchError", "Summary", "run", "search"]
