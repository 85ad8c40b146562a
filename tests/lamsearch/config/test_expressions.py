"""Objectives as text: what is read, how it is written, what is refused."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lamsearch.config.expressions import Objective, parse_objective
from lamsearch.errors import SettingsError


@pytest.mark.parametrize(
    ("text", "weights", "canonical", "slug"),
    [
        ("pickscore", {"pickscore": 1}, "pickscore", "pickscore"),
        (
            "pickscore + 0.3*clip",
            {"pickscore": 1, "clip": 0.3},
            "pickscore + 0.3*clip",
            "pickscore+0.3clip",
        ),
        ("2*hps-.5 * clip", {"hps": 2, "clip": -0.5}, "2*hps - 0.5*clip", "2hps-0.5clip"),
        ("-clip+1e-3*hps", {"clip": -1, "hps": 0.001}, "-clip + 0.001*hps", "-clip+0.001hps"),
        ("clip + clip", {"clip": 2}, "2*clip", "2clip"),
    ],
)
def test_sums_are_read_and_written(
    text: str, weights: dict[str, float], canonical: str, slug: str
) -> None:
    objective = parse_objective(text)
    assert objective.weights == weights
    assert (objective.text, objective.slug) == (canonical, slug)


def test_known_names_may_hold_anything() -> None:
    known = ["pick-score", "pick", "my reward", "a + b"]
    for name in known:
        assert parse_objective(name, known).plain == name
        assert parse_objective(name, known).slug == name
    assert parse_objective("pick-score-2*pick", known).weights == {"pick-score": 1, "pick": -2}
    assert parse_objective("pickle", known).weights == {"pickle": 1}


def test_only_a_single_reward_of_weight_1_is_plain() -> None:
    assert parse_objective("clip").plain == "clip"
    assert parse_objective("2*clip").plain is None
    assert parse_objective("clip + hps").plain is None


@given(
    st.dictionaries(
        st.from_regex(r"[a-z]\w{0,5}", fullmatch=True),
        st.floats(allow_nan=False, allow_infinity=False).filter(bool),
        min_size=1,
    )
)
def test_the_canonical_text_gives_the_weights_back(weights: dict[str, float]) -> None:
    assert parse_objective(Objective(weights).text).weights == weights


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "reward '' given, expected a name or a sum"),
        ("clip +", r"cannot read '\+'"),
        ("clip hps", "cannot read 'hps'"),
        ("clip * 2", r"cannot read '\* 2'"),
        ("3", "cannot read '3'"),
        ("clip + 0*hps", "gives hps the weight 0"),
        ("clip - clip", "gives clip the weight 0"),
        ("1e999*clip", "gives clip the weight inf"),
    ],
)
def test_anything_else_is_one_clear_line(text: str, message: str) -> None:
    with pytest.raises(SettingsError, match=message) as error:
        parse_objective(text)
    assert "\n" not in str(error.value)
