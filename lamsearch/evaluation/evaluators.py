"""Opens what a search evaluates with: models in this process, or those of actors on many GPUs."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch

from lamsearch.config.expressions import Objective
from lamsearch.config.settings import AnchorSettings, Settings
from lamsearch.evaluation.actor_state import OnActor
from lamsearch.evaluation.config import ImagesConfig
from lamsearch.evaluation.loading import Evaluator, load_models, usable_device
from lamsearch.evaluation.ray_actors import ActorJob
from lamsearch.evaluation.ray_evaluation import ray_models
from lamsearch.evaluation.ray_session import import_ray


def require_place(options: ImagesConfig) -> None:
    """Refuse a device that is not there, and a cluster without Ray.

    Raises:
        SettingsError: If there is no such device, or Ray is not installed.
    """
    if options.ray is None:
        usable_device(options.device)
    else:
        import_ray(options.ray)


@contextmanager
def open_evaluator(
    settings: Settings,
    anchor: AnchorSettings,
    options: ImagesConfig,
    *,
    objective: Objective,
    tracked: Sequence[str] = (),
    on_actor: OnActor | None = None,
) -> Iterator[Evaluator]:
    """Yield what evaluates an anchor, with its models loaded.

    Args:
        settings: The settings file.
        anchor: One of its anchors.
        options: On which device or cluster, and how many images per call of the pipeline.
        objective: What is optimised.
        tracked: Names of rewards to record beside it.
        on_actor: Told what actors do, where there are any.

    Raises:
        SettingsError: If the anchor cannot be loaded, or there is no such device.
        RewardError: If a reward cannot be loaded.
        EvaluationError: If there is no such cluster, or it loses all actors.
    """
    if options.ray is None:
        yield load_models(
            settings,
            anchor,
            objective=objective,
            tracked=tracked,
            device=usable_device(options.device),
            batch_size=options.batch_size,
            allow_code=options.allow_code,
        )
        return
    job = ActorJob(
        settings,
        anchor,
        objective,
        tracked,
        device=options.device,
        allow_code=options.allow_code,
        keep=options.keep,
        threads=torch.get_num_threads(),
    )
    with ray_models(
        job,
        address=options.ray,
        actors=options.actors,
        batch_size=options.batch_size,
        on_actor=on_actor,
    ) as models:
        yield models
