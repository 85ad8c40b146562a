"""The tables `[rewards.NAME]` of `lamsearch.toml`; which keys they have depends on the type."""

from __future__ import annotations

import importlib.metadata
import re
from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import (
    AfterValidator,
    BeforeValidator,
    Field,
    PlainValidator,
    ValidationError,
    ValidationInfo,
    ValidatorFunctionWrapHandler,
    WrapValidator,
    model_validator,
)

from lamsearch.config.locations import Location, Option
from lamsearch.config.server_urls import redacted_url, url_problem
from lamsearch.config.strict_table import StrictTable, complaint, did_you_mean
from lamsearch.plain_text import shown

BUILT_IN_REWARDS = ("pickscore", "clip", "hps", "aesthetic", "http")
ENTRY_POINT_GROUP = "lamsearch.rewards"


def _known_kind(kind: str) -> str:
    if kind not in BUILT_IN_REWARDS:
        known = [*BUILT_IN_REWARDS, *importlib.metadata.entry_points(group=ENTRY_POINT_GROUP).names]
        if kind not in known:
            expected = f"expected one of {', '.join(known)}{did_you_mean(kind, known)}"
            raise complaint(f'{shown(kind)} given, {expected}; or class = "module:attribute"')
    return kind


class RewardTable(StrictTable):
    """`[rewards.NAME]`: the keys that every kind of reward has."""

    type: Annotated[str, AfterValidator(_known_kind)] = Field(
        default="",
        description="Which reward this is: `pickscore`, `clip`, `hps`, `aesthetic`, `http`, or the "
        f"name of an installed entry point of the group `{ENTRY_POINT_GROUP}`; by default the "
        "table's own name.",
    )

    @property
    def kind(self) -> str:
        """What to load: the type, or `module:attribute`."""
        return self.type

    @property
    def options(self) -> dict[str, Any]:
        """Keyword arguments for the reward: the keys that the file has."""
        return self.model_dump(exclude={"type"}, exclude_unset=True)


class BuiltInRewardTable(RewardTable):
    """`[rewards.NAME]` of a type whose model is loaded here."""

    model: Location | None = Field(
        default=None,
        description="Path or hub id of the reward's weights, for transformers or as one checkpoint "
        "file of open_clip; by default the weights that were published for this type.",
    )
    processor: Location | None = Field(
        default=None,
        description="Path or hub id of the tokenizer and image processor; by default those beside "
        "the weights, or else those that were published for this type.",
    )
    batch_size: int | None = Field(
        default=None,
        ge=1,
        description="Number of images that the reward scores in one forward pass; by default 32.",
    )
    use_safetensors: bool | None = Field(
        default=None,
        description="Whether only safetensors files of a transformers model are loaded, as by "
        "default; `false` also allows pickled weights. No code in a checkpoint is ever run.",
    )


class CLIPRewardTable(BuiltInRewardTable):
    """`[rewards.NAME]` of the type `pickscore` or `clip`."""

    checkpoint: str | None = Field(
        default=None,
        min_length=1,
        description="File name of an open_clip checkpoint in the folder or hub repository `model`; "
        "by default `model` is loaded as a whole.",
    )


class HPSRewardTable(BuiltInRewardTable):
    """`[rewards.NAME]` of the type `hps`."""

    checkpoint: str | None = Field(
        default=None,
        description="File name of an open_clip checkpoint in the hub repository; by default HPS "
        "v2.0, whose scores cannot be compared with those of v2.1 (`HPS_v2.1_compressed.pt`).",
    )


def _hub_file(value: Any, handler: ValidatorFunctionWrapHandler) -> Any:
    """Return a path as `Location` does, and `owner/name/file` as it is if there is no such path."""
    try:
        return handler(value)
    except ValidationError:
        if isinstance(value, str) and _HUB_FILE.fullmatch(value):
            return value
        raise


_HUB_FILE = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*/[^/~]+\.(safetensors|pth|pt|bin)")


class AestheticRewardTable(BuiltInRewardTable):
    """`[rewards.NAME]` of the type `aesthetic`."""

    head: Annotated[Location, WrapValidator(_hub_file)] | None = Field(
        default=None,
        description="LAION's linear head as a `.safetensors` or `.pth` file, or as "
        "`owner/name/file` on the hub; by default that of `sac+logos+ava1-l14-linearMSE.pth`.",
    )


def _server_url(value: str) -> str:
    if problem := url_problem(value):
        raise complaint(f"{shown(redacted_url(value))} given, {problem}")
    return value


def _headers(value: Mapping[str, Any]) -> dict[str, str]:
    for name, variable in value.items():
        if not re.fullmatch(r"[A-Za-z0-9-]+", name) or name.lower() in _OWN_HEADERS:
            raise complaint(f"{shown(name)} given, expected the name of an HTTP header of your own")
        if not isinstance(variable, str) or not re.fullmatch(r"[A-Za-z_]\w*", variable, re.ASCII):
            # The value is not shown: it may be the secret itself.
            raise complaint("expected the name of an environment variable, never the value itself")
    return dict(value)


_OWN_HEADERS = ("host", "content-length", "content-type", "transfer-encoding", "connection")


class HTTPRewardTable(RewardTable):
    """`[rewards.NAME]` of the type `http`."""

    url: Annotated[str, AfterValidator(_server_url)] = Field(
        description="Address of the scorer, such as `http://127.0.0.1:8000/hpsv3`; `/info` and "
        "`/score` are added to it. It holds no credentials."
    )
    timeout: float | None = Field(
        default=None, gt=0, description="Seconds that one request may take; by default 120."
    )
    retries: int | None = Field(
        default=None,
        ge=0,
        description="Number of further attempts, with longer and longer pauses, after a failure "
        "that may pass; by default 5.",
    )
    batch_size: int | None = Field(
        default=None, ge=1, description="Number of images in one request; by default 8."
    )
    headers: Annotated[Mapping[str, Any], AfterValidator(_headers)] = Field(
        default_factory=dict,
        description='HTTP headers as `NAME = "VARIABLE"`, where the environment variable holds '
        'the value, such as `{ Authorization = "SCORER_KEY" }`; by default none are sent.',
    )


def _module_attribute(value: str) -> str:
    if not re.fullmatch(r"[\w.]+:[\w.]+", value):
        raise complaint(f"{shown(value)} given, expected 'module:attribute'")
    return value


class OwnRewardTable(RewardTable, extra="allow"):
    """`[rewards.NAME]` of any other reward: further keys are its keyword arguments."""

    __pydantic_extra__: dict[str, Option] = Field(init=False)

    class_: Annotated[str, AfterValidator(_module_attribute)] | None = Field(
        default=None,
        alias="class",
        description="A reward of your own as `module:attribute`, where the module is installed or "
        "lies beside the settings file; used instead of `type`.",
    )

    @model_validator(mode="before")
    @classmethod
    def _refuse_class_with_type(cls, table: Any) -> Any:
        if isinstance(table, Mapping) and {"class", "type"} <= table.keys():
            raise complaint("given together with 'type'; keep one of them", key="class")
        return table

    @property
    def kind(self) -> str:
        """What to load: the type, or `module:attribute`."""
        return self.class_ or self.type

    @property
    def options(self) -> dict[str, Any]:
        """Keyword arguments for the reward: the keys that are not part of the format."""
        return dict(self.__pydantic_extra__)


def _with_types(tables: Any) -> Any:
    """Give each table its default type, which is its name."""
    if not isinstance(tables, Mapping):
        return tables
    return {
        name: {"type": name, **table}
        if isinstance(table, Mapping) and "class" not in table
        else table
        for name, table in tables.items()
    }


def _reward_table(table: Any, info: ValidationInfo) -> RewardTable:
    """Validate a table by the model of its type."""
    kind = table.get("type") if isinstance(table, Mapping) and "class" not in table else None
    model = _TABLES.get(kind, OwnRewardTable) if isinstance(kind, str) else OwnRewardTable
    return model.model_validate(table, context=info.context)


_TABLES: Mapping[str, type[RewardTable]] = {
    "pickscore": CLIPRewardTable,
    "clip": CLIPRewardTable,
    "hps": HPSRewardTable,
    "aesthetic": AestheticRewardTable,
    "http": HTTPRewardTable,
}

RewardTables = Annotated[
    dict[str, Annotated[RewardTable, PlainValidator(_reward_table)]], BeforeValidator(_with_types)
]
"""The table `[rewards]`."""
