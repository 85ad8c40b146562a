"""The reward contract, and how a reward is found: module:attribute, entry point, built in."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from lamsearch.config.settings import RewardSettings, load_settings
from lamsearch.errors import RewardError
from lamsearch.rewards import CheckedReward, Reward, as_reward, load_reward

IMAGES = [Image.new("RGB", (4, 4), (level, 0, 0)) for level in (0, 100, 200)]
PROMPTS = ["a", "b", "c"]

SOURCE = """
import numpy as np

class Redness:
    scale = "levels"
    def __init__(self, gain=1.0, device=None):
        self.gain, self.device = gain, device
    def score(self, images, prompts):
        return np.array([self.gain * image.getpixel((0, 0))[0] for image in images], np.float32)

class Family:
    Member = Redness

ready = Redness()
number = 3
"""


class Returns:
    """A reward that returns whatever it was given."""

    def __init__(self, scores: object):
        self.scores = scores

    def score(self, images: Sequence[Image.Image], prompts: Sequence[str]) -> object:
        return self.scores


def test_scores_are_passed_through_as_float32():
    scores = as_reward(Returns(np.array([1.0, np.nan, 3.0]))).score(IMAGES, PROMPTS)
    assert scores.dtype == np.float32
    np.testing.assert_array_equal(scores, [1, np.nan, 3])


@pytest.mark.parametrize(
    ("scores", "given"),
    [
        (np.zeros(2, np.float32), r"shape \(2,\) of float32"),
        (np.zeros((3, 1), np.float32), r"shape \(3, 1\) of float32"),
        (np.zeros(3, np.float16), r"shape \(3,\) of float16"),
        (np.zeros(3, np.int64), r"shape \(3,\) of int64"),
        (None, r"shape \(\) of object"),
        (["1", "2", "3"], r"shape \(3,\) of <U1"),
    ],
)
def test_scores_of_another_shape_or_type_are_refused(scores: object, given: str):
    with pytest.raises(RewardError, match=rf"'mine': returned {given}, expected \(3,\) of float32"):
        as_reward(Returns(scores), "mine").score(IMAGES, PROMPTS)


def test_scores_that_are_no_array_are_refused():
    for scores in (torch.zeros(3, requires_grad=True), [[1.0], [2.0, 3.0], [4.0]]):
        with pytest.raises(RewardError, match=f"returned a {type(scores).__name__} that is no"):
            as_reward(Returns(scores)).score(IMAGES, PROMPTS)


def test_one_prompt_an_image():
    with pytest.raises(RewardError, match="3 images but 2 prompts given"):
        as_reward(Returns(None)).score(IMAGES, PROMPTS[:2])


def test_no_images_give_no_scores():
    scores = as_reward(Returns(None)).score([], [])
    assert scores.shape == (0,)
    assert scores.dtype == np.float32


def test_as_reward_wraps_once_and_refuses_what_cannot_score():
    wrapped = as_reward(Returns(None), "mine")
    assert as_reward(wrapped) is wrapped
    assert isinstance(wrapped, Reward)
    assert (wrapped.name, as_reward(Returns(None)).name) == ("mine", "Returns")
    for not_a_reward in (3, Returns, len):
        with pytest.raises(RewardError, match="expected an object with score"):
            as_reward(not_a_reward)


@pytest.fixture
def folder(tmp_path: Path, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a module of a name of its own: imported modules outlive a test."""
    monkeypatch.setattr("sys.dont_write_bytecode", True)
    (tmp_path / "redness_of_this_test.py").write_text(SOURCE)
    monkeypatch.delitem(__import__("sys").modules, "redness_of_this_test", raising=False)
    return tmp_path


def settings_of(folder: Path, kind: str, **options: object) -> RewardSettings:
    return RewardSettings("mine", kind, options, folder)


def test_a_reward_beside_the_settings_file(folder: Path):
    toml = '[rewards.red]\nclass = "redness_of_this_test:Redness"\ngain = 0.5\n'
    (folder / "lamsearch.toml").write_text(toml)
    settings = load_settings(folder / "lamsearch.toml").reward("red")
    reward = load_reward(settings, "cpu")
    assert isinstance(reward, CheckedReward)
    assert (reward.name, reward.scale) == ("red", "levels")
    assert reward.reward.device == "cpu"
    np.testing.assert_array_equal(reward.score(IMAGES, PROMPTS), [0, 50, 100])


@pytest.mark.parametrize("attribute", ["ready", "Family.Member"])
def test_an_object_or_a_nested_class(folder: Path, attribute: str):
    reward = load_reward(settings_of(folder, f"redness_of_this_test:{attribute}"))
    np.testing.assert_array_equal(reward.score(IMAGES, PROMPTS), [0, 100, 200])


def test_loading_leaves_the_import_path_alone(folder: Path):
    import sys

    before = list(sys.path)
    load_reward(settings_of(folder, "redness_of_this_test:ready"))
    assert sys.path == before


def test_a_published_reward_is_found_by_its_entry_point(
    folder: Path, monkeypatch: pytest.MonkeyPatch
):
    metadata = folder / "redness-1.0.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: redness\nVersion: 1.0\n")
    points = "[lamsearch.rewards]\nredness = redness_of_this_test:Redness\n"
    (metadata / "entry_points.txt").write_text(points)
    monkeypatch.syspath_prepend(folder)
    toml = '[rewards.redness]\ngain = 2\n[rewards.other]\ntype = "redness"\n'
    (folder / "lamsearch.toml").write_text(toml)
    settings = load_settings(folder / "lamsearch.toml")
    scores = load_reward(settings.reward("redness")).score(IMAGES, PROMPTS)
    np.testing.assert_array_equal(scores, [0, 200, 400])
    scores = load_reward(settings.reward("other")).score(IMAGES, PROMPTS)
    np.testing.assert_array_equal(scores, [0, 100, 200])


@pytest.mark.parametrize(
    ("kind", "options", "complaint"),
    [
        ("no_such_module:Redness", {}, "No module named 'no_such_module'; expected it beside"),
        ("redness_of_this_test:Rednes", {}, "has no attribute 'Rednes'"),
        ("redness_of_this_test:number", {}, "3 is not a class, function or reward"),
        ("redness_of_this_test:ready", {"gain": 2}, "it takes no options: gain"),
        ("redness_of_this_test:Redness", {"gian": 2}, "unexpected keyword argument 'gian' .*gain"),
        ("unpublished", {}, "no entry point 'unpublished' is installed"),
    ],
)
def test_a_reward_that_cannot_be_loaded_is_one_clear_line(
    folder: Path, kind: str, options: dict[str, object], complaint: str
):
    with pytest.raises(RewardError, match=complaint) as caught:
        load_reward(settings_of(folder, kind, **options))
    assert "mine" in str(caught.value)
    assert "\n" not in str(caught.value)
