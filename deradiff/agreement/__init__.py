"""Does a realigned anchor behave like a model aligned from scratch? (arXiv 2601.20198, A.8)."""

from deradiff.agreement.comparison import Comparison, PairedDifference, emulating_lam
from deradiff.agreement.peaks import Peak, PeakShift, compare_peaks, find_peak
from deradiff.agreement.results import (
    Agreement,
    BlandAltman,
    Bootstrap,
    ErrorDistribution,
    ErrorStatistics,
    LinearFit,
    Measure,
    Scale,
)
from deradiff.agreement.statistics import summarize_agreement

__all__ = [
    "Agreement",
    "BlandAltman",
    "Bootstrap",
    "Comparison",
    "ErrorDistribution",
    "ErrorStatistics",
    "LinearFit",
    "Measure",
    "PairedDifference",
    "Peak",
    "PeakShift",
    "Scale",
    "compare_peaks",
    "emulating_lam",
    "find_peak",
    "summarize_agreement",
]
