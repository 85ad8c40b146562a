"""Objectives and constraints as text: what is read, how it is written, what is refused."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lamsearch.config.expressions import (
    Constraint,
    Objective,
    parse_constraint,
    parse_objective,
)
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
        st.floats(-1e150, 1e150).filter(bool),
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
        ("1e999*clip", "gives clip the weight inf: expected a finite number"),
        ("1e308*clip + 1e308*clip", "gives clip the weight inf: expected a finite number"),
        ("1e999*clip - 1e999*clip", "gives clip the weight nan: expected a finite number"),
    ],
)
def test_any_other_objective_is_one_clear_line(text: str, message: str) -> None:
    with pytest.raises(SettingsError, match=message) as error:
        parse_objective(text)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("text", "expected", "canonical"),
    [
        ("clip >= -1% of reference", Constraint("clip", percent=-1), "clip >= -1% of reference"),
        (
            " clip≥0.5 %  of the reference ",
            Constraint("clip", percent=0.5),
            "clip >= 0.5% of reference",
        ),
        ("clip >= reference", Constraint("clip"), "clip >= reference"),
        ("clip >= 0% of reference", Constraint("clip"), "clip >= reference"),
        (
            "a b >= reference-0.01",
            Constraint("a b", difference=-0.01),
            "a b >= reference - 0.01",
        ),
        (
            "clip >= reference + 2e-3",
            Constraint("clip", difference=0.002),
            "clip >= reference + 0.002",
        ),
        ("clip >= -.35", Constraint("clip", level=-0.35), "clip >= -0.35"),
    ],
)
def test_constraints_are_read_and_written(text: str, expected: Constraint, canonical: str) -> None:
    assert parse_constraint(text) == expected
    assert expected.text == canonical
    assert parse_constraint(canonical) == expected


@pytest.mark.parametrize(
    "text",
    [
        "",
        "clip",
        ">= 3",
        "clip <= 3",
        "clip > 3",
        "clip >= x",
        "clip >= -1%",
        "clip >= -1 of reference",
        "clip >= reference 0.1",
        "clip >= reference - 0.1 %",
        "0.1 <= clip >= 3",
    ],
)
def test_any_other_constraint_is_one_clear_line(text: str) -> None:
    with pytest.raises(SettingsError, match="expected 'NAME >= -1% of reference'") as error:
        parse_constraint(text)
    assert "\n" not in str(error.value)


def test_a_level_in_percent_is_told_from_a_change() -> None:
    with pytest.raises(SettingsError, match=r"a change of \+99 %.* lets it fall by 1 %"):
        parse_constraint("clip >= 99% of reference")


@pytest.mark.parametrize(
    "text",
    [
        "clip >= 1e999",
        "clip >= -1e999",
        "clip >= reference - 1e999",
        "clip >= 1e999% of reference",
        "clip >= -1e999% of reference",
    ],
)
def test_a_number_of_a_constraint_is_finite(text: str) -> None:
    with pytest.raises(
        SettingsError, match=r"clip >= .*1e999 given, expected a finite number up to 1e\+150$"
    ):
        parse_constraint(text)
