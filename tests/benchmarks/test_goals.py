"""A record is kept where its kind of run belongs, and read back as it was."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path

import pytest

from benchmarks import goals
from benchmarks.goals import decided, keep, recorded, seeds, with_earlier


@dataclass(frozen=True)
class Lap:
    seed: int
    seconds: float


@pytest.fixture(autouse=True)
def folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(goals, "RESULTS", tmp_path / "full")
    monkeypatch.setattr(goals, "SHORT_RESULTS", tmp_path / "a" / "short")


def test_a_short_run_never_replaces_what_a_full_one_reached(tmp_path: Path) -> None:
    keep("speed", {"checks": {1000: 0.5}}, short=False)
    keep("speed", {"checks": {10: 0.7}}, short=True)
    assert recorded("speed") == {"checks": {"1000": 0.5}}
    assert recorded("speed", short=True) == {"checks": {"10": 0.7}}
    assert (tmp_path / "full" / "speed.json").read_text() == '{\n  "checks": {\n    "1000": 0.5\n  }\n}\n'


def test_what_was_never_measured_is_empty() -> None:
    assert recorded("speed") == recorded("speed", short=True) == {}


def test_a_goal_is_decided_by_all_its_seeds() -> None:
    assert seeds(1, 3) == "1 of 3 seeds"
    assert [decided(True, 2, 3), decided(True, 3, 3), decided(False, 3, 3)] == [None, True, False]


def test_what_is_measured_anew_takes_the_place_of_what_was_kept_of_the_same_size() -> None:
    keep("speed", {"size": {"steps": 2}, "outcomes": [asdict(Lap(0, 0.1)), asdict(Lap(2, 0.2))]}, short=False)
    new = [Lap(1, 0.8), Lap(0, 0.9)]
    assert with_earlier("speed", {"steps": 2}, new, lambda lap: lap.seed) == [Lap(0, 0.9), Lap(1, 0.8), Lap(2, 0.2)]
    assert with_earlier("speed", {"steps": 3}, new, lambda lap: lap.seed) == [Lap(0, 0.9), Lap(1, 0.8)]
    assert with_earlier("never measured", {"steps": 2}, new, lambda lap: lap.seed) == [Lap(0, 0.9), Lap(1, 0.8)]
