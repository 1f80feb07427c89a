"""Gates: condition, holdout and window together, and the sentence a person reads."""

from __future__ import annotations

from datetime import UTC, datetime
from itertools import product
from zoneinfo import ZoneInfo

import pytest

from pipelines.gates.conditions import Verdict
from pipelines.gates.gate import Facts, check
from pipelines.job import Condition, Timer, TrainSpecification, Trigger

NOON = datetime(2026, 1, 10, 12, tzinfo=UTC)
ENOUGH = Condition(metric="num_of_samples", operator=">=", threshold=500)
NIGHT = Timer(start="02:00", end="06:00", timezone="Europe/Berlin")


def test_condition_and_window_in_one_sentence() -> None:
    trigger = Trigger(condition=ENOUGH, timer=NIGHT)
    closed = check(trigger, Facts(num_of_samples=312), datetime(2026, 1, 10, 22, tzinfo=UTC))
    assert closed == Verdict(False, "312 of 500 labels; window opens 02:00 Europe/Berlin in 3 h")
    opened = check(trigger, Facts(num_of_samples=500), datetime(2026, 1, 11, 2, tzinfo=UTC))
    assert opened == Verdict(True, "500 of 500 labels; window is open until 06:00 Europe/Berlin")


@pytest.mark.parametrize(
    ("now", "wait"),
    [("12:01:00", "12 h 59 min"), ("13:00:00", "12 h"), ("00:15:30", "45 min"), ("00:59:59", "1 min")],
)
def test_the_wait_is_told_in_hours_and_minutes(now: str, wait: str) -> None:
    instant = datetime.fromisoformat(f"2026-01-10T{now}Z")
    assert check(Trigger(timer=NIGHT), Facts(), instant).sentence == f"window opens 02:00 Europe/Berlin in {wait}"


def test_the_wait_over_a_clock_change_is_the_time_that_passes() -> None:
    evening = datetime(2026, 3, 28, 22, tzinfo=ZoneInfo("Europe/Berlin"))
    morning = Timer(start="06:00", end="08:00", timezone="Europe/Berlin")
    assert check(Trigger(timer=morning), Facts(), evening).sentence == "window opens 06:00 Europe/Berlin in 7 h"


def test_predecessor_defect_a_window_alone_is_a_trigger() -> None:
    assert check(Trigger(timer=NIGHT), Facts(), datetime(2026, 1, 11, 1, tzinfo=UTC)).met is True
    assert check(Trigger(timer=NIGHT), Facts(), NOON).met is False


def test_predecessor_defect_more_than_500_needs_501_samples_to_train_on() -> None:
    trigger = TrainSpecification(
        trigger=Trigger(condition=Condition(metric="num_of_samples", operator=">", threshold=500))
    ).trigger
    assert [check(trigger, Facts(num_of_samples=count), NOON).met for count in (500, 501)] == [False, True]


def test_predecessor_defect_a_list_metric_cannot_deploy_by_a_smaller_sign() -> None:
    trigger = Trigger(condition=Condition(metric="loss_delta", operator="<", threshold=0.1))
    assert check(trigger, Facts(metrics={"loss": [0.9]}, served={"loss": [0.1]}), NOON).met is None


def test_a_drop_of_the_served_models_precision_opens_the_train_gate() -> None:
    trigger = Trigger(condition=Condition(metric="precision", operator="<", threshold=0.9))
    assert check(trigger, Facts(metrics={"precision": 0.87}), NOON) == Verdict(True, "precision is 0.87 (< 0.9)")
    assert check(trigger, Facts(metrics={"precision": 0.93}), NOON).met is False
    assert check(trigger, Facts(num_of_samples=600), NOON).met is None


def test_the_holdout_needs_boxes_of_every_class() -> None:
    facts = Facts(holdout_support={"open": 3, "short": 20, "spur": 0}, min_support=5)
    lacking = check(Trigger(), facts, NOON)
    assert lacking == Verdict(False, "the holdout has 3 of 5 boxes of open, 0 of 5 boxes of spur")
    enough = check(Trigger(), Facts(holdout_support={"open": 5, "short": 6}, min_support=5), NOON)
    assert enough == Verdict(True, "the holdout has at least 5 boxes of every class")


def test_nothing_asked_is_met() -> None:
    assert check(Trigger(), Facts(), NOON) == Verdict(True, "nothing to wait for")


@pytest.mark.parametrize(("condition", "window"), list(product([True, False, None], [True, False])))
def test_a_no_decides_and_an_undecided_is_never_a_yes(condition: bool | None, window: bool) -> None:
    counts = {True: 500, False: 3, None: None}
    now = datetime(2026, 1, 11, 2, tzinfo=UTC) if window else NOON
    verdict = check(Trigger(condition=ENOUGH, timer=NIGHT), Facts(num_of_samples=counts[condition]), now)
    assert verdict.met is (False if False in (condition, window) else condition)
