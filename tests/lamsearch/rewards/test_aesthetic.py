"""LAION's aesthetic heads on a tiny CLIP: equal to the computation written out."""

from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import nn
from transformers import CLIPModel

from lamsearch.config.settings import load_settings
from lamsearch.errors import RewardError
from lamsearch.rewards import load_reward
from lamsearch.rewards.aesthetic import AestheticReward
from tiny_clip import PROJECTION, draw_weights, pictures, save_clip, tiny_image_processor

IMAGES = pictures(5, size=(50, 30))
PROMPTS = ["", "a", "b", "c", "a"]


class Predictor(nn.Module):
    """The module whose state dict LAION published, narrower."""

    def __init__(self, activation: type[nn.Module] | None = None):
        super().__init__()
        between = [activation()] if activation else []
        self.layers = nn.Sequential(
            nn.Linear(PROJECTION, 16),
            *between,
            nn.Dropout(0.2),
            nn.Linear(16, 12),
            *between,
            nn.Dropout(0.2),
            nn.Linear(12, 8),
            *between,
            nn.Dropout(0.1),
            nn.Linear(8, 4),
            nn.Linear(4, 1),
        )


def published(kind: str) -> nn.Module:
    module = Predictor().layers if kind == "mlp" else nn.Linear(PROJECTION, 1)
    return draw_weights(module.eval(), seed=1)


def state_of(module: nn.Module) -> dict[str, torch.Tensor]:
    prefix = "layers." if isinstance(module, nn.Sequential) else ""
    return {prefix + name: tensor for name, tensor in module.state_dict().items()}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_clip(tmp_path_factory.mktemp("clip"))


@pytest.mark.parametrize("kind", ["mlp", "linear"])
@pytest.mark.parametrize("suffix", ["pth", "safetensors"])
def test_equals_the_published_computation(kind: str, suffix: str, folder: Path, tmp_path: Path):
    head = published(kind)
    file = tmp_path / f"head.{suffix}"
    (save_file if suffix == "safetensors" else torch.save)(state_of(head), file)
    scores = AestheticReward(folder, head=file, batch_size=2).score(IMAGES, PROMPTS)
    model = CLIPModel.from_pretrained(folder, dtype=torch.float32).eval()
    expected = []
    for image in IMAGES:
        pixels = tiny_image_processor()(images=image, return_tensors="pt")
        with torch.no_grad():
            x = model.get_image_features(**pixels).pooler_output[0]
            expected.append(float(head(x / x.norm())))
    assert scores.dtype == np.float32
    np.testing.assert_allclose(scores, expected, rtol=1e-6, atol=1e-6)
    assert np.ptp(scores) > 1e-3


def test_the_prompt_is_ignored_and_no_images_give_no_scores(folder: Path, tmp_path: Path):
    torch.save(state_of(published("linear")), tmp_path / "head.pth")
    reward = AestheticReward(folder, head=tmp_path / "head.pth")
    np.testing.assert_array_equal(reward.score(IMAGES, PROMPTS), reward.score(IMAGES, ["x"] * 5))
    assert reward.score([], []).shape == (0,)


def test_the_head_is_part_of_the_identity(folder: Path, tmp_path: Path):
    head = published("linear")
    torch.save(state_of(head), tmp_path / "a.pth")
    save_file(state_of(head), tmp_path / "b.safetensors")
    head.bias.data += 1
    torch.save(state_of(head), tmp_path / "c.pth")
    a, b, c = (
        AestheticReward(folder, head=tmp_path / name).identity
        for name in ("a.pth", "b.safetensors", "c.pth")
    )
    assert a == b != c


def test_the_settings_name_a_head(folder: Path, tmp_path: Path):
    torch.save(state_of(published("mlp")), tmp_path / "head.pth")
    file = tmp_path / "lamsearch.toml"
    table = f"[rewards.aesthetic]\nmodel = '{folder}'\nhead = 'head.pth'\n"
    file.write_text(table)
    reward = load_reward(load_settings(file).reward("aesthetic"))
    assert (reward.name, reward.scale) == ("aesthetic", "LAION aesthetic score")
    expected = AestheticReward(folder, head=tmp_path / "head.pth").score(IMAGES, PROMPTS)
    np.testing.assert_array_equal(reward.score(IMAGES, PROMPTS), expected)
    file.write_text(table.replace("head.pth", "owner/name/head.pth"))
    settings = load_settings(file).reward("aesthetic")
    assert settings.options["head"] == "owner/name/head.pth"
    with pytest.raises(RewardError, match=r"cannot fetch 'head.pth' of 'owner/name'"):
        load_reward(settings)


def test_heads_that_are_not_of_that_form_are_refused(folder: Path, tmp_path: Path):
    def load(state: object) -> None:
        torch.save(state, tmp_path / "x.pth")
        AestheticReward(folder, head=tmp_path / "x.pth")

    with pytest.raises(RewardError, match="heads with activations are not supported"):
        load(Predictor(nn.ReLU).state_dict())
    with pytest.raises(RewardError, match=r"a layer of shape \(1, 7\) follows 20 features"):
        load(nn.Linear(7, 1).state_dict())
    with pytest.raises(RewardError, match="gives 2 values per image"):
        load(nn.Linear(PROJECTION, 2).state_dict())
    with pytest.raises(RewardError, match="none of LAION's linear heads"):
        load({"weight": torch.zeros(1, PROJECTION)})
    with pytest.raises(RewardError, match="cannot read the checkpoint"):
        load(Predictor())  # a pickled module, which would run code
    (tmp_path / "x.pth").write_bytes(b"<html>404</html>")
    with pytest.raises(RewardError, match="cannot read the checkpoint"):
        AestheticReward(folder, head=tmp_path / "x.pth")
    with pytest.raises(RewardError, match=r"no head 'absent.pth'; expected a file, or"):
        AestheticReward(folder, head="absent.pth")
