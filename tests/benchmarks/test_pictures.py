"""The pictures are drawn from what the benchmarks keep."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from benchmarks import forgetting, label_cost, updates
from benchmarks.pictures import DRAWN, draw
from tests.benchmarks import test_forgetting, test_updates
from tests.benchmarks.test_label_cost import turned

KEPT = {
    "label_cost": label_cost.summary([turned("Random", 0, 0.2, 0.4), turned("Informative", 0, 0.4, 0.6)]),
    "updates": updates.summary(test_updates.OUTCOMES),
    "forgetting": forgetting.summary(
        [test_forgetting.outcome(0, method, 0.9, 0.8) for method in ("replay", "lwf", "joint")]
    ),
}


@pytest.mark.parametrize("name", DRAWN)
def test_a_picture_is_drawn_from_a_result(name: str, tmp_path: Path) -> None:
    assert draw(name, tmp_path, tmp_path) is None
    (tmp_path / f"{name}.json").write_text(json.dumps({"summary": KEPT[name]}))
    path = draw(name, tmp_path, tmp_path)
    assert path is not None
    assert path.stat().st_size > 10_000
