"""The simulated gate spends, refreshes and judges as the rule says; what the rule reaches, only a full run can say."""

from __future__ import annotations

import json

import numpy as np
import pytest
from rich.console import Console

from benchmarks import promotion_rule
from benchmarks.mixtures import Candidates, Population
from benchmarks.promotion_rule import (
    HOLDOUT,
    REFRESH_NIGHTS,
    Gate,
    Share,
    decisions_until,
    equal_years,
    exceeded,
    found,
    goals,
    measure,
    table,
    worse_years,
)
from pipelines.job import PromotionRule
from tests.benchmarks.test_mixtures import made_up

BOUND, POINT = PromotionRule(error_budget=0.1, decisions=10), PromotionRule(name="point")


@pytest.fixture(scope="module")
def candidates() -> Candidates:
    return Candidates(Population(made_up(150)), "ap")


def gate(candidates: Candidates, rule: PromotionRule = BOUND, decided: int = 0) -> Gate:
    return Gate(candidates.population, rule, np.random.default_rng(0), candidates.served, decided)


def test_each_decision_spends_its_part_of_what_is_left(candidates: Candidates) -> None:
    opened, (worse,) = gate(candidates), candidates.draw(-0.01, 1)
    left = []
    for _ in range(3):
        opened.judge(worse)
        left.append(opened._left)
    assert left == pytest.approx([0.09, 0.081, 0.0729])
    assert gate(candidates, decided=3)._left == pytest.approx(0.0729)


def test_a_holdout_that_is_due_is_replaced_when_new_boards_are_there(candidates: Candidates) -> None:
    opened, (worse,) = gate(candidates), candidates.draw(-0.01, 1)
    before = opened._drawn
    for _ in range(decisions_until(BOUND, 0.1) + REFRESH_NIGHTS - 1):
        opened.judge(worse)
    assert (opened._drawn is before, len(before)) == (True, HOLDOUT)
    opened.judge(worse)
    assert opened._drawn is not before
    assert opened._left == BOUND.error_budget


def test_as_many_decisions_as_it_takes_until_a_tenth_is_left() -> None:
    assert decisions_until(BOUND, 0.1) == 22
    assert 0.9**22 <= 0.1 < 0.9**21


def test_a_much_better_model_serves_and_one_that_serves_does_not_beat_itself(candidates: Candidates) -> None:
    best = np.full(candidates.population.boards, 4)
    for rule in (BOUND, POINT):
        opened = gate(candidates, rule)
        assert opened.judge(best)
        opened.serve(best)
        assert not opened.judge(best)


@pytest.fixture
def short_years(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(promotion_rule, "NIGHTS", 30)


@pytest.mark.usefixtures("short_years")
def test_years_count_what_came_to_serve(candidates: Candidates) -> None:
    assert worse_years(candidates, POINT, -0.005, 6).count >= 2
    assert equal_years(candidates, POINT, 2) >= 1
    assert found(candidates, POINT, 0.02, 3, 5) == Share(5, 5)
    assert 0 <= exceeded(candidates, BOUND, 30, 0.05, 40).count <= 15


@pytest.mark.parametrize(("count", "of", "upper"), [(0, 300, 0.00994), (3, 300, 0.0256), (5, 5, 1.0)])
def test_what_was_never_seen_may_still_happen(count: int, of: int, upper: float) -> None:
    assert Share(count, of).upper == pytest.approx(upper, abs=1e-4)


@pytest.mark.slow
@pytest.mark.usefixtures("short_years")
def test_everything_that_is_measured_is_kept_and_shown(candidates: Candidates) -> None:
    results = json.loads(json.dumps(measure(candidates, BOUND, years=20, trials=2)))
    assert results["years_with_a_worse_model"]["bound"]["-0.5"]["of"] == 20
    half, whole, found = goals(results)
    assert half.what == "Years in which a worse model serves (-0.5 points)"
    assert (half.reached, half.met) == ("0 % of 20", True)
    assert whole.goal == "at most 1 %"
    assert all(word in found.reached for word in ("% new, ", "% in the middle, ", "% due"))
    console = Console(width=150)
    with console.capture() as shown:
        console.print(table(results))
    for word in (
        "-0.5 points",
        "+2 found in three nights, middle",
        "600 boards",
        "budget 0.2",
        "45 boards, 90 % sure",
        "at most 1 %",
        " ms",
    ):
        assert word in shown.get()
