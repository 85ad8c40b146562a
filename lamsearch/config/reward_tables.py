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
    ValidationInfo,
    model_validator,
)

from lamsearch.config.locations import Location, Option
from lamsearch.config.strict_table import StrictTable, complaint, did_you_mean

BUILT_IN_REWARDS = ("pickscore", "clip", "hps")
ENTRY_POINT_GROUP = "lamsearch.rewards"


def _known_kind(kind: str) -> str:
    if kind not in BUILT_IN_REWARDS:
        known = [*BUILT_IN_REWARDS, *importlib.metadata.entry_points(group=ENTRY_POINT_GROUP).names]
        if kind not in known:
            raise complaint(
                f"{kind!r} given, expected one of {', '.join(known)}{did_you_mean(kind, known)}; "
                'or class = "module:attribute"'
            )
    return kind


class RewardTable(StrictTable):
    """`[rewards.NAME]`: the keys that every kind of reward has."""

    type: Annotated[str, AfterValidator(_known_kind)] = Field(
        default="",
        description="Which reward this is: `pickscore`, `clip`, `hps`, or the name of an installed "
        f"entry point of the group `{ENTRY_POINT_GROUP}`; by default the table's own name.",
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
    """`[rewards.NAME]` of the type `pickscore` or `clip`."""

    model: Location | None = Field(
        default=None,
        description="Path or hub id of the reward's weights; by default the weights that were "
        "published for this type.",
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


class HPSRewardTable(BuiltInRewardTable):
    """`[rewards.NAME]` of the type `hps`."""

    checkpoint: str | None = Field(
        default=None,
        description="File name of an open_clip checkpoint in the hub repository; by default HPS "
        "v2.0, whose scores cannot be compared with those of v2.1 (`HPS_v2.1_compressed.pt`).",
    )


def _module_attribute(value: str) -> str:
    if not re.fullmatch(r"[\w.]+:[\w.]+", value):
        raise complaint(f"{value!r} given, expected 'module:attribute'")
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
    model: type[RewardTable] = BuiltInRewardTable if kind in BUILT_IN_REWARDS else OwnRewardTable
    return (HPSRewardTable if kind == "hps" else model).model_validate(table, context=info.context)


RewardTables = Annotated[
    dict[str, Annotated[RewardTable, PlainValidator(_reward_table)]], BeforeValidator(_with_types)
]
"""The table `[rewards]`."""
