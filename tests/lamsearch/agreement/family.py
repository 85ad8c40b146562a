"""The family of tiny anchors that the tests of agreements share."""

from __future__ import annotations

BETAS = {"b250": 250, "b500": 500, "b1000": 1000}
STORAGE = "sqlite:///lamsearch-studies/studies.db"
