"""Verdicts, distances, and a card that hostile names cannot break."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import yaml
from PIL import Image

from lamsearch.exports.card import code, loading_code, model_card
from lamsearch.exports.measurement import Measurement, image_distance
from lamsearch.exports.result import Export, LoraFacts


def measurement(low: float, high: float, epsilon: float = 0.1) -> Measurement:
    middle = (low + high) / 2
    return Measurement(
        "pickscore", 64, 1.0, 1.0 + middle, middle, 0.01, (low, high), epsilon, 0.01, 0.07
    )


def test_equal_only_where_the_whole_interval_is_within_epsilon() -> None:
    for low, high, verdict in (
        (-0.1, 0.1, "equal"),
        (-0.05, 0.02, "equal"),
        (-0.11, 0.0, "undecided"),
        (0.05, 0.2, "undecided"),
        (-1.0, 1.0, "undecided"),
        (0.11, 0.2, "different"),
        (-0.3, -0.11, "different"),
    ):
        found = measurement(low, high)
        assert found.verdict == verdict
        assert ("equal to the exact mixture within" in found.sentence) == (verdict != "different")
        assert ("not" in found.sentence) == (verdict != "equal")


def picture(value: int) -> Image.Image:
    return Image.fromarray(np.full((4, 5, 3), value, dtype=np.uint8))


def test_image_distance_is_the_mean_of_root_mean_squares() -> None:
    ours, theirs = [picture(0), picture(255), None, picture(7)], [picture(51)] * 3 + [None]
    assert image_distance(ours, theirs) == pytest.approx((51 / 255 + 204 / 255) / 2)
    assert image_distance(ours[:2], ours[:2]) == 0
    assert np.isnan(image_distance([None], [None]))


EXPORT = Export(
    study="s",
    folder="out",
    form="lora",
    anchor="a",
    reference="owner/model",
    on_hub=True,
    pipeline="StableDiffusionPipeline",
    denoiser="unet",
    part="pipeline",
    lam=0.5,
    is_answer=True,
    lam_interval=(0.4, 0.6),
    beta=500.0,
    effective_beta=1000.0,
    reward="pickscore",
    value=0.7,
    call={"num_inference_steps": 20},
    scheduler="DDIMScheduler",
    lora=LoraFacts(8, 0.9, is_own=False),
    measurement=measurement(-0.01, 0.01),
)


def test_a_reference_on_the_hub_is_the_base_model() -> None:
    front = yaml.safe_load(model_card(EXPORT).split("---\n")[1])
    assert front["base_model"] == "owner/model"
    assert front["base_model_relation"] == "adapter"
    assert front["license"] == "unknown"
    assert "**Equal within ε = 0.1.**" in model_card(EXPORT)


def test_names_stay_text() -> None:
    hostile = "a`b|c\n# heading\n<script>\x1b[31m\u202e---"
    names = {"study": hostile, "anchor": hostile, "reward": hostile, "reference": hostile}
    card = model_card(dataclasses.replace(EXPORT, on_hub=False, **names))
    assert "\x1b" not in card
    assert "\u202e" not in card
    assert "\n# heading" not in card
    rows = [line for line in card.splitlines() if "heading" in line and line.startswith("|")]
    assert rows
    for row in rows:
        assert row.replace("\\|", "").count("|") == 3
    assert code(hostile).count("`") == 2
    assert isinstance(yaml.safe_load(card.split("\n---\n")[0].removeprefix("---\n")), dict)


def test_an_anchor_without_beta_has_none_in_its_card() -> None:
    card = model_card(dataclasses.replace(EXPORT, beta=None, effective_beta=None))
    assert "KL strength" not in card


@pytest.mark.parametrize("form", ["realigned", "merged", "lora"])
@pytest.mark.parametrize("part", ["pipeline", "denoiser"])
@pytest.mark.parametrize("denoiser", ["unet", "transformer"])
def test_every_card_says_how_to_load_it(form: str, part: str, denoiser: str) -> None:
    export = dataclasses.replace(EXPORT, form=form, part=part, denoiser=denoiser)
    compile(loading_code(export), "card", "exec")
    assert "ComfyUI" in model_card(export)
    if form == "merged" and part == "denoiser":
        assert f"`{denoiser}/diffusion" not in model_card(export)


def test_json_names_the_form_and_the_verdict() -> None:
    answer = EXPORT.to_json()
    assert (answer["as"], answer["measurement"]["verdict"]) == ("lora", "equal")
    assert "form" not in answer
    infinite = dataclasses.replace(EXPORT, lam=0.0, effective_beta=float("inf")).to_json()
    assert infinite["effective_beta"] is None
