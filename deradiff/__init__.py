"""DeRaDiff (arXiv 2601.20198): sample a diffusion model at any alignment strength β/λ."""

from deradiff.anchor import Anchor, fingerprint, load_anchor
from deradiff.dpo import DPOSettings, PreferencePair, diffusion_dpo_loss
from deradiff.exports.realigned_folder import RealignedPipeline, load, save_realigned
from deradiff.gaussian import Gaussian, InvalidMixtureError, geometric_mixture, kl_divergence
from deradiff.options import AnchorError, PipelineOptions
from deradiff.realignment import InexactMixtureError, Realignment, realign

# The function takes the place of its submodule of the same name, whichever is imported first.
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
    "RealignedPipeline",
    "Realignment",
    "Step",
    "diffusion_dpo_loss",
    "fingerprint",
    "geometric_mixture",
    "kl_divergence",
    "load",
    "load_anchor",
    "realign",
    "realigned_steps",
    "reverse_step",
    "save_realigned",
]
