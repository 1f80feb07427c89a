"""Gates: conditions, windows and the holdout combined, and the sentence a person reads."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import product
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from pipelines.gates.conditions import Estimate, Verdict
from pipelines.gates.gate import Facts, check, check_live, judge_frozen
from pipelines.gates.rule import DAYS, Condition, Rule, Timer, Trigger
from pipelines.job import TrainSpecification

NOON = datetime(2026, 1, 10, 12, tzinfo=UTC)
ENOUGH = Condition(metric="num_of_samples", operator=">=", threshold=500)
NIGHT = Timer(start="02:00", end="06:00", timezone="Europe/Berlin")
IN_THE_NIGHT = datetime(2026, 1, 11, 2, tzinfo=UTC)
CLASSES = ("open", "short")


def rule(text: str) -> Rule:
    """The rule of one condition."""
    metric, sign, threshold = text.split()
    return Rule(condition=Condition(metric=metric, operator=sign, threshold=float(threshold)))  # type: ignore[arg-type]


def counted(count: int, days: float = 0.0) -> Facts:
    return Facts(metrics={"num_of_samples": count, "days_since_training": days})


# Combined logic is tried with conditions whose answer is their name.
KNOWN: Mapping[str, Any] = {"yes": 1.0, "no": 0.0, "num_of_samples[yes]": 2, "num_of_samples[no]": 0}
FROZEN = Facts(metrics=KNOWN, served={}, frozen=True)


def leaf(answer: bool | None, live: bool) -> Rule:
    """A condition with that answer under `KNOWN`; a live one asks for labels."""
    name = {True: "yes", False: "no", None: "unknown"}[answer]
    return rule(f"{f'num_of_samples[{name}]' if live else name} >= 1")


leaves = st.builds(leaf, st.sampled_from([True, False, None]), st.booleans())
rules = st.recursive(
    leaves,
    lambda inner: st.builds(
        lambda condition, every, either: Rule(condition=condition, all=every, any=either),
        st.none() | leaves.map(lambda one: one.condition),
        st.lists(inner, max_size=3),
        st.lists(inner, max_size=3),
    ).filter(lambda built: next(built.parts(), None) is not None),
    max_leaves=8,
)


def kleene(given_rule: Rule, granted: bool = False) -> bool | None:
    """What three-valued logic says of the rule; `granted`: with all that is live taken as met."""

    def of_leaf(condition: Condition) -> bool | None:
        if granted and condition.asked.is_live:
            return True
        word = condition.asked.part or condition.asked.name
        return {"yes": True, "no": False, "unknown": None}[word]

    parts = [kleene(one, granted) for one in given_rule.all]
    if given_rule.condition is not None:
        parts.append(of_leaf(given_rule.condition))
    if given_rule.any:
        options = [kleene(one, granted) for one in given_rule.any]
        parts.append(True if True in options else None if None in options else False)
    return False if False in parts else None if None in parts else True


def can_change(given_rule: Rule) -> set[bool | None]:
    """Every answer that the rule can have, whatever its live conditions become."""
    live = [part for part in given_rule.parts() if isinstance(part, Condition) and part.asked.is_live]
    answers: set[bool | None] = set()
    for values in product([True, False, None], repeat=len(live)):
        remaining = iter(values)

        def substituted(one: Rule, remaining: Any = remaining) -> Rule:
            condition = one.condition
            if condition is not None and condition.asked.is_live:
                condition = leaf(next(remaining), live=True).condition
            return Rule(
                condition=condition,
                all=[substituted(each) for each in one.all],
                any=[substituted(each) for each in one.any],
            )

        answers.add(kleene(substituted(given_rule)))
    return answers


@given(rules)
def test_rules_combine_by_kleenes_logic(given_rule: Rule) -> None:
    assert check(given_rule, FROZEN, NOON).met is kleene(given_rule)


@given(rules)
def test_what_time_decides_is_taken_as_met_where_a_comparison_is_judged(given_rule: Rule) -> None:
    verdict = judge_frozen(given_rule, KNOWN, {}, ())
    assert verdict.met is kleene(given_rule, granted=True)
    assert verdict.final
    assert "labels" not in verdict.sentence


@given(rules)
def test_a_no_is_final_exactly_if_no_label_can_make_it_a_yes(given_rule: Rule) -> None:
    assume(sum(isinstance(part, Condition) and part.asked.is_live for part in given_rule.parts()) <= 4)
    verdict = check(given_rule, FROZEN, NOON)
    possible = can_change(given_rule)
    assert verdict.final is (possible == {True} if verdict.met else True not in possible)


@given(rules)
def test_before_a_training_nothing_is_final(given_rule: Rule) -> None:
    assert not check(given_rule, Facts(metrics=KNOWN), NOON).final


@given(st.data(), rules)
def test_the_order_of_the_parts_plays_no_part(data: st.DataObject, given_rule: Rule) -> None:
    def shuffled(one: Rule) -> Rule:
        return Rule(
            condition=one.condition,
            all=[shuffled(each) for each in data.draw(st.permutations(one.all))],
            any=[shuffled(each) for each in data.draw(st.permutations(one.any))],
        )

    before, after = check(given_rule, FROZEN, NOON), check(shuffled(given_rule), FROZEN, NOON)
    assert (before.met, before.final, before.progress) == (after.met, after.final, after.progress)


@given(rules)
def test_progress_is_a_share_and_whole_where_the_gate_is_open(given_rule: Rule) -> None:
    verdict = check(given_rule, FROZEN, NOON)
    assert verdict.progress is None or 0 <= verdict.progress <= 1
    assert verdict.progress == 1.0 or not verdict.met


@given(rules, rules, st.sampled_from(["all", "any"]))
def test_more_of_all_is_harder_and_more_of_any_is_easier(first: Rule, second: Rule, kind: str) -> None:
    rank = {False: 0, None: 1, True: 2}
    alone = check(Rule(**{kind: [first]}), FROZEN, NOON)  # type: ignore[arg-type]
    both = check(Rule(**{kind: [first, second]}), FROZEN, NOON)  # type: ignore[arg-type]
    assert replace(alone, sentence="") == replace(check(first, FROZEN, NOON), sentence="")
    harder, easier = (both, alone) if kind == "all" else (alone, both)
    assert rank[harder.met] <= rank[easier.met]


counts = st.integers(0, 700)
live_rules = st.recursive(
    st.sampled_from(["num_of_samples >= 500", "num_of_samples > 50", "days_since_training >= 14"]).map(rule),
    lambda inner: (
        st.builds(lambda parts: Rule(all=parts), st.lists(inner, min_size=1, max_size=3))
        | st.builds(lambda parts: Rule(any=parts), st.lists(inner, min_size=1, max_size=3))
    ),
    max_leaves=6,
)


@given(live_rules, counts, counts, st.floats(0, 20), st.floats(0, 20))
def test_more_labels_and_more_days_never_lessen_progress_or_close_a_gate(
    given_rule: Rule, count: int, more: int, days: float, later: float
) -> None:
    before, after = (
        check(given_rule, counted(count, days), NOON),
        check(given_rule, counted(count + more, days + later), NOON),
    )
    assert before.progress is not None
    assert after.progress is not None
    assert after.progress >= before.progress
    assert after.met or not before.met
    assert (before.progress == 1.0) == bool(before)


def test_condition_and_window_in_one_sentence() -> None:
    trigger = Trigger(condition=ENOUGH, timer=NIGHT)
    closed = check(trigger, counted(312), datetime(2026, 1, 10, 22, tzinfo=UTC))
    assert closed == Verdict(False, "312 of 500 labels; window opens 02:00 Europe/Berlin in 3 h", progress=0.0)
    opened = check(trigger, counted(500), IN_THE_NIGHT)
    assert opened == Verdict(True, "500 of 500 labels; window is open until 06:00 Europe/Berlin", progress=1.0)
    short = check(trigger, counted(312), IN_THE_NIGHT)
    assert (short.met, short.progress) == (False, 0.624)


@pytest.mark.parametrize(
    ("count", "days", "met", "progress", "sentence"),
    [
        (312, 9.0, False, 9 / 14, "312 of 500 labels, or (312 of 50 labels and 9 of 14 days since the last training)"),
        (40, 0.0, False, 0.08, "40 of 500 labels, or (40 of 50 labels and 0 of 14 days since the last training)"),
        (500, 9.0, True, 1.0, "500 of 500 labels"),
        (50, 14.0, True, 1.0, "50 of 50 labels and 14 of 14 days since the last training"),
    ],
)
def test_a_longest_wait_in_one_sentence(count: int, days: float, met: bool, progress: float, sentence: str) -> None:
    longest = Rule(
        any=[rule("num_of_samples >= 500"), Rule(all=[rule("num_of_samples >= 50"), rule("days_since_training >= 14")])]
    )
    assert check(longest, counted(count, days), NOON) == Verdict(met, sentence, progress=progress)


def test_a_choice_within_all_and_all_within_a_choice_can_be_told_apart() -> None:
    first, second, third = rule("num_of_samples >= 9"), rule("num_of_samples >= 8"), rule("num_of_samples >= 7")
    either = Rule(any=[Rule(all=[first, Rule(any=[second, third])]), first])
    assert check(either, counted(1), NOON).sentence == (
        "(1 of 9 labels and (1 of 8 labels, or 1 of 7 labels)), or 1 of 9 labels"
    )
    nested = Rule(all=[Rule(any=[first, second]), third])
    assert check(nested, counted(1), NOON).sentence == "1 of 9 labels, or 1 of 8 labels; 1 of 7 labels"


@pytest.mark.parametrize(
    ("now", "wait"),
    [("12:01:00", "12 h 59 min"), ("13:00:00", "12 h"), ("00:15:30", "45 min"), ("00:59:59", "1 min")],
)
def test_the_wait_is_told_in_hours_and_minutes(now: str, wait: str) -> None:
    instant = datetime.fromisoformat(f"2026-01-10T{now}Z")
    assert check(Trigger(timer=NIGHT), Facts(), instant).sentence == f"window opens 02:00 Europe/Berlin in {wait}"


@pytest.mark.parametrize(
    ("now", "sentence"),
    [
        ("2026-01-05 01:00", "window opens Sat 02:00 Europe/Berlin in 5 d"),
        ("2026-01-05 01:00:01", "window opens Sat 02:00 Europe/Berlin in 5 d"),
        ("2026-01-04 22:30", "window opens Sat 02:00 Europe/Berlin in 5 d 3 h"),
        ("2026-01-09 12:00", "window opens 02:00 Europe/Berlin in 13 h"),
        ("2026-01-10 02:00", "window is open until 06:00 Europe/Berlin"),
    ],
)
def test_a_wait_of_days_names_the_day(now: str, sentence: str) -> None:
    weekend = Trigger(timer=NIGHT.model_copy(update={"days": ["sat", "sun"]}))
    assert check(weekend, Facts(), datetime.fromisoformat(f"{now}Z")).sentence == sentence


def test_the_wait_over_a_clock_change_is_the_time_that_passes() -> None:
    evening = datetime(2026, 3, 28, 22, tzinfo=ZoneInfo("Europe/Berlin"))
    morning = Timer(start="06:00", end="08:00", timezone="Europe/Berlin")
    assert check(Trigger(timer=morning), Facts(), evening).sentence == "window opens 06:00 Europe/Berlin in 7 h"


def test_the_holdout_needs_boxes_of_every_class_and_never_gets_more() -> None:
    facts = Facts(holdout_support={"open": 3, "short": 20, "spur": 0}, min_support=5)
    lacking = check(Trigger(), facts, NOON)
    assert lacking == Verdict(
        False, "the holdout has 3 of 5 boxes of open, 0 of 5 boxes of spur", final=True, progress=0.0
    )
    enough = check(Trigger(), Facts(holdout_support={"open": 5, "short": 6}, min_support=5), NOON)
    assert enough == Verdict(True, "the holdout has at least 5 boxes of every class", final=True, progress=1.0)
    in_time = Facts(holdout_support={"open": 5}, min_support=5)
    waiting = check(Trigger(timer=NIGHT), in_time, NOON)
    assert (waiting.met, waiting.final) == (False, False)


def test_nothing_asked_is_met() -> None:
    assert check(Trigger(), Facts(), NOON) == Verdict(True, "nothing to wait for", final=True, progress=1.0)


@pytest.mark.parametrize(("condition", "window"), list(product([True, False, None], [True, False])))
def test_a_no_decides_and_an_undecided_is_never_a_yes(condition: bool | None, window: bool) -> None:
    facts = {True: counted(500), False: counted(3), None: Facts()}[condition]
    verdict = check(Trigger(condition=ENOUGH, timer=NIGHT), facts, IN_THE_NIGHT if window else NOON)
    assert verdict.met is (False if False in (condition, window) else condition)


def test_a_drop_of_precision_in_production_opens_the_train_gate() -> None:
    trigger = rule("precision < 0.9")
    assert check(trigger, Facts(metrics={"precision": Estimate(0.8, 0.7, 0.89, 90)}), NOON).met is True
    assert check(trigger, Facts(metrics={"precision": Estimate(0.87, 0.8, 0.92, 34)}), NOON).met is None
    assert check(trigger, Facts(metrics={"precision": Estimate(0.95, 0.9, 0.99, 90)}), NOON).met is False
    absent = check(trigger, Facts(metrics={"num_of_samples": 600}, absent="nothing serves yet"), NOON)
    assert absent == Verdict(None, "precision < 0.9 cannot be decided: nothing serves yet")


def test_a_comparison_that_is_good_enough_waits_for_the_days_it_must() -> None:
    trigger = Rule(all=[rule("ap_delta > 0"), rule("days_since_training >= 2")], timer=NIGHT)
    candidate, served = {"ap": 0.9}, {"ap": 0.8}
    judged = judge_frozen(trigger, candidate, served, CLASSES)
    assert judged == Verdict(True, "ap_delta is 0.1, 0.9 against 0.8 (> 0)", final=True, progress=1.0)
    waiting = check_live(trigger, Facts({**candidate, "days_since_training": 1.5}, served, CLASSES, frozen=True), NOON)
    assert (waiting.met, waiting.final) == (False, False)
    assert waiting.sentence == "1.5 of 2 days since the last training; window opens 02:00 Europe/Berlin in 13 h"
    worse = Facts({"ap": 0.7, "days_since_training": 1.5}, served, CLASSES, frozen=True)
    assert check_live(trigger, worse, NOON).final
    assert judge_frozen(trigger, {"ap": 0.7}, served, CLASSES).met is False


def test_what_is_not_good_enough_can_still_be_let_through_by_time() -> None:
    trigger = Rule(any=[rule("ap_delta > 0.05"), rule("days_since_training >= 30")])
    assert judge_frozen(trigger, {"ap": 0.8}, {"ap": 0.8}, CLASSES) == Verdict(
        True, "nothing is asked of the evaluation", final=True, progress=1.0
    )
    facts = Facts({"ap": 0.8, "days_since_training": 3.0}, {"ap": 0.8}, CLASSES, frozen=True)
    waiting = check_live(trigger, facts, NOON)
    assert waiting == Verdict(False, "3 of 30 days since the last training", final=False, progress=0.1)


def test_a_rule_without_time_or_labels_has_nothing_more_to_say_of_a_comparison() -> None:
    facts = Facts({"ap": 0.9}, {"ap": 0.8}, CLASSES, frozen=True)
    assert check_live(rule("ap_delta > 0"), facts, NOON) == Verdict(True, "", final=True, progress=1.0)


# What the triggers of the predecessors got wrong, each by its name.


def test_predecessor_defect_a_timer_alone_is_not_expressible() -> None:
    assert check(Trigger(timer=NIGHT), Facts(), datetime(2026, 1, 11, 1, tzinfo=UTC)).met is True
    assert check(Trigger(timer=NIGHT), Facts(), NOON).met is False


def test_predecessor_defect_more_than_500_needs_627_in_one_batch() -> None:
    trigger = TrainSpecification(
        trigger=Trigger(condition=Condition(metric="num_of_samples", operator=">", threshold=500))
    )
    assert [check(trigger.trigger, counted(count), NOON).met for count in (500, 501)] == [False, True]


def test_predecessor_defect_a_list_without_an_index_is_zero_and_fires_a_smaller_sign() -> None:
    facts = Facts(metrics={"loss": [0.9]}, served={"loss": [0.1]})
    assert check(rule("loss_delta < 0.1"), facts, NOON).met is None


def test_predecessor_defect_a_scalar_metric_is_unreadable() -> None:
    assert judge_frozen(rule("precision_delta > 0.1"), {"precision": 0.95}, {"precision": 0.8}, CLASSES).met is True


def test_predecessor_gap_no_or() -> None:
    either = Rule(any=[rule("num_of_samples >= 500"), rule("days_since_training >= 14")])
    assert [check(either, counted(*known), NOON).met for known in ((500, 0), (0, 14), (499, 13.9))] == [
        True,
        True,
        False,
    ]


def test_predecessor_gap_no_several_conditions() -> None:
    several = Rule(all=[rule("num_of_samples >= 500"), rule("days_since_training >= 14")])
    assert [check(several, counted(*known), NOON).met for known in ((500, 0), (0, 14), (500, 14))] == [
        False,
        False,
        True,
    ]


def test_predecessor_gap_no_day_of_week() -> None:
    weekend = Trigger(timer=Timer(start="00:00", end="00:00", days=["sat", "sun"]))
    week = [check(weekend, Facts(), NOON + timedelta(days=day)).met for day in range(7)]
    assert week == [True, True, False, False, False, False, False]
    assert DAYS[NOON.weekday()] == "sat"


def test_predecessor_gap_no_time_zone() -> None:
    instant = datetime(2026, 7, 1, 0, 30, tzinfo=UTC)
    opened = {
        zone: check(Trigger(timer=Timer(start="02:00", end="04:00", timezone=zone)), Facts(), instant).met
        for zone in ("Europe/Berlin", "UTC", "Asia/Kolkata")
    }
    assert opened == {"Europe/Berlin": True, "UTC": False, "Asia/Kolkata": False}


def test_predecessor_gap_no_cooldown() -> None:
    cooldown = Rule(all=[rule("num_of_samples >= 50"), rule("hours_since_training >= 12")])
    hours = [
        check(cooldown, Facts({"num_of_samples": 600, "hours_since_training": elapsed}), NOON).met
        for elapsed in (11.99, 12.0, float("inf"))
    ]
    assert hours == [False, True, True]


def test_predecessor_gap_no_longest_wait() -> None:
    longest = Rule(
        any=[rule("num_of_samples >= 500"), Rule(all=[rule("num_of_samples >= 1"), rule("days_since_training >= 14")])]
    )
    assert [check(longest, counted(*known), NOON).met for known in ((3, 14), (3, 13.9), (0, 99))] == [
        True,
        False,
        False,
    ]
