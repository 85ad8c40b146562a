"""What a reward or a function returned → float64 numbers, or why it is none.

Only numbers are taken for numbers: what numpy would convert without a word, and lose something by
it (a mask, an imaginary part, the meaning of a date or of a text), is refused.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from lamsearch.errors import first_line

_WIDTHS = (4, 8)
"""Bytes of a float. float16 resolves a score of 0.29 only to 2.4e-4, about the effect of λ."""

_EXACT = 2**53
"""float64 holds every integer up to this one."""


def score_array(returned: object, *, integers: bool = False) -> NDArray[np.float64]:
    """Return scores as float64, of the shape they have.

    Args:
        returned: An array, tensor or sequence of float32 or float64 numbers, or a single one.
        integers: Whether integers are taken too.

    Raises:
        ValueError: If it is anything else; the message says what, as in "returned …".
    """
    elements = returned if isinstance(returned, list | tuple) else (returned,)
    for each in elements:
        if isinstance(each, np.ma.MaskedArray):
            raise ValueError(f"{_kind(returned, each)} masked array, whose mask would be lost")
        if _is_bool(each) and not hasattr(each, "__len__"):
            raise ValueError(f"{_kind(returned, each)} bool, which is no number")
    if isinstance(returned, bytes | bytearray | memoryview):
        raise ValueError(f"a {type(returned).__name__}")
    try:
        array = np.asarray(returned)
    except Exception as error:  # a tensor on a GPU, a ragged list, whatever `__array__` raises
        kind = type(returned).__name__
        raise ValueError(f"a {kind} that is not an array: {first_line(error)}") from error
    if not (_is_float(array) or (integers and _is_exact(array))):
        raise ValueError(f"shape {array.shape} of {array.dtype}")
    return array.astype(np.float64)


def _kind(returned: object, each: object) -> str:
    return "a" if returned is each else f"a {type(returned).__name__} with a"


def _is_bool(each: object) -> bool:
    """Return whether it is a bool of Python, numpy or torch; a list of them with numbers is not."""
    return isinstance(each, bool) or str(getattr(each, "dtype", "")).endswith("bool")


def _is_float(array: NDArray[np.generic]) -> bool:
    return array.dtype.kind == "f" and array.dtype.itemsize in _WIDTHS


def _is_exact(array: NDArray[np.generic]) -> bool:
    """Return whether it holds integers that float64 holds too."""
    if array.dtype.kind not in "iu":
        return False
    return bool(((array <= _EXACT) & (array >= -_EXACT)).all())  # type: ignore[operator]
