"""InceptionV3's features, with weights drawn at random: nothing can be downloaded here."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from deradiff.distances import frechet_distance
from deradiff.inception import FEATURES, inception_features

fidelity = pytest.importorskip("torch_fidelity", reason="torch-fidelity is not installed")

pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::FutureWarning"),
]


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3 as Network

    torch.manual_seed(0)
    load, path = Network.load_state_dict, tmp_path_factory.mktemp("inception") / "weights.pth"
    torch.save({}, path)
    Network.load_state_dict = lambda self, state: None  # its weights as they are drawn
    try:
        drawn = Network("inception-v3-compat", ["2048"], feature_extractor_weights_path=str(path))
    finally:
        Network.load_state_dict = load
    torch.save(drawn.state_dict(), path)
    return path


def pictures(count: int, size: tuple[int, int] = (40, 32), seed: int = 0) -> list[Image.Image]:
    pixels = np.random.default_rng(seed).integers(0, 256, (count, *size, 3), dtype=np.uint8)
    return [Image.fromarray(each) for each in pixels]


def test_features_depend_on_the_image_and_not_on_the_batch(weights: Path) -> None:
    images = [*pictures(3), *pictures(2, (24, 24)), *pictures(1, seed=1)]
    found = inception_features(images, weights)
    assert found.shape == (6, FEATURES)
    assert np.ptp(found, axis=0).max() > 0
    one_by_one = inception_features(images, weights, batch_size=1)
    np.testing.assert_allclose(one_by_one, found, rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(inception_features(images[::-1], weights)[::-1], found, rtol=1e-4)
    assert frechet_distance(found[:3], found[:3]) == pytest.approx(0, abs=1e-6)
    assert inception_features([], weights).shape == (0, FEATURES)


def test_other_files_are_refused_and_run_nothing(tmp_path: Path) -> None:
    other = tmp_path / "other.pth"
    torch.save({"weight": torch.zeros(2)}, other)
    with pytest.raises(ValueError, match="does not hold InceptionV3's weights"):
        inception_features(pictures(1), other)
    code = tmp_path / "code.pth"
    torch.save(Path, code)  # a class: unpickling it looks code up
    with pytest.raises(ValueError, match="does not hold"):
        inception_features(pictures(1), code)
    with pytest.raises(FileNotFoundError):
        inception_features(pictures(1), tmp_path / "absent")
