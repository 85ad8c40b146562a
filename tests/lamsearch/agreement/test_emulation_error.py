"""What an agreement says of a model aligned from scratch, and the advice that rests on it."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

import lamsearch
from lamsearch.agreement.emulation_error import emulation_error, stored_emulation_error
from lamsearch.agreement.results import Emulation
from lamsearch.cli import main
from lamsearch.study.database import Study
from lamsearch.study.storage import chosen_storage


def emulation(lam: float, difference: float) -> Emulation:
    return Emulation(
        "a", "b", 500.0, 500 / lam, lam, 0.5, 0.5 + difference, difference, 0.1, 0.9, 64
    )


PAIRS = [
    emulation(lam, difference)
    for lam, difference in ((0.1, 0.3), (0.4, 0.02), (0.8, 0.04), (1.5, -0.2), (8.0, -0.9))
]


def test_pairs_near_the_answer_count() -> None:
    found = emulation_error("family", PAIRS, 0.5)
    assert found is not None
    assert (found.study, found.pairs) == ("family", 2)
    assert found.mean == pytest.approx(0.03)
    assert found.deviation == pytest.approx(np.std([0.02, 0.04], ddof=1))


def test_a_single_pair_says_how_far_off_it_may_be_and_not_to_which_side() -> None:
    found = emulation_error("family", PAIRS, 2.0)
    assert found is not None
    assert (found.mean, found.deviation, found.pairs) == (0.0, 0.2, 1)


def test_without_near_pairs_those_of_the_same_side_count() -> None:
    low, high = emulation_error("family", PAIRS, 0.01), emulation_error("family", PAIRS, 100.0)
    assert low is not None
    assert high is not None
    assert (low.pairs, high.pairs) == (3, 2)
    assert emulation_error("family", PAIRS[:3], 2.0) is None


@pytest.mark.slow
def test_the_advice_quotes_the_agreement_of_its_reference(
    agree: Callable[..., lamsearch.FamilyAgreement],
    family: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    anchors = ("b500", "b1000")
    config = str(family / "lamsearch.toml")
    run = ["run", "--anchor", "b500", "--reward", "pickscore", "--budget", "4", "--images", "4"]
    assert main([*run, "--config", config, "--study", "s"]) == 0
    study = Study.open("s", chosen_storage(None))
    assert stored_emulation_error(study, "pickscore", 0.5) is None
    agreement = agree(anchors)
    found = stored_emulation_error(study, "pickscore", 0.5)
    assert found is not None
    assert found.study == agreement.study
    assert stored_emulation_error(study, "hps", 0.5) is None
    capsys.readouterr()
    assert main(["advise", "s", "--alignment-cost", "2 GPU-days", "--price", "3", "--json"]) == 0
    advice = json.loads(capsys.readouterr().out)
    assert advice["study"] == "s"
    assert advice["verdict"] in {"keep", "aligned", "reference", "more_images"}
    if advice["lam"] > 0:
        assert advice["emulation"]["study"] == agreement.study
    assert main(["advise", "s"]) == 0
    printed = capsys.readouterr().out
    assert advice["sentences"][0][:20] in printed
