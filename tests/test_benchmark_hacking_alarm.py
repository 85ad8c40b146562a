"""The benchmark of the alarm for reward hacking, on the bundled world with few images."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from safetensors.torch import save_file

from examples.benchmarks.hacking_alarm import AnchorResult, main, report
from examples.miniature.readers import new_digit_reader


@pytest.mark.slow
def test_the_alarm_is_raised_for_the_hacked_anchor_alone(tmp_path: Path) -> None:
    """The digits are counted with a reader that has learned nothing, which the alarm ignores."""
    reader, output = tmp_path / "reader.safetensors", tmp_path / "found.json"
    save_file(new_digit_reader().state_dict(), reader)
    found = main(
        1, 16, str(reader), str(output), anchors=("beta250", "beta5000"), lams=(0.0, 0.25, 0.5, 1.0)
    )
    (hacked,), (healthy,) = (result.onsets for result in found.values())
    assert hacked is not None
    assert 0 < hacked.interval[0] <= hacked.lam <= hacked.interval[1] < 0.5
    assert healthy is None
    stored = json.loads(output.read_text())["anchors"]
    assert stored["beta250"]["onsets"][0]["lam"] == hacked.lam
    assert len(stored["beta5000"]["right_digits"]) == 4


def test_the_share_of_right_digits_is_that_of_the_reference() -> None:
    lams = (0.0, 0.5, 1.0)
    result = AnchorResult((0.8, 0.8, 0.4), [None])
    assert result.reaches(0.75, lams) == pytest.approx(0.75)
    assert result.reaches(0.5, lams) == pytest.approx(1.0)
    assert result.reaches(0.4, lams) is None
    assert "| beta1 | 40.0 % |" in report({"beta1": result}, lams, 64)
    assert "0 of 1 | – | – |" in report({"beta1": result}, lams, 64)
