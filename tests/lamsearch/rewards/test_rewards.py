"""The reward contract, and how a reward is found: module:attribute, entry point, built in."""

import asyncio
from collections.abc import Sequence
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from lamsearch.config.expressions import Objective
from lamsearch.config.settings import RewardSettings, load_settings
from lamsearch.errors import RewardError, SettingsError
from lamsearch.rewards import CheckedReward, Panel, Reward, as_reward, load_reward

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

class Leaves:
    def __init__(self):
        raise SystemExit(0)

ready = Redness()
number = 3
"""


class Returns:
    """A reward that returns whatever it was given."""

    def __init__(self, scores: object):
        self.scores = scores

    def score(self, images: Sequence[Image.Image], prompts: Sequence[str]) -> object:
        return self.scores


@pytest.mark.parametrize("dtype", [np.float32, np.float64, ">f4", ">f8"])
def test_scores_keep_every_digit_that_they_have(dtype: Any):
    given = np.array([1e9 + 1, np.nan, 1e9 + 3], dtype)
    scores = as_reward(Returns(given)).score(IMAGES, PROMPTS)
    assert scores.dtype == np.float64
    np.testing.assert_array_equal(scores, given.astype(np.float64))
    scores[0] = 0
    assert given[0] == np.array(1e9 + 1, dtype)  # a copy: a reward may use its array again


@pytest.mark.parametrize(
    "scores", [torch.tensor([1.0, 2.0, 3.0]), [1.0, 2.0, 3.0], (1.0, 2.0, 3.0)]
)
def test_tensors_and_sequences_of_floats_are_scores(scores: object):
    np.testing.assert_array_equal(as_reward(Returns(scores)).score(IMAGES, PROMPTS), [1, 2, 3])


class Unreadable:
    """No array, though it says so."""

    def __init__(self, error: BaseException):
        self.error = error

    def __array__(self, *_: object, **__: object) -> np.ndarray:
        raise self.error


@pytest.mark.parametrize(
    ("scores", "given"),
    [
        (np.zeros(2, np.float32), r"shape \(2,\) of float32"),
        (np.zeros((3, 1), np.float32), r"shape \(3, 1\) of float32"),
        (np.float64(1), r"shape \(\) of float64"),
        (1.0, r"shape \(\) of float64"),
        (np.zeros(3, np.float16), r"shape \(3,\) of float16"),
        (np.zeros(3, np.int64), r"shape \(3,\) of int64"),
        (np.zeros(3, np.complex128), r"shape \(3,\) of complex128"),
        (torch.zeros(3, dtype=torch.complex64), r"shape \(3,\) of complex64"),
        (np.zeros(3, bool), "a bool, which is no number|shape .* of bool"),
        (np.array(["2020-01-01"] * 3, "M8[D]"), r"shape \(3,\) of datetime64"),
        (np.zeros(3, "m8[s]"), r"shape \(3,\) of timedelta64"),
        (np.ma.masked_array([1.0, 2.0, 3.0], [True, False, False]), "a masked array, whose mask"),
        ([np.ma.masked, 2.0, 3.0], "a list with a masked array"),
        ([1.0, True, 3.0], "a list with a bool, which is no number"),
        ([1.0, np.True_, 3.0], "a list with a bool"),
        ([1.0, None, 3.0], r"shape \(3,\) of object"),
        ([1.0, "2", 3.0], r"shape \(3,\) of <U"),
        ([1.0, Decimal(2), 3.0], r"shape \(3,\) of object"),
        ([[1.0], [2.0], [3.0]], r"shape \(3, 1\) of float64"),
        (None, r"shape \(\) of object"),
        ({"a": 1.0, "b": 2.0, "c": 3.0}, r"shape \(\) of object"),
        (iter([1.0, 2.0, 3.0]), r"shape \(\) of object"),
        (["1", "2", "3"], r"shape \(3,\) of <U1"),
        ("123", r"shape \(\) of <U3"),
        (b"123", "a bytes"),
        (bytearray(b"123"), "a bytearray"),
        (memoryview(b"123"), "a memoryview"),
    ],
)
def test_scores_of_another_shape_or_type_are_refused(scores: object, given: str):
    expected = r"expected \(3,\) of float32 or float64, one score per image"
    with pytest.raises(RewardError, match=rf"'mine': returned ({given}).*, {expected}"):
        as_reward(Returns(scores), "mine").score(IMAGES, PROMPTS)


def test_scores_that_are_no_array_are_refused():
    ragged = [[1.0], [2.0, 3.0], [4.0]]
    broken = Unreadable(ZeroDivisionError("by me"))
    for scores in (torch.zeros(3, requires_grad=True), ragged, broken):
        with pytest.raises(RewardError, match=f"returned a {type(scores).__name__} that is no"):
            as_reward(Returns(scores)).score(IMAGES, PROMPTS)


@pytest.mark.parametrize("score", [np.inf, -np.inf, 1e151])
def test_infinite_scores_are_refused(score: float):
    with pytest.raises(RewardError, match=r"'mine': returned an infinite score, expected finite"):
        as_reward(Returns(np.array([1.0, score, np.nan])), "mine").score(IMAGES, PROMPTS)


class Raises:
    """A reward that fails, on more images than it can take."""

    def __init__(self, error: BaseException, most: int = 0):
        self.error, self.most, self.sizes = error, most, []

    def score(self, images: Sequence[Image.Image], prompts: Sequence[str]) -> np.ndarray:
        self.sizes.append(len(images))
        if len(images) > self.most:
            raise self.error
        return np.array([image.getpixel((0, 0))[0] for image in images], np.float64)


class MuteError(Exception):
    def __str__(self) -> str:
        raise SystemExit(0)


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (ValueError("bad\nworse"), "ValueError: bad"),
        (KeyError(), "KeyError"),
        (SystemExit(0), "SystemExit: 0"),
        (GeneratorExit(), "GeneratorExit"),
        (StopIteration(3), "StopIteration: 3"),
        (asyncio.CancelledError(), "CancelledError"),
        (MuteError(), "MuteError: (its message cannot be shown: SystemExit)"),
        (RewardError("no server"), "no server"),
    ],
)
def test_whatever_a_reward_raises_names_the_reward_and_the_error(error: BaseException, line: str):
    with pytest.raises(RewardError) as caught:
        as_reward(Raises(error), "mine").score(IMAGES, PROMPTS)
    raised = "" if isinstance(error, RewardError) else "raised "
    assert str(caught.value) == f"reward 'mine': {raised}{line}"
    assert caught.value.__cause__ is error


def test_an_array_that_ends_the_process_is_the_rewards_error():
    with pytest.raises(RewardError, match="reward 'mine': raised SystemExit: 0"):
        as_reward(Returns(Unreadable(SystemExit(0))), "mine").score(IMAGES, PROMPTS)


def test_ctrl_c_in_a_reward_stays_what_it_is():
    with pytest.raises(KeyboardInterrupt):
        as_reward(Raises(KeyboardInterrupt())).score(IMAGES, PROMPTS)


@pytest.mark.parametrize(
    "error", [torch.OutOfMemoryError("CUDA out of memory. Tried to allocate"), MemoryError()]
)
def test_where_memory_runs_out_a_reward_gets_half_of_the_images(error: Exception):
    reward = Raises(error, most=1)
    scores = as_reward(reward, "mine").score(IMAGES, PROMPTS)
    np.testing.assert_array_equal(scores, [0, 100, 200])
    assert reward.sizes == [3, 1, 2, 1, 1]
    message = rf"reward 'mine': raised {type(error).__name__}.* \(with a single image\): give the"
    with pytest.raises(RewardError, match=message):
        as_reward(Raises(error), "mine").score(IMAGES, PROMPTS)


def test_a_reward_that_edits_what_it_gets_changes_nothing_for_others():
    class Paints:
        def score(self, images: list[Image.Image], prompts: list[str]) -> np.ndarray:
            for image in images:
                image.paste("white", (0, 0, *image.size))
            images.clear()
            prompts.clear()
            return np.zeros(3)

    images, prompts = [image.copy() for image in IMAGES], list(PROMPTS)
    rewards = {"paints": as_reward(Paints()), "reads": as_reward(Raises(ValueError(), most=3))}
    scores = Panel(Objective({"paints": 1.0, "reads": 1.0}), rewards).score(images, prompts)
    np.testing.assert_array_equal(scores.tracked["reads"], [0, 100, 200])
    assert [image.tobytes() for image in images] == [image.tobytes() for image in IMAGES]
    assert prompts == PROMPTS


def test_one_prompt_an_image():
    with pytest.raises(RewardError, match="3 images but 2 prompts given"):
        as_reward(Returns(None)).score(IMAGES, PROMPTS[:2])


def test_no_images_give_no_scores():
    scores = as_reward(Returns(None)).score([], [])
    assert scores.shape == (0,)
    assert scores.dtype == np.float64


def test_as_reward_wraps_once_and_refuses_what_cannot_score():
    wrapped = as_reward(Returns(None), "mine")
    assert as_reward(wrapped) is wrapped
    assert isinstance(wrapped, Reward)
    assert (wrapped.name, as_reward(Returns(None)).name) == ("mine", "Returns")
    for not_a_reward, given in ((3, "an object of class int"), (Returns, "the class Returns")):
        with pytest.raises(RewardError, match=f"'mine': {given} given, expected an object with"):
            as_reward(not_a_reward, "mine")


@pytest.fixture
def folder(tmp_path: Path, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a module of a name of its own: imported modules outlive a test."""
    monkeypatch.setattr("sys.dont_write_bytecode", True)
    (tmp_path / "redness_of_this_test.py").write_text(SOURCE)
    monkeypatch.delitem(__import__("sys").modules, "redness_of_this_test", raising=False)
    (tmp_path / "leaves_of_this_test.py").write_text("import sys\nsys.exit(3)\n")
    return tmp_path


def settings_of(folder: Path, kind: str, **options: object) -> RewardSettings:
    return RewardSettings("mine", kind, options, folder)


def test_a_reward_beside_the_settings_file(folder: Path):
    toml = '[rewards.red]\nclass = "redness_of_this_test:Redness"\ngain = 0.5\n'
    (folder / "lamsearch.toml").write_text(toml)
    settings = load_settings(folder / "lamsearch.toml").reward("red")
    reward = load_reward(settings, "cpu", allow_code=True)
    assert isinstance(reward, CheckedReward)
    assert (reward.name, reward.scale) == ("red", "levels")
    assert reward.reward.device == "cpu"
    np.testing.assert_array_equal(reward.score(IMAGES, PROMPTS), [0, 50, 100])


@pytest.mark.parametrize("attribute", ["ready", "Family.Member"])
def test_an_object_or_a_nested_class(folder: Path, attribute: str):
    reward = load_reward(settings_of(folder, f"redness_of_this_test:{attribute}"), allow_code=True)
    np.testing.assert_array_equal(reward.score(IMAGES, PROMPTS), [0, 100, 200])


def test_loading_leaves_the_import_path_alone(folder: Path):
    import sys

    before = list(sys.path)
    load_reward(settings_of(folder, "redness_of_this_test:ready"), allow_code=True)
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
    by_attribute = settings_of(folder, "redness_of_this_test:Redness")  # as it is installed
    np.testing.assert_array_equal(load_reward(by_attribute).score(IMAGES, PROMPTS), scores)


def test_code_that_is_not_allowed_is_not_even_imported(folder: Path):
    ran = folder / "ran"
    (folder / "evil_of_this_test.py").write_text(f"open({str(ran)!r}, 'w')\n")
    for kind in ("evil_of_this_test:Reward", "os:system", "os:path.join"):
        with pytest.raises(SettingsError, match=f"reward 'mine' would run {kind}.*--allow-code"):
            load_reward(settings_of(folder, kind))
    assert not ran.exists()


@pytest.mark.parametrize(
    ("kind", "options", "complaint"),
    [
        ("no_such_module:Redness", {}, "No module named 'no_such_module'; expected it beside"),
        ("redness_of_this_test:Rednes", {}, "has no attribute 'Rednes'"),
        ("redness_of_this_test:number", {}, "3 is not a class, function or reward"),
        ("redness_of_this_test:ready", {"gain": 2}, "it takes no options: gain"),
        ("redness_of_this_test:Redness", {"gian": 2}, "unexpected keyword argument 'gian' .*gain"),
        ("redness_of_this_test:Leaves", {}, "raised SystemExit: 0 while it was loaded"),
        ("leaves_of_this_test:ready", {}, "raised SystemExit: 3 while it was loaded"),
        ("unpublished", {}, "no entry point 'unpublished' is installed"),
    ],
)
def test_a_reward_that_cannot_be_loaded_is_one_clear_line(
    folder: Path, kind: str, options: dict[str, object], complaint: str
):
    with pytest.raises(RewardError, match=complaint) as caught:
        load_reward(settings_of(folder, kind, **options), allow_code=True)
    assert "mine" in str(caught.value)
    assert "\n" not in str(caught.value)
