"""The benchmark counts what it says; what a miner reaches, only a run of it can say."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from benchmarks.label_cost import BASELINE, goals, labels_to_reach, shares, summary, table
from benchmarks.turned_loops import Turned


def test_labels_are_counted_where_the_level_is_first_reached() -> None:
    curve = [(10, 0.2), (20, 0.6), (30, 0.4), (40, 0.8)]
    assert labels_to_reach(curve, 0.1) == 10
    assert labels_to_reach(curve, 0.4) == pytest.approx(15)
    assert labels_to_reach(curve, 0.7) == pytest.approx(37.5)
    assert labels_to_reach(curve, 0.9) is None


def test_a_share_is_of_the_labels_with_which_random_had_its_best_so_far() -> None:
    random, ours = [(10, 0.1), (20, 0.5), (30, 0.3)], [(10, 0.3), (20, 0.7)]
    assert shares(random, ours) == [(10, 1.0), (20, pytest.approx(0.75)), (30, pytest.approx(0.5))]
    assert shares(ours, random)[1] == (20, None)


@given(st.lists(st.floats(0, 1), min_size=1, max_size=8))
def test_nobody_needs_more_labels_than_itself(reached: list[float]) -> None:
    curve = [(10.0 * number, ap) for number, ap in enumerate(reached, start=1)]
    assert all(share is not None and share <= 1 + 1e-9 for _, share in shares(curve, curve))


def turned(miner: str, seed: int, *reached: float) -> Turned:
    curve = [(10 * number, ap) for number, ap in enumerate(reached, start=1)]
    return Turned(miner, "stream", seed, curve, 5, {"signal": 5}, 1.0)


def test_the_summary_is_kept_and_shown() -> None:
    loops = [
        turned(BASELINE, 0, 0.2, 0.4), turned(BASELINE, 1, 0.4, 0.6),
        turned("Informative", 0, 0.4, 0.6), turned("Informative", 1, 0.5, 0.5),
    ]  # fmt: skip
    kept = json.loads(json.dumps(summary(loops)))
    ours = kept["stream"]["Informative"]
    assert kept["stream"][BASELINE]["mean_ap"] == [[10, 0.3], [20, 0.5]]
    assert ours["mean_ap"] == [[10, 0.45], [20, 0.55]]
    assert ours["deviation_of_ap"] == [0.05, 0.05]
    last = ours["labels_as_share_of_random"][1]
    assert last == {"labels": 20, "share": 0.75, "least": 0.5, "median": None, "most": None}
    console = Console(width=160)
    with console.capture() as shown:
        for each in table(kept):
            console.print(each)
    for word in ("stream", "AP of Informative", "0.450", "75%", "50% - -"):
        assert word in shown.get()


def test_the_goal_is_judged_by_the_median_over_the_numbers_of_labels() -> None:
    random = turned(BASELINE, 0, 0.2, 0.4, 0.6, 0.6)
    (goal,) = goals({"seeds": 1, "summary": summary([random, turned("Informative", 0, 0.6, 0.6, 0.6, 0.6)])})
    assert goal.what == "Labels that Informative needs for what Random reaches, stream"
    # A share of 1, 1/2, 1/3 and 1/4 of the labels.
    assert (goal.reached, goal.met) == ("42 % (median of 4; 1 of 5 seeds)", None)
    (goal,) = goals({"seeds": 5, "summary": summary([random, turned("Informative", 0, 0.1, 0.1, 0.1, 0.1)])})
    assert (goal.reached, goal.met) == ("not reached (median of 4; 5 of 5 seeds)", False)
    three = turned(BASELINE, 0, 0.1, 0.1, 0.5), turned("Informative", 0, 0.4, 0.5, 0.5)
    for each in three:
        each.curve[:] = [(labels - 10, ap) for labels, ap in each.curve]
    (goal,) = goals({"seeds": 5, "summary": summary(three)})
    # What the model reaches that served first needs no label; of 20 labels half are needed.
    assert (goal.reached, goal.met) == ("25 % (median of 2; 5 of 5 seeds)", True)
    assert goals({"seeds": 1, "summary": summary([random, turned("IBT", 0, 0.6, 0.6, 0.6)])}) == []
