"""Distances between two sets of image features: Fréchet distance and unbiased MMD².

| symbol | code | meaning | shape |
|---|---|---|---|
| x_i | `first`, `second` | features of one image per row, such as its embedding | (N, D) |
| m, S | `mean`, `covariance` | moments of one set of features, S with N − 1 | (D,), (D, D) |
| σ | `bandwidth` | bandwidth of the kernel k = exp(−‖x − y‖²/(2σ²)) | () |

Which features to use is the caller's choice: InceptionV3's pool features (`inception_features`)
give the FID of the literature, CLIP's image embeddings of unit length give CMMD. Both distances are
symmetric, and numbers with different features or numbers of images are not comparable.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

Array = NDArray[np.float64]

CMMD_BANDWIDTH = 10.0
"""σ of CMMD (arXiv 2401.09603)."""

CMMD_SCALE = 1000.0
"""The factor by which CMMD multiplies MMD², for readability."""

_ROWS_PER_BLOCK = 1024


def frechet_distance(first: ArrayLike, second: ArrayLike) -> float:
    """Return the squared Fréchet distance of Gaussians fitted to two sets of features.

    With InceptionV3 features it is the FID (arXiv 1706.08500). The estimate is biased upwards,
    roughly in proportion to 1/N, and the more the larger D is: compare only distances from the same
    number of images, of which N should be several times D (FIDs of the literature use 10,000 or
    more for D = 2048; the paper's Table 3 has 1,000). With fewer images prefer
    `maximum_mean_discrepancy`.

    Args:
        first: (N, D) features, one row per image.
        second: (M, D) features of the same kind.

    Returns:
        ‖m₁ − m₂‖² + tr(S₁ + S₂ − 2 (S₁S₂)^½) ≥ 0, in squared units of the features.

    Raises:
        ValueError: If a set is not (N, D), has fewer than two images or values that are not finite,
            or if D differs.
    """
    x, y = _features(first, second)
    return frechet_distance_of_gaussians(
        x.mean(axis=0),
        np.atleast_2d(np.cov(x, rowvar=False)),
        mean_2=y.mean(axis=0),
        covariance_2=np.atleast_2d(np.cov(y, rowvar=False)),
    )


def frechet_distance_of_gaussians(
    mean_1: ArrayLike, covariance_1: ArrayLike, *, mean_2: ArrayLike, covariance_2: ArrayLike
) -> float:
    """Return the squared Fréchet (2-Wasserstein) distance of N(m₁, S₁) and N(m₂, S₂).

    The eigenvalues of S₁S₂ are those of the symmetric S₁^½ S₂ S₁^½ = AᵀA with A = S₂^½ S₁^½, so
    that tr((S₁S₂)^½) is the sum of A's singular values. Taking these rather than the roots of the
    eigenvalues of AᵀA keeps full precision where a covariance is singular, as with N ≤ D.

    Args:
        mean_1: (D,).
        covariance_1: (D, D), symmetric and positive semi-definite.
        mean_2: (D,).
        covariance_2: (D, D).

    Raises:
        ValueError: If the shapes do not fit.
    """
    m1, m2 = (np.asarray(m, np.float64) for m in (mean_1, mean_2))
    s1, s2 = (np.asarray(s, np.float64) for s in (covariance_1, covariance_2))
    square = (*m1.shape, *m1.shape)
    if m1.ndim != 1 or m2.shape != m1.shape or s1.shape != square or s2.shape != square:
        shapes = [each.shape for each in (m1, s1, m2, s2)]
        raise ValueError(f"means and covariances of shapes {shapes}: expected (D,) and (D, D)")
    overlap = np.linalg.svd(_square_root(s2) @ _square_root(s1), compute_uv=False).sum()
    distance = np.sum((m1 - m2) ** 2) + np.trace(s1) + np.trace(s2) - 2 * overlap
    return float(max(distance, 0.0))  # rounding can leave −1e-16 for equal sets


def maximum_mean_discrepancy(
    first: ArrayLike,
    second: ArrayLike,
    *,
    bandwidth: float = CMMD_BANDWIDTH,
    scale: float = CMMD_SCALE,
) -> float:
    """Return the unbiased estimate of MMD² between two sets of features.

    The defaults are CMMD's kernel and factor (arXiv 2401.09603), which is meant for CLIP image
    embeddings of unit length. The released CMMD code keeps the terms k(x_i, x_i) = 1, so that its
    numbers are larger by scale · ((1 − k̄_x)/N + (1 − k̄_y)/M), k̄ the mean kernel between two
    different images of a set. Without these terms, as here, the estimate has the right expectation
    from any number of images: some hundreds give a usable one, and it may be negative where the
    sets agree.

    Args:
        first: (N, D) features, one row per image, N ≥ 2.
        second: (M, D) features of the same kind, M ≥ 2.
        bandwidth: σ > 0 of the kernel, in units of the features.
        scale: What the estimate is multiplied by.

    Raises:
        ValueError: As `frechet_distance`, or if `bandwidth` is not positive.
    """
    if not bandwidth > 0:
        raise ValueError(f"bandwidth = {bandwidth}: expected a positive number")
    x, y = _features(first, second)
    n, m = len(x), len(y)
    # k(x_i, x_i) = 1 for each of the n images
    within_x = (_kernel_sum(x, x, bandwidth) - n) / (n * (n - 1))
    within_y = (_kernel_sum(y, y, bandwidth) - m) / (m * (m - 1))
    return float(scale * (within_x + within_y - 2 * _kernel_sum(x, y, bandwidth) / (n * m)))


def _kernel_sum(x: Array, y: Array, bandwidth: float) -> float:
    """Return Σ_ij k(x_i, y_j), computed block by block: (N, M) kernels can be large."""
    total = 0.0
    y_norms = np.sum(y**2, axis=1)
    for start in range(0, len(x), _ROWS_PER_BLOCK):
        block = x[start : start + _ROWS_PER_BLOCK]
        squared = np.sum(block**2, axis=1)[:, None] + y_norms - 2 * block @ y.T
        total += float(np.exp(-np.maximum(squared, 0.0) / (2 * bandwidth**2)).sum())
    return total


def _square_root(matrix: Array) -> Array:
    """Return the symmetric square root of a positive semi-definite matrix."""
    eigenvalues, vectors = np.linalg.eigh(matrix)
    root: Array = (vectors * np.sqrt(np.maximum(eigenvalues, 0.0))) @ vectors.T
    return root


def _features(first: ArrayLike, second: ArrayLike) -> tuple[Array, Array]:
    """Return both sets as (N, D) float64 arrays."""
    x, y = np.asarray(first, np.float64), np.asarray(second, np.float64)
    for features in (x, y):
        if features.ndim != 2 or features.shape[0] < 2 or features.shape[1] < 1:
            raise ValueError(f"features of shape {features.shape}: expected (N, D) with N >= 2")
        if not np.isfinite(features).all():
            raise ValueError("features that are not finite: leave missing images out")
    if x.shape[1] != y.shape[1]:
        raise ValueError(f"features of {x.shape[1]} and {y.shape[1]} dimensions: expected the same")
    return x, y
