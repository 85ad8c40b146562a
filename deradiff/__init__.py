"""DeRaDiff (arXiv 2601.20198): sample a diffusion model at any alignment strength β/λ."""

from deradiff.anchor import Anchor, fingerprint, load_anchor
from deradiff.dpo import DPOSettings, diffusion_dpo_loss
from deradiff.dpo.data import PreferencePair
from deradiff.gaussian import Gaussian, InvalidMixtureError, geometric_mixture, kl_divergence
from deradiff.loading import AnchorError, PipelineOptions
from deradiff.realignment import InexactMixtureError, Realignment, realign
from deradiff.reverse_step import reverse_step
from deradiff.sampling import Guidance, Step, realigned_steps

__all__ = [
    "Anchor",
    "AnchorError",
    "DPOSettings",
    "Gaussian",
    "Guidance",
    "InexactMixtureError",
    "InvalidMixtureError",
    "PipelineOptions",
    "PreferencePair",
    "Realignment",
    "Step",
    "diffusion_dpo_loss",
    "fingerprint",
    "geometric_mixture",
    "kl_divergence",
    "load_anchor",
    "realign",
    "realigned_steps",
    "reverse_step",
]
