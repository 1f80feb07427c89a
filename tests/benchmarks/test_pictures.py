"""The pictures are drawn from what the benchmarks keep."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from benchmarks import accuracy, forgetting, label_cost, updates
from benchmarks.pictures import DRAWN, draw
from data.sample import Box
from models.metrics import evaluate
from tests.benchmarks import test_forgetting, test_updates
from tests.benchmarks.test_label_cost import turned

OUTCOMES = [test_forgetting.outcome(0, method, 0.9, 0.8) for method in ("replay", "lwf", "joint")]
FOUND = (Box(0, 0, 8, 8, "open", 0.9),)
REPORT = evaluate({"1": FOUND, "2": FOUND}, {"1": FOUND, "2": FOUND}, {"1": "here", "2": "there"}, ["open"], 0.5)
KEPT = {
    "accuracy": {"long": {"runs": [accuracy.record({"seed": 0}, REPORT)]}},
    "label_cost": {"summary": label_cost.summary([turned("Random", 0, 0.2, 0.4), turned("Informative", 0, 0.4, 0.6)])},
    "updates": {"summary": updates.summary(test_updates.OUTCOMES)},
    "forgetting": {"summary": forgetting.summary(OUTCOMES)},
}


@pytest.mark.parametrize("name", DRAWN)
def test_a_picture_is_drawn_from_a_result(name: str, tmp_path: Path) -> None:
    assert draw(name, tmp_path, tmp_path) is None
    (tmp_path / f"{name}.json").write_text(json.dumps(KEPT[name]))
    path = draw(name, tmp_path, tmp_path)
    assert path is not None
    assert path.stat().st_size > 10_000
