"""`lamsearch.toml` → typed settings: which anchors, rewards and prompts exist.

The file's strings that name models are paths relative to the file, or hub ids (`owner/name`).
Reading is quick: nothing here imports torch, diffusers or transformers.
"""

import importlib.metadata
import importlib.resources
import importlib.util
import re
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NoReturn

from lamsearch.config.toml_table import Table, did_you_mean
from lamsearch.errors import SettingsError

FILE_NAME = "lamsearch.toml"
DTYPES = ("float32", "float16", "bfloat16")
BUILT_IN_REWARDS = ("pickscore", "clip", "hps")
ENTRY_POINT_GROUP = "lamsearch.rewards"


@dataclass(frozen=True)
class SamplingSettings:
    """How images are sampled; None means what the reference pipeline itself does.

    Attributes:
        scheduler: class name of a diffusers scheduler.
        steps: denoising steps, at least 1.
        guidance_scale: classifier-free guidance, at least 0.
        dtype: of the denoisers, `float32`, `float16` or `bfloat16`.
        vae: path or hub id of a VAE that replaces the pipeline's.
        negative_prompt: one text for every image.
        height: image height in pixels.
        width: image width in pixels.
        scheduler_config: settings that override those of the scheduler's own configuration.
    """

    scheduler: str | None = None
    steps: int = 50
    guidance_scale: float | None = None
    dtype: str = "float32"
    vae: str | None = None
    negative_prompt: str | None = None
    height: int | None = None
    width: int | None = None
    scheduler_config: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class AnchorSettings:
    """A reference model, the model aligned from it, and the KL strength of that alignment.

    Attributes:
        name: the table's name.
        reference: path or hub id of the reference pipeline.
        aligned: path or hub id of the aligned model: a denoiser's folder, a whole pipeline, a
            LoRA, or one `.safetensors` file.
        beta: KL strength that `aligned` was aligned at, greater than 0.
        sampling: how images are sampled.
        variant: variant of the weight files, such as `fp16`.
        use_safetensors: False lets pickled weights be loaded, which can run any code.
    """

    name: str
    reference: str
    aligned: str
    beta: float
    sampling: SamplingSettings = SamplingSettings()
    variant: str | None = None
    use_safetensors: bool = True


@dataclass(frozen=True)
class RewardSettings:
    """One reward: what to load and with which keyword arguments.

    Attributes:
        name: the table's name.
        kind: `pickscore`, `clip`, `hps`, an entry point's name, or `module:attribute`.
        options: keyword arguments for the reward: `model`, `processor` and others.
        folder: folder of the settings file; a `module:attribute` may lie in it.
    """

    name: str
    kind: str
    options: Mapping[str, Any] = field(default_factory=dict)
    folder: Path = Path()

    @property
    def model(self) -> str | None:
        """Path or hub id of the reward's weights, where the file names it."""
        return self.options.get("model")

    @property
    def processor(self) -> str | None:
        """Path or hub id of the tokenizer and image processor, where the file names it."""
        return self.options.get("processor")


@dataclass(frozen=True)
class PromptSettings:
    """The default prompts; paths are absolute.

    Attributes:
        file: those of the search.
        heldout: those that confirm its answer, if the file names any.
    """

    file: Path
    heldout: Path | None = None


@dataclass(frozen=True)
class Settings:
    """A whole `lamsearch.toml`.

    Attributes:
        path: absolute path of the file.
        anchors: by name.
        rewards: by name.
        prompts: the default prompts, if the file names any.
        description: one line about the file, for people.
    """

    path: Path
    anchors: Mapping[str, AnchorSettings]
    rewards: Mapping[str, RewardSettings]
    prompts: PromptSettings | None = None
    description: str | None = None

    def anchor(self, name: str) -> AnchorSettings:
        """Returns the anchor of that name, or raises `SettingsError` listing those that exist."""
        return self.anchors[name] if name in self.anchors else self._absent("anchor", name)

    def reward(self, name: str) -> RewardSettings:
        """Returns the reward of that name, or raises `SettingsError` listing those that exist."""
        return self.rewards[name] if name in self.rewards else self._absent("reward", name)

    def _absent(self, kind: str, name: str) -> NoReturn:
        known = self.anchors if kind == "anchor" else self.rewards
        have = f"it has {', '.join(known)}" if known else "it has none"
        raise SettingsError(
            f"no {kind} '{name}' in {self.path}: {have}{did_you_mean(name, list(known))}"
        )


def find_settings(config: Path | None = None) -> Path:
    """Returns the settings file: `config`, else `./lamsearch.toml`, else the bundled one.

    Raises:
        SettingsError: `config` was given but is no file.
    """
    if config is not None:
        if not config.is_file():
            raise SettingsError(f"{config}: no such settings file; give the path of a {FILE_NAME}")
        return config
    here = Path(FILE_NAME)
    bundled = Path(str(importlib.resources.files("lamsearch") / "miniature" / FILE_NAME))
    for candidate in (here, bundled):
        if candidate.is_file():
            return candidate
    raise SettingsError(f"no {FILE_NAME} in {here.absolute().parent}; name one with --config")


def load_settings(path: Path) -> Settings:
    """Reads and checks a settings file.

    Raises:
        SettingsError: the file cannot be read, or a key is wrong; one line names file and key.
    """
    root = Table(_parse(path), path)
    root.allow("description", "anchors", "rewards", "prompts")
    anchors = {name: _anchor(name, table) for name, table in root.tables("anchors").items()}
    rewards = {name: _reward(name, table) for name, table in root.tables("rewards").items()}
    prompts = _prompts(root.table("prompts")) if "prompts" in root.values else None
    return Settings(path.absolute(), anchors, rewards, prompts, root.text("description"))


def _parse(path: Path) -> dict[str, Any]:
    try:
        # utf-8-sig: Windows editors put a byte order mark in front, which tomllib refuses
        return tomllib.loads(path.read_text(encoding="utf-8-sig"))
    except OSError as error:
        raise SettingsError(f"{path}: cannot be read: {error.strerror or error}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise SettingsError(f"{path}: not valid TOML: {error}") from error


def _anchor(name: str, table: Table) -> AnchorSettings:
    table.allow("reference", "aligned", "beta", "sampling", "variant", "use_safetensors")
    table.require("reference", "aligned", "beta")
    return AnchorSettings(
        name=name,
        reference=table.location("reference"),
        aligned=table.location("aligned"),
        beta=table.number("beta", above=0),
        sampling=_sampling(table.table("sampling")),
        variant=table.text("variant"),
        use_safetensors=table.flag("use_safetensors", True),
    )


def _sampling(table: Table) -> SamplingSettings:
    table.allow(*SamplingSettings.__dataclass_fields__)
    given = table.values
    return SamplingSettings(
        scheduler=_scheduler(table),
        steps=table.integer("steps", 50, least=1),
        guidance_scale=table.number("guidance_scale", least=0)
        if "guidance_scale" in given
        else None,
        dtype=table.choice("dtype", "float32", known=DTYPES),
        vae=table.location("vae") if "vae" in given else None,
        negative_prompt=table.text("negative_prompt"),
        height=table.integer("height", 1, least=1) if "height" in given else None,
        width=table.integer("width", 1, least=1) if "width" in given else None,
        scheduler_config=dict(table.table("scheduler_config").values),
    )


def _scheduler(table: Table) -> str | None:
    name = table.text("scheduler")
    if name is None:
        return None
    known = _scheduler_names()
    if name not in known:
        hint = did_you_mean(name, known)
        raise table.error("scheduler", f"'{name}' given, expected a diffusers scheduler{hint}")
    return name


def _scheduler_names() -> set[str]:
    """Names of diffusers' scheduler classes, read from its source: importing it takes seconds."""
    spec = importlib.util.find_spec("diffusers")
    if spec is None or spec.origin is None:
        raise SettingsError("diffusers is not installed; pip install diffusers")
    source = Path(spec.origin).with_name("schedulers") / "__init__.py"
    return set(re.findall(r'"(\w+Scheduler)"', source.read_text(encoding="utf-8")))


def _reward(name: str, table: Table) -> RewardSettings:
    kind = _reward_kind(name, table)
    options = _built_in_options(kind, table) if kind in BUILT_IN_REWARDS else _free_options(table)
    return RewardSettings(name, kind, options, table.file.absolute().parent)


def _built_in_options(kind: str, table: Table) -> dict[str, Any]:
    checkpoint = ("checkpoint",) if kind == "hps" else ()
    table.allow("type", "model", "processor", "batch_size", *checkpoint)
    readers: dict[str, Callable[[str], Any]] = {
        "model": table.location,
        "processor": table.location,
        "checkpoint": table.text,
        "batch_size": lambda key: table.integer(key, 1, least=1),
    }
    return {key: readers[key](key) for key in table.values if key != "type"}


def _free_options(table: Table) -> dict[str, Any]:
    """A reward of the user's own may mean anything by its strings: only plain paths resolve."""
    options = {key: value for key, value in table.values.items() if key not in ("type", "class")}
    for key, value in options.items():
        if isinstance(value, str) and value.startswith(("./", "../", "~/")):
            options[key] = table.location(key)
    return options


def _reward_kind(name: str, table: Table) -> str:
    attribute, kind = table.text("class"), table.text("type")
    if attribute is not None:
        if kind is not None:
            raise table.error("class", "given together with 'type'; keep one of them")
        if not re.fullmatch(r"[\w.]+:[\w.]+", attribute):
            raise table.error("class", f"{attribute!r} given, expected 'module:attribute'")
        return attribute
    chosen = kind if kind is not None else name
    if chosen in BUILT_IN_REWARDS:
        return chosen
    known = [*BUILT_IN_REWARDS, *importlib.metadata.entry_points(group=ENTRY_POINT_GROUP).names]
    if chosen not in known:
        raise table.error(
            "type",
            f"'{chosen}' given, expected one of {', '.join(known)}"
            f'{did_you_mean(chosen, known)}; or class = "module:attribute"',
        )
    return chosen


def _prompts(table: Table) -> PromptSettings:
    table.allow("file", "heldout")
    table.require("file")
    heldout = table.file_path("heldout") if "heldout" in table.values else None
    return PromptSettings(table.file_path("file"), heldout)
