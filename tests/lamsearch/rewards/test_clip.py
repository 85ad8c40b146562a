"""CLIP, PickScore and HPS on tiny real models: equal to transformers used directly, and stable."""

import sys
from pathlib import Path

import huggingface_hub
import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file
from transformers import CLIPModel

from lamsearch.config.settings import RewardSettings, load_settings
from lamsearch.errors import RewardError
from lamsearch.rewards import CheckedReward, load_reward
from lamsearch.rewards.clip import CLIPReward
from lamsearch.rewards.dual_encoder import check_end_token
from lamsearch.rewards.hps import HPSReward, pad_to_square
from lamsearch.rewards.pickscore import PickScoreReward
from tiny_clip import (
    IMAGE_SIZE,
    TEXT_LENGTH,
    OpenClip,
    pictures,
    save_clip,
    save_processor,
    tiny_config,
    tiny_image_processor,
    tiny_model,
    tiny_open_clip,
    tiny_tokenizer,
)

PROMPTS = ["a red 7", "a blue three", "", "the digit 3 in blue", "a red 7"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_clip(tmp_path_factory.mktemp("clip"))


@pytest.fixture(scope="module")
def reward(folder: Path) -> CLIPReward:
    return CLIPReward(folder)


def direct_scores(folder: Path, images: list[Image.Image], prompts: list[str]) -> np.ndarray:
    """One image at a time, unpadded text, no code of ours."""
    model = CLIPModel.from_pretrained(folder, dtype=torch.float32).eval()
    scores = []
    for image, prompt in zip(images, prompts, strict=True):
        pixels = tiny_image_processor()(images=image, return_tensors="pt")
        text = tiny_tokenizer()(
            prompt, truncation=True, max_length=TEXT_LENGTH, return_tensors="pt"
        )
        with torch.no_grad():
            x = model.get_image_features(**pixels).pooler_output[0]
            y = model.get_text_features(**text).pooler_output[0]
        scores.append(float(torch.dot(x, y) / (x.norm() * y.norm())))
    return np.array(scores, dtype=np.float32)


@pytest.mark.parametrize("make", [CLIPReward, PickScoreReward, HPSReward])
def test_equals_transformers_used_directly(make: type, folder: Path):
    images = pictures(len(PROMPTS))
    scores = make(folder).score(images, PROMPTS)
    assert scores.shape == (5,)
    assert scores.dtype == np.float32
    np.testing.assert_allclose(scores, direct_scores(folder, images, PROMPTS), atol=1e-6)
    assert np.ptp(scores) > 0.05


def test_a_score_does_not_depend_on_the_batch(folder: Path, reward: CLIPReward):
    images = pictures(len(PROMPTS))
    together = reward.score(images, PROMPTS)
    for batch_size in (1, 2):
        other = CLIPReward(folder, batch_size=batch_size).score(images, PROMPTS)
        np.testing.assert_allclose(other, together, atol=1e-6)
    alone = [reward.score([image], [text])[0] for image, text in zip(images, PROMPTS, strict=True)]
    np.testing.assert_allclose(alone, together, atol=1e-6)


def test_scores_come_in_the_order_of_the_images(reward: CLIPReward):
    images = pictures(len(PROMPTS))
    order = [3, 0, 4, 1, 2]
    shuffled = reward.score([images[i] for i in order], [PROMPTS[i] for i in order])
    np.testing.assert_allclose(shuffled, reward.score(images, PROMPTS)[order], atol=1e-6)


def test_a_long_prompt_is_cut_and_keeps_its_end_token(reward: CLIPReward):
    long = " ".join(["red", "blue"] * 100)
    ids = reward.encoder.tokenize([long, "red"])["input_ids"]
    assert ids.shape == (2, TEXT_LENGTH)
    assert ids[0, -1] == tiny_tokenizer().eos_token_id
    image = pictures(1)
    cut = " ".join(["red", "blue"] * (TEXT_LENGTH // 2 - 1))
    assert reward.score(image, [long]) == reward.score(image, [cut])


def test_a_prompt_is_encoded_once(folder: Path, monkeypatch: pytest.MonkeyPatch):
    reward = CLIPReward(folder)
    encoded: list[str] = []
    tokenize = reward.encoder.tokenize
    monkeypatch.setattr(
        reward.encoder, "tokenize", lambda texts: encoded.extend(texts) or tokenize(texts)
    )
    first = reward.score(pictures(5), PROMPTS)
    np.testing.assert_array_equal(reward.score(pictures(5), PROMPTS), first)
    assert encoded == list(dict.fromkeys(PROMPTS))


def test_a_float16_checkpoint_is_scored_in_float32(tmp_path: Path):
    half = save_clip(tmp_path, dtype=torch.float16)
    assert CLIPModel.from_pretrained(half).dtype == torch.float16
    reward = CLIPReward(half)
    assert {p.dtype for p in reward.encoder.model.parameters()} == {torch.float32}
    images = pictures(len(PROMPTS))
    expected = direct_scores(half, images, PROMPTS)
    np.testing.assert_allclose(reward.score(images, PROMPTS), expected, atol=1e-6)


def test_images_are_processed_by_pil_and_any_mode_is_taken(reward: CLIPReward):
    assert reward.encoder.image_processor.backend == "pil"
    grey = pictures(1)[0].convert("L")
    expected = reward.score([grey.convert("RGB")], ["red"])
    assert reward.score([grey], ["red"]) == expected


def test_the_model_is_frozen(reward: CLIPReward):
    assert not reward.encoder.model.training
    assert not any(p.requires_grad for p in reward.encoder.model.parameters())


def test_pickscore_takes_a_separate_processor(folder: Path, tmp_path: Path):
    tiny_model().save_pretrained(tmp_path / "weights")
    processor = save_processor(tmp_path / "processor")
    settings = RewardSettings(
        "mine",
        "pickscore",
        {"model": str(tmp_path / "weights"), "processor": str(processor), "batch_size": 2},
    )
    reward = load_reward(settings)
    assert isinstance(reward, CheckedReward)
    assert (reward.name, reward.scale) == ("mine", "cosine")
    images = pictures(len(PROMPTS))
    expected = PickScoreReward(folder).score(images, PROMPTS)
    np.testing.assert_allclose(reward.score(images, PROMPTS), expected, atol=1e-6)


def test_mismatched_lengths_are_refused(reward: CLIPReward):
    with pytest.raises(RewardError, match="2 images but 1 prompts"):
        reward.score(pictures(2), ["red"])


def test_no_images_give_no_scores(reward: CLIPReward):
    assert reward.score([], []).shape == (0,)


def test_a_model_that_would_not_find_the_end_of_text_is_refused(tmp_path: Path):
    tiny_model(eos_token_id=5).save_pretrained(tmp_path)
    save_processor(tmp_path)
    last = tiny_tokenizer().eos_token_id
    with pytest.raises(RewardError, match=f"eos_token_id is 5, but .* end token is {last}"):
        CLIPReward(tmp_path)


def test_a_model_that_lacks_weights_or_is_none_of_images_and_texts_is_refused(
    folder: Path, tmp_path: Path
):
    model = tiny_model()
    state = {name: x for name, x in model.state_dict().items() if "visual_projection" not in name}
    model.save_pretrained(tmp_path / "partial", state_dict=state)
    with pytest.raises(RewardError, match=r"lacks 1 of its weights, such as visual_projection"):
        CLIPReward(tmp_path / "partial", folder)
    model.text_model.save_pretrained(tmp_path / "text")
    with pytest.raises(RewardError, match=r"is a CLIPTextModel, expected a model of images and"):
        CLIPReward(tmp_path / "text", folder)


def test_the_old_form_of_the_end_token_means_the_largest_id():
    tokenizer = tiny_tokenizer()
    check_end_token(tiny_model(eos_token_id=2), tokenizer)
    tokenizer.add_tokens(["new"])
    with pytest.raises(RewardError, match=r"eos_token_id is 2 \(the largest id\)"):
        check_end_token(tiny_model(eos_token_id=2), tokenizer)


def test_a_folder_without_a_model_is_one_clear_line(tmp_path: Path, folder: Path):
    with pytest.raises(RewardError, match=r"cannot load the processor .*empty") as caught:
        CLIPReward(tmp_path / "empty")
    assert "\n" not in str(caught.value)
    with pytest.raises(RewardError, match=r"cannot load the model .*empty") as caught:
        CLIPReward(tmp_path / "empty", folder)
    assert "\n" not in str(caught.value)


def test_hps_pads_a_wide_image_and_clip_crops_it(folder: Path):
    """Colours at the far left matter to HPS only."""
    images = pictures(2, size=(120, 40))
    images[1].paste(images[0].crop((40, 0, 80, 40)), (40, 0))
    prompts = ["red", "red"]
    clip, hps = CLIPReward(folder).score(images, prompts), HPSReward(folder).score(images, prompts)
    assert abs(clip[0] - clip[1]) < 0.3 * abs(hps[0] - hps[1])
    padded = [pad_to_square(image, IMAGE_SIZE) for image in images]
    np.testing.assert_allclose(hps, direct_scores(folder, padded, prompts), atol=1e-6)


@pytest.mark.parametrize("size", [(10, 40), (40, 10), (28, 27), (200, 199), (28, 28)])
def test_padding_centres_the_whole_image_on_black(size: tuple[int, int]):
    square = np.asarray(pad_to_square(Image.new("RGB", size, "white"), 28))
    assert square.shape == (28, 28, 3)
    width, height = (round(28 / max(size) * edge) for edge in size)
    left, top = (28 - width) // 2, (28 - height) // 2
    assert (square[top : top + height, left : left + width] == 255).all()
    assert square.sum() == 3 * 255 * width * height


def open_clip_scores(model: OpenClip, images: list[Image.Image], prompts: list[str]) -> np.ndarray:
    pixels = tiny_image_processor()(images=images, return_tensors="pt")["pixel_values"]
    ids = tiny_tokenizer()(
        prompts, padding="max_length", truncation=True, max_length=TEXT_LENGTH, return_tensors="pt"
    )["input_ids"]
    with torch.no_grad():
        return torch.cosine_similarity(model.visual(pixels), model.encode_text(ids)).numpy()


@pytest.fixture
def architecture(tmp_path: Path) -> Path:
    """A processor with its configuration but no weights, as the hub's ViT-H-14 would serve."""
    tiny_config().save_pretrained(tmp_path / "architecture")
    return save_processor(tmp_path / "architecture")


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
def test_an_open_clip_checkpoint_scores_as_in_open_clip(
    architecture: Path, tmp_path: Path, dtype: torch.dtype
):
    model = tiny_open_clip().to(dtype)
    state = {f"module.{name}": tensor for name, tensor in model.state_dict().items()}
    torch.save({"state_dict": state, "epoch": 3}, tmp_path / "HPS_v2_compressed.pt")
    reward = HPSReward(tmp_path / "HPS_v2_compressed.pt", architecture)
    images = pictures(len(PROMPTS), size=(50, 30))
    padded = [pad_to_square(image, IMAGE_SIZE) for image in images]
    expected = open_clip_scores(model.float(), padded, PROMPTS)
    np.testing.assert_allclose(reward.score(images, PROMPTS), expected, atol=1e-6)
    assert np.ptp(expected) > 0.05


def test_an_open_clip_checkpoint_from_a_folder_and_in_safetensors(
    architecture: Path, tmp_path: Path
):
    state = tiny_open_clip().state_dict()
    torch.save({"state_dict": state}, tmp_path / "x.pt")
    save_file(state, tmp_path / "x.safetensors")
    images = pictures(len(PROMPTS))
    expected = HPSReward(tmp_path / "x.pt", architecture).score(images, PROMPTS)
    named = HPSReward(tmp_path, architecture, checkpoint="x.pt")
    safe = HPSReward(tmp_path / "x.safetensors", architecture)
    np.testing.assert_array_equal(named.score(images, PROMPTS), expected)
    np.testing.assert_array_equal(safe.score(images, PROMPTS), expected)


@pytest.mark.parametrize("make", [CLIPReward, PickScoreReward])
def test_clip_and_pickscore_from_an_open_clip_checkpoint(
    make: type, architecture: Path, tmp_path: Path
):
    model = tiny_open_clip()
    torch.save({"state_dict": model.state_dict()}, tmp_path / "open_clip_pytorch_model.bin")
    images = pictures(len(PROMPTS), size=(50, 30))
    expected = open_clip_scores(model, images, PROMPTS)
    file = make(tmp_path / "open_clip_pytorch_model.bin", architecture)
    np.testing.assert_allclose(file.score(images, PROMPTS), expected, atol=1e-6)
    folder = make(tmp_path, architecture, checkpoint="open_clip_pytorch_model.bin")
    np.testing.assert_array_equal(folder.score(images, PROMPTS), file.score(images, PROMPTS))


def test_the_settings_name_an_open_clip_checkpoint(architecture: Path, tmp_path: Path):
    save_file(tiny_open_clip().state_dict(), tmp_path / "x.safetensors")
    (tmp_path / "lamsearch.toml").write_text(
        "[rewards.clip]\nmodel = './x.safetensors'\nprocessor = './architecture'\nbatch_size = 2\n"
        "[rewards.mine]\ntype = 'pickscore'\nmodel = '.'\nprocessor = './architecture'\n"
        "checkpoint = 'x.safetensors'\nuse_safetensors = true\n"
    )
    settings, images = load_settings(tmp_path / "lamsearch.toml"), pictures(2)
    expected = CLIPReward(tmp_path / "x.safetensors", architecture).score(images, ["a", "b"])
    for name in ("clip", "mine"):
        scores = load_reward(settings.reward(name)).score(images, ["a", "b"])
        np.testing.assert_allclose(scores, expected, atol=1e-6)


def test_a_single_file_in_transformers_naming(folder: Path):
    images = pictures(len(PROMPTS))
    expected = CLIPReward(folder).score(images, PROMPTS)
    file = CLIPReward(folder / "model.safetensors")
    np.testing.assert_allclose(file.score(images, PROMPTS), expected, atol=1e-6)


def test_another_activation_than_the_checkpoint_was_trained_with_is_refused(
    architecture: Path, tmp_path: Path
):
    save_file(tiny_open_clip().state_dict(), tmp_path / "x.safetensors")
    beside = tmp_path / "open_clip_config.json"
    beside.write_text('{"model_cfg": {"embed_dim": 20}}')
    CLIPReward(tmp_path / "x.safetensors", architecture)
    beside.write_text('{"model_cfg": {"quick_gelu": true}}')
    with pytest.raises(RewardError, match=r"activation of the architecture is gelu, but .* quick"):
        CLIPReward(tmp_path / "x.safetensors", architecture)
    beside.write_text("[" * 100_000)
    with pytest.raises(RewardError, match=r"cannot read .*open_clip_config.json"):
        CLIPReward(tmp_path / "x.safetensors", architecture)


def test_pickled_weights_are_loaded_only_on_request(folder: Path, tmp_path: Path):
    save_clip(tmp_path)
    torch.save(tiny_model().state_dict(), tmp_path / "pytorch_model.bin")
    (tmp_path / "model.safetensors").unlink()
    with pytest.raises(RewardError, match="use_safetensors = false also loads pickled weights"):
        CLIPReward(tmp_path)
    images = pictures(len(PROMPTS))
    for make in (CLIPReward, HPSReward, PickScoreReward):
        scores = make(tmp_path, use_safetensors=False).score(images, PROMPTS)
        np.testing.assert_allclose(scores, make(folder).score(images, PROMPTS), atol=1e-6)
        make(folder, use_safetensors=False)  # safetensors files stay allowed


def test_hps_takes_its_checkpoint_from_the_hub(
    architecture: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """Without a network, from a cache as huggingface_hub lays it out."""
    repository = tmp_path / "hub" / "models--xswu--HPSv2"
    commit = "0123456789" * 4
    (repository / "refs").mkdir(parents=True)
    (repository / "refs" / "main").write_text(commit)
    (repository / "snapshots" / commit).mkdir(parents=True)
    file = repository / "snapshots" / commit / "HPS_v2_compressed.pt"
    torch.save({"state_dict": tiny_open_clip().state_dict()}, file)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    images = pictures(len(PROMPTS))
    scores = HPSReward(processor=architecture).score(images, PROMPTS)
    expected = HPSReward(file, architecture).score(images, PROMPTS)
    np.testing.assert_array_equal(scores, expected)
    with pytest.raises(RewardError, match=r"cannot fetch 'other.pt' of 'xswu/HPSv2'"):
        HPSReward(processor=architecture, checkpoint="other.pt")


def test_a_checkpoint_of_another_architecture_is_refused(architecture: Path, tmp_path: Path):
    def load(state: object) -> None:
        torch.save(state, tmp_path / "x.pt")
        HPSReward(tmp_path / "x.pt", architecture)

    state = tiny_open_clip().state_dict()
    with pytest.raises(RewardError, match=r"weight 'visual.attnpool.x' is not one of open_clip's"):
        load(state | {"visual.attnpool.x": torch.zeros(1)})
    with pytest.raises(RewardError, match=r"2 weights differ, such as vision_model.post_layernorm"):
        load({name: x for name, x in state.items() if not name.startswith("visual.ln_post")})
    with pytest.raises(RewardError, match="does not fit the architecture"):
        load(state | {"ln_final.bias": torch.zeros(7)})
    with pytest.raises(RewardError, match="holds no state dict"):
        load([1, 2])


def test_a_checkpoint_that_would_run_code_is_refused(architecture: Path, tmp_path: Path):
    torch.save({"state_dict": {"x": Path}}, tmp_path / "x.pt")
    with pytest.raises(RewardError, match="cannot read the checkpoint"):
        HPSReward(tmp_path / "x.pt", architecture)


def test_an_open_clip_checkpoint_gets_cleaned_texts(architecture: Path, tmp_path: Path):
    torch.save(tiny_open_clip().state_dict(), tmp_path / "x.pt")
    reward, images = HPSReward(tmp_path / "x.pt", architecture), pictures(2)
    odd = ["a “red” 7 &amp;amp; more", "schÃ¶n "]
    plain = ['a "red" 7 & more', "schön"]
    np.testing.assert_array_equal(reward.score(images, odd), reward.score(images, plain))


def test_an_open_clip_checkpoint_without_the_extra_says_so(
    architecture: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    torch.save(tiny_open_clip().state_dict(), tmp_path / "x.pt")
    monkeypatch.setitem(sys.modules, "ftfy", None)
    with pytest.raises(RewardError, match=r"pip install 'lamsearch\[hps\]'"):
        HPSReward(tmp_path / "x.pt", architecture)
