"""`lamsearch.toml` → settings: what is read, what is refused, and in which words."""

import subprocess
import sys
from pathlib import Path

import pytest
from pydantic import ValidationError

from lamsearch.config.file_format import AnchorTable, SettingsFile
from lamsearch.config.reward_tables import (
    AestheticRewardTable,
    CLIPRewardTable,
    HPSRewardTable,
    HTTPRewardTable,
    OwnRewardTable,
)
from lamsearch.config.settings import (
    AnchorSettings,
    PromptSettings,
    SamplingSettings,
    find_settings,
    load_settings,
)
from lamsearch.config.strict_table import StrictTable, expectation
from lamsearch.errors import LamsearchError, PromptError, SettingsError

DESIGN = """
[anchors.beta500]
reference = "stabilityai/stable-diffusion-xl-base-1.0"
aligned   = "checkpoints/beta500"   # unet/ or transformer/ folder, whole pipeline, LoRA, or file
beta      = 500

[anchors.beta500.sampling]
scheduler      = "EulerAncestralDiscreteScheduler"
steps          = 50
guidance_scale = 5.0
dtype          = "float16"
vae            = "madebyollin/sdxl-vae-fp16-fix"

[rewards.pickscore]
model     = "yuvalkirstain/PickScore_v1"
processor = "laion/CLIP-ViT-H-14-laion2B-s32B-b79K"

[prompts]
file    = "prompts.txt"
heldout = "others.txt"
"""
TABLES = (
    SettingsFile,
    AnchorSettings,
    SamplingSettings,
    CLIPRewardTable,
    HPSRewardTable,
    AestheticRewardTable,
    HTTPRewardTable,
    OwnRewardTable,
    PromptSettings,
)
ANCHOR = '[anchors.a]\nreference = "o/r"\naligned = "o/a"\nbeta = 2\n'


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "checkpoints" / "beta500").mkdir(parents=True)
    (tmp_path / "prompts.txt").write_text("a\n")
    (tmp_path / "others.txt").write_text("b\n")
    return tmp_path


def load(folder: Path, text: str):
    (folder / "lamsearch.toml").write_text(text, encoding="utf-8")
    return load_settings(folder / "lamsearch.toml")


def test_the_format_of_the_design(folder: Path):
    settings = load(folder, DESIGN)
    assert settings.path == folder / "lamsearch.toml"
    assert settings.anchor("beta500") == AnchorSettings(
        name="beta500",
        reference="stabilityai/stable-diffusion-xl-base-1.0",
        aligned=str(folder / "checkpoints" / "beta500"),
        beta=500.0,
        sampling=SamplingSettings(
            scheduler="EulerAncestralDiscreteScheduler",
            steps=50,
            guidance_scale=5.0,
            dtype="float16",
            vae="madebyollin/sdxl-vae-fp16-fix",
        ),
    )
    reward = settings.reward("pickscore")
    assert (reward.name, reward.kind) == ("pickscore", "pickscore")
    assert reward.model == "yuvalkirstain/PickScore_v1"
    assert reward.processor == "laion/CLIP-ViT-H-14-laion2B-s32B-b79K"
    assert settings.prompts == PromptSettings(
        file=folder / "prompts.txt", heldout=folder / "others.txt"
    )


def test_what_is_left_out_has_a_default(folder: Path):
    settings = load(folder, ANCHOR + "[rewards.clip]\n")
    assert settings.anchor("a").sampling == SamplingSettings()
    assert settings.reward("clip").model is None
    assert settings.prompts is None
    empty = load(folder, "\ufeffdescription = 'mine'")
    assert (empty.anchors, empty.rewards, empty.description) == ({}, {}, "mine")


def test_every_sampling_key(folder: Path):
    text = ANCHOR + (
        "[anchors.a.sampling]\nnegative_prompt = 'no'\nheight = 32\nwidth = 48\n"
        "[anchors.a.sampling.scheduler_config]\ntimestep_spacing = 'trailing'\n"
    )
    sampling = load(folder, text).anchor("a").sampling
    assert (sampling.negative_prompt, sampling.height, sampling.width) == ("no", 32, 48)
    assert sampling.scheduler_config == {"timestep_spacing": "trailing"}


def test_the_kind_of_a_reward(folder: Path):
    text = (
        "[rewards.mine]\ntype = 'hps'\ncheckpoint = 'HPS_v2.1_compressed.pt'\nbatch_size = 4\n"
        "[rewards.own]\nclass = 'package.module:Own'\nmodel = 'ViT-L/14'\ndata = './prompts.txt'\n"
    )
    settings = load(folder, text)
    mine, own = settings.reward("mine"), settings.reward("own")
    assert mine.kind == "hps"
    assert mine.options == {"checkpoint": "HPS_v2.1_compressed.pt", "batch_size": 4}
    assert own.kind == "package.module:Own"
    assert own.options == {"model": "ViT-L/14", "data": str(folder / "prompts.txt")}
    assert own.folder == folder


def test_a_path_is_relative_to_the_file_whatever_the_working_directory(
    folder: Path, monkeypatch: pytest.MonkeyPatch
):
    (folder / "elsewhere").mkdir()
    (folder / "lamsearch.toml").write_text(DESIGN)
    monkeypatch.chdir(folder / "elsewhere")
    settings = load_settings(Path("../lamsearch.toml"))
    assert settings.anchor("beta500").aligned == str(folder / "checkpoints" / "beta500")


def test_a_link_keeps_its_name(folder: Path):
    """In the hub's cache `x.safetensors` links to a blob whose name tells nothing."""
    (folder / "blob").touch()
    (folder / "x.safetensors").symlink_to(folder / "blob")
    settings = load(folder, ANCHOR.replace("o/a", "x.safetensors"))
    assert settings.anchor("a").aligned == str(folder / "x.safetensors")


def test_locations(folder: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("HOME", str(folder / "checkpoints"))
    (folder / "word").mkdir()
    (folder / "a.safetensors").touch()

    def location(value: str) -> str:
        return load(folder, ANCHOR.replace("o/a", value)).anchor("a").aligned

    assert location("word") == str(folder / "word")
    assert location("./a.safetensors") == str(folder / "a.safetensors")
    assert location("~/beta500") == str(folder / "checkpoints" / "beta500")
    assert location(str(folder / "word")) == str(folder / "word")
    assert location("Owner-1/name_2.x") == "Owner-1/name_2.x"
    for missing in ("absent", "./o/a", "/o/a", "~/a", "o/a.safetensors", "o/a/b", "o a/b"):
        with pytest.raises(SettingsError, match=r"anchors\.a\.aligned: .* does not exist"):
            location(missing)


@pytest.mark.parametrize(
    ("old", "new", "complaint"),
    [
        ("= 500", "= -3", "anchors.beta500.beta: -3 given, expected a number > 0"),
        ("= 500", "= 0", "anchors.beta500.beta: 0 given, expected a number > 0"),
        ("= 500", "= inf", "anchors.beta500.beta: inf given, expected a number > 0"),
        ("= 500", "= nan", "anchors.beta500.beta: nan given, expected a number > 0"),
        ("= 500", "= true", "anchors.beta500.beta: True given, expected a number > 0"),
        ("= 500", "= '500'", "anchors.beta500.beta: '500' given, expected a number > 0"),
        ("= 500", f"= 1{'0' * 400}", "given, expected a number > 0"),
        ("beta      =", "betta =", "anchors.beta500.betta: unknown key, expected one of"),
        ("beta      =", "betta =", "did you mean 'beta'?"),
        ('aligned   = "checkpoints/beta500"', "", "anchors.beta500.aligned: missing, but required"),
        ("aligned   =", "alined =", "did you mean 'aligned'?"),
        ('"checkpoints/beta500"', '"./nowhere"', "anchors.beta500.aligned: './nowhere' given"),
        ('"checkpoints/beta500"', "''", "anchors.beta500.aligned: '' given, expected a path"),
        ('"checkpoints/beta500"', "[1]", "anchors.beta500.aligned: [1] given, expected a string"),
        ("= 50\n", "= 0\n", "anchors.beta500.sampling.steps: 0 given, expected an integer >= 1"),
        ("= 50\n", "= 5.5\n", "sampling.steps: 5.5 given, expected an integer >= 1"),
        ("= 50\n", "= true\n", "sampling.steps: True given, expected an integer >= 1"),
        (
            "= 50\n",
            "= 5\naligned_steps = 6\n",
            "sampling: aligned_steps = 6 given, expected at most",
        ),
        ("= 5.0", "= -1", "sampling.guidance_scale: -1 given, expected a number >= 0"),
        ('"float16"', '"flaot16"', "sampling.dtype: 'flaot16' given, expected one of float32,"),
        ('"float16"', '"flaot16"', "did you mean 'float16'?"),
        ('"EulerAncestralDiscreteScheduler"', "''", "scheduler: '' given, expected a string that"),
        ("guidance_scale", "guidance", "did you mean 'guidance_scale'?"),
        ("[rewards.pickscore]", "[rewards.pickscor]", "did you mean 'pickscore'?"),
        ("[rewards.pickscore]", "[rewards.mine]\nclass = 'x'", "expected 'module:attribute'"),
        ("[rewards.pickscore]", "[rewards.a]\nclass='x:y'\ntype='clip'", "together with 'type'"),
        ("processor =", "procesor =", "rewards.pickscore.procesor: unknown key"),
        ("prompts.txt", "absent.txt", "prompts.file: 'absent.txt' given, but there is no file"),
        ("others.txt", "absent.txt", "prompts.heldout: 'absent.txt' given, but there is no file"),
        ("[prompts]", "[prompt]", "prompt: unknown key"),
        ("[prompts]", '["two\\nlines"]', r"'two\nlines': unknown key"),
        ("[prompts]\nfile    = ", "prompts = ", "unknown key"),
        ("[anchors.beta500]", "[anchors.beta500", "not valid TOML"),
        ("= 500", f"= 1{'0' * 5000}", "not valid TOML: Exceeds the limit"),
    ],
)
def test_a_mistake_is_one_line_with_file_and_key(folder: Path, old: str, new: str, complaint: str):
    assert old in DESIGN
    with pytest.raises(SettingsError) as caught:
        load(folder, DESIGN.replace(old, new, 1))
    message = str(caught.value)
    assert message.startswith(f"{folder / 'lamsearch.toml'}: ")
    assert complaint in message
    assert "\n" not in message


@pytest.mark.parametrize("table", TABLES)
def test_every_key_is_described(table: type[StrictTable]):
    """The reference page of the settings file is generated from these."""
    for name, field in table.model_fields.items():
        assert field.description, name
        assert field.description.endswith("."), name
        assert expectation(field), name


def test_what_a_key_accepts_is_told_in_words():
    sampling = SamplingSettings.model_fields
    assert expectation(sampling["steps"]) == "an integer >= 1"
    assert expectation(sampling["guidance_scale"]) == "a number >= 0"
    assert expectation(sampling["dtype"]) == "one of float32, float16, bfloat16"
    assert expectation(sampling["vae"]) == "a string"
    assert expectation(sampling["scheduler_config"]) == "a table"
    assert expectation(AnchorTable.model_fields["use_safetensors"]) == "true or false"


def test_settings_made_in_python_are_as_strict_and_cannot_be_changed():
    for wrong in ({"steps": True}, {"steps": "3"}, {"dtype": "int8"}, {"stepz": 3}):
        with pytest.raises(ValidationError, match=r"given, expected|unknown key"):
            SamplingSettings(**wrong)
    with pytest.raises(ValidationError, match="frozen"):
        SamplingSettings().steps = 3


def test_a_value_in_place_of_a_table(folder: Path):
    with pytest.raises(SettingsError, match="anchors: 3 given, expected a table"):
        load(folder, "anchors = 3")
    with pytest.raises(SettingsError, match=r"prompts: 'x' given, expected a table"):
        load(folder, "prompts = 'x'")
    with pytest.raises(SettingsError, match=r"anchors\.a: 3 given, expected a table"):
        load(folder, "[anchors]\na = 3")
    with pytest.raises(SettingsError, match=r"rewards\.clip: 'x' given, expected a table"):
        load(folder, "rewards.clip = 'x'")


def test_a_name_that_does_not_exist_lists_those_that_do(folder: Path):
    settings = load(folder, DESIGN)
    with pytest.raises(SettingsError, match=r"no anchor 'beta50' in .*: it has beta500; did you"):
        settings.anchor("beta50")
    with pytest.raises(SettingsError, match=r"no reward 'x' in .*: it has pickscore$"):
        settings.reward("x")
    with pytest.raises(SettingsError, match="it has none"):
        load(folder, "").anchor("a")


def test_the_search_order(folder: Path, monkeypatch: pytest.MonkeyPatch):
    (folder / "other.toml").write_text("")
    monkeypatch.chdir(folder)
    assert find_settings(Path("other.toml")) == Path("other.toml")
    (folder / "lamsearch.toml").write_text("")
    assert find_settings() == Path("lamsearch.toml")
    with pytest.raises(SettingsError, match=r"absent.toml: no such settings file"):
        find_settings(Path("absent.toml"))


def test_without_any_file_the_bundled_one_is_used(folder: Path, monkeypatch: pytest.MonkeyPatch):
    package = folder / "package"
    (package / "miniature").mkdir(parents=True)
    monkeypatch.setattr("importlib.resources.files", {"lamsearch": package}.__getitem__)
    monkeypatch.chdir(folder)
    with pytest.raises(SettingsError, match="name one with --config"):
        find_settings()
    (package / "miniature" / "lamsearch.toml").write_text("")
    assert find_settings() == package / "miniature" / "lamsearch.toml"


def test_reading_imports_neither_torch_nor_transformers(folder: Path):
    (folder / "lamsearch.toml").write_text(DESIGN)
    code = (
        "import sys, pathlib, lamsearch.config.settings as s;"
        "s.load_settings(pathlib.Path(sys.argv[1]));"
        "print(sorted({'torch', 'transformers', 'diffusers', 'numpy'} & set(sys.modules)))"
    )
    arguments = [sys.executable, "-c", code, str(folder / "lamsearch.toml")]
    done = subprocess.run(arguments, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_a_settings_error_is_the_wrong_usage_of_the_command_line():
    assert issubclass(PromptError, SettingsError)
    assert issubclass(SettingsError, LamsearchError)
