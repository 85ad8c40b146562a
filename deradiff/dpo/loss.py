"""The Diffusion-DPO loss of preference pairs (arXiv 2311.12908).

| symbol     | code                  | meaning                                             | shape |
|------------|-----------------------|-----------------------------------------------------|-------|
| e_θ(x_w)   | `model_errors[0]`     | mean squared error of the model, preferred image    | (B,)  |
| e_θ(x_l)   | `model_errors[1]`     | the same, rejected image                            | (B,)  |
| e_ref(x_w) | `reference_errors[0]` | mean squared error of the reference, preferred image| (B,)  |
| e_ref(x_l) | `reference_errors[1]` | the same, rejected image                            | (B,)  |
| β          | `beta`                | KL strength of the alignment                        | ()    |

The loss of one pair is

    −log σ(m),   m = −β/2 · [ (e_θ(x_w) − e_ref(x_w)) − (e_θ(x_l) − e_ref(x_l)) ]

where m is the implicit reward margin, and both images of a pair share one noise and one timestep.
The factor −β/2 is the one in the code of the paper's authors. With errors of the velocity under
flow matching this is the loss of Flow-DPO (arXiv 2501.13918) with a constant β.
"""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional


def diffusion_dpo_loss(
    model_errors: tuple[Tensor, Tensor], reference_errors: tuple[Tensor, Tensor], *, beta: float
) -> tuple[Tensor, Tensor]:
    """Return each pair's loss (arXiv 2311.12908) and whether its margin is positive.

    Args:
        model_errors: (preferred, rejected) per-sample mean squared errors of the model in
            training, each (B,).
        reference_errors: The same of the frozen reference.
        beta: KL strength β > 0.

    Returns:
        The losses (B,) in nats, log 2 where model and reference agree; and a boolean tensor (B,),
        true where the implicit reward prefers the preferred image.
    """
    model_difference = model_errors[0] - model_errors[1]
    reference_difference = reference_errors[0] - reference_errors[1]
    margin = -0.5 * beta * (model_difference - reference_difference)
    return -functional.logsigmoid(margin), margin > 0
