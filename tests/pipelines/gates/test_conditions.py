"""Conditions: exact comparison, deltas, parts, and no answer where nothing was measured."""

from __future__ import annotations

import math
import operator
from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from pydantic import ValidationError

from pipelines.gates.conditions import Estimate, Verdict, evaluate
from pipelines.gates.rule import OPERATOR_WORDS, Condition, Operator

numbers = st.floats(allow_nan=False, allow_infinity=False, width=64)
measures = st.decimals(0, 1, places=4).map(float)
EXACT = {">": operator.gt, ">=": operator.ge, "<": operator.lt, "<=": operator.le}


def condition(text: str) -> Condition:
    metric, sign, threshold = text.split()
    return Condition(metric=metric, operator=sign, threshold=float(threshold))  # type: ignore[arg-type]


@given(numbers, numbers, st.sampled_from(sorted(EXACT)))
def test_floats_are_compared_exactly(value: float, threshold: float, sign: Any) -> None:
    verdict = evaluate(Condition(metric="ap", operator=sign, threshold=threshold), {"ap": value})
    assert verdict.met is EXACT[sign](value, threshold)


@given(measures, measures, st.floats(-3e-6, 3e-6))
def test_equality_allows_a_millionth_and_inequality_is_its_opposite(value: float, other: float, nudge: float) -> None:
    assume(abs(abs(nudge) - 1e-6) > 1e-9)
    equal = Condition(metric="ap", operator="==", threshold=value)
    unequal = Condition(metric="ap", operator="!=", threshold=value)
    assert evaluate(equal, {"ap": value + nudge}).met is (abs(nudge) < 1e-6)
    assert evaluate(unequal, {"ap": value + nudge}).met is (abs(nudge) > 1e-6)
    assert evaluate(equal, {"ap": other}).met is not evaluate(unequal, {"ap": other}).met


@given(measures, measures, st.sampled_from(sorted(EXACT)))
def test_a_delta_is_the_difference_of_the_numbers_as_they_are_written(new: float, old: float, sign: Any) -> None:
    in_ten_thousandths = round(new * 10_000) - round(old * 10_000)
    verdict = evaluate(Condition(metric="ap_delta", operator=sign, threshold=0.1), {"ap": new}, {"ap": old})
    assert verdict.met is EXACT[sign](in_ten_thousandths, 1_000)


@given(measures, measures)
def test_a_candidate_and_the_served_model_are_never_both_better(first: float, second: float) -> None:
    better = condition("ap_delta > 0")
    one, other = {"ap": first}, {"ap": second}
    assert not (evaluate(better, one, other) and evaluate(better, other, one))


@pytest.mark.parametrize("word", sorted(OPERATOR_WORDS))
def test_the_predecessors_words_for_operators_are_understood(word: str) -> None:
    translated = Condition.model_validate({"metric": "ap", "operator": word, "threshold": 0.5})
    assert evaluate(translated, {"ap": 0.5}).met is (word in ("ge", "le", "eq", "="))


def test_predecessor_defect_an_unknown_operator_is_refused_and_not_false() -> None:
    with pytest.raises(ValidationError):
        condition("ap ~ 0.5")


def test_predecessor_defect_a_scalar_metric_is_read() -> None:
    assert evaluate(condition("acc_delta > 0.1"), {"acc": 0.9}, {"acc": 0.7}).met is True


@pytest.mark.parametrize("sign", [">", ">=", "<", "<=", "==", "!="])
def test_predecessor_defect_a_list_without_an_index_is_not_zero(sign: str) -> None:
    verdict = evaluate(condition(f"precision {sign} 0.1"), {"precision": [0.9, 0.7]})
    assert verdict.met is None
    assert "list of 2" in verdict.sentence
    assert "precision[0]" in verdict.sentence
    delta = evaluate(condition(f"precision_delta {sign} 0.1"), {"precision": [0.9]}, {"precision": [0.7]})
    assert delta.met is None


@pytest.mark.parametrize("metric", ["precision_delta[1]", "precision[1]_delta"])
def test_a_list_is_compared_at_its_index(metric: str) -> None:
    assert evaluate(condition(f"{metric} > 0.1"), {"precision": [0.1, 0.9]}, {"precision": [0.9, 0.7]}).met is True


def test_predecessor_defect_a_served_metric_that_is_missing_or_shorter_leaves_it_undecided() -> None:
    candidate = {"precision": [0.9, 0.8]}
    shorter = evaluate(condition("precision[1]_delta > 0"), candidate, {"precision": [0.9]})
    missing = evaluate(condition("precision[1]_delta > 0"), candidate, {"recall": [0.9]})
    assert (shorter.met, missing.met) == (None, None)
    assert missing.sentence == (
        "precision[1]_delta > 0 cannot be decided: the served model has no precision[1]; it has recall"
    )


def test_one_class_is_found_in_a_mapping_and_by_its_flat_name() -> None:
    wanted = condition("ap[open] >= 0.5")
    assert evaluate(wanted, {"ap": {"open": 0.5, "short": 0.1}}).met is True
    assert evaluate(wanted, {"ap": 0.1, "ap[open]": 0.5}).met is True
    assert evaluate(condition("ap[pin-hole]_delta > 0"), {"ap[pin-hole]": 0.5}, {"ap[pin-hole]": 0.4}).met is True
    assert evaluate(wanted, {"ap": {"short": 0.1}}).met is None
    whole = evaluate(condition("ap > 0.1"), {"ap": {"open": 0.5, "short": 0.1}})
    assert whole.met is None
    assert "open, short" in whole.sentence


@pytest.mark.parametrize("value", [None, math.nan, math.inf, True, "0.9"])
def test_what_is_not_a_number_decides_nothing(value: object) -> None:
    for text in ("ap > 0", "ap < 0", "ap != 0"):
        verdict = evaluate(condition(text), {"ap": value})
        assert verdict.met is None
        assert repr(value) in verdict.sentence


def test_a_missing_metric_says_what_there_is() -> None:
    verdict = evaluate(condition("ap > 0.5"), {"recall": 0.9, "precision": 0.8})
    assert verdict.met is None
    assert verdict.sentence == ("ap > 0.5 cannot be decided: what was measured has no ap; it has precision, recall")


def test_the_first_model_has_nothing_to_be_better_than() -> None:
    first = evaluate(condition("ap_delta > 0.1"), {"ap": 0.01}, None)
    assert first == Verdict(True, "nothing serves yet, so there is nothing to be better than", progress=1.0)
    assert evaluate(condition("ap[*]_delta > 0.1"), {"ap[open]": 0.01}, None, ["open"]) == first
    assert evaluate(condition("ap_delta > 0.1"), {}, None).met is None
    assert evaluate(condition("ap > 0.1"), {"ap": 0.01}, None).met is False


@pytest.mark.parametrize(
    ("new", "met"), [(0.80001, True), (0.8, False), ([0.80001], True), ([0.8], False), (np.float64(0.80001), True)]
)
def test_a_delta_of_more_than_a_tenth_promotes_and_of_a_tenth_does_not(new: Any, met: bool) -> None:
    old: Any = [0.7] if isinstance(new, list) else 0.7
    metric = "precision_delta[0]" if isinstance(new, list) else "precision_delta"
    assert evaluate(condition(f"{metric} > 0.1"), {"precision": new}, {"precision": old}).met is met


@pytest.mark.parametrize(
    ("text", "count", "met", "progress", "sentence"),
    [
        ("num_of_samples >= 500", 312, False, 0.624, "312 of 500 labels"),
        ("num_of_samples >= 500", 500, True, 1.0, "500 of 500 labels"),
        ("num_of_samples > 500", 500, False, 500 / 501, "500 of 501 labels"),
        ("num_of_samples > 500", 501, True, 1.0, "501 of 501 labels"),
        ("num_of_samples >= 1.5", 1, False, 0.5, "1 of 2 labels"),
        ("num_of_samples >= 0", 0, True, 1.0, "0 of 0 labels"),
        ("num_of_samples < 500", 312, True, 1.0, "312 labels, the condition is < 500"),
        ("num_of_samples < 500", 500, False, None, "500 labels, the condition is < 500"),
        ("num_of_samples == 500", 312, False, None, "312 labels, the condition is == 500"),
    ],
)
def test_samples_are_counted_in_words(text: str, count: int, met: bool, progress: float | None, sentence: str) -> None:
    assert evaluate(condition(text), {"num_of_samples": count}) == Verdict(met, sentence, progress=progress)


AT_THE_THRESHOLD: dict[Operator, tuple[bool, bool, bool]] = {
    ">": (False, False, True),
    ">=": (False, True, True),
    "<": (True, False, False),
    "<=": (True, True, False),
    "==": (False, True, False),
    "!=": (True, False, True),
}


@pytest.mark.parametrize("sign", sorted(AT_THE_THRESHOLD))
@pytest.mark.parametrize("metric", ["num_of_samples", "num_of_samples[open]", "days_since_training", "precision"])
def test_just_below_at_and_just_above_the_threshold(sign: Operator, metric: str) -> None:
    wanted = Condition(metric=metric, operator=sign, threshold=7)
    assert tuple(evaluate(wanted, {metric: value}).met for value in (6, 7, 8)) == AT_THE_THRESHOLD[sign]


@given(st.integers(0, 2000), st.integers(0, 2000), st.sampled_from(sorted(AT_THE_THRESHOLD)))
def test_a_count_meets_a_condition_as_the_number_does(count: int, threshold: int, sign: Operator) -> None:
    wanted = Condition(metric="num_of_samples", operator=sign, threshold=threshold)
    exact = {**EXACT, "==": operator.eq, "!=": operator.ne}[sign](count, threshold)
    assert evaluate(wanted, {"num_of_samples": count}).met is exact


@given(st.integers(1, 2000), st.sampled_from([">", ">="]), st.lists(st.integers(0, 3000), min_size=2, max_size=5))
def test_the_more_labels_the_more_progress_and_met_at_its_end(
    threshold: int, sign: Operator, counts: list[int]
) -> None:
    wanted = Condition(metric="num_of_samples", operator=sign, threshold=threshold)
    verdicts = [evaluate(wanted, {"num_of_samples": count}) for count in sorted(counts)]
    shares = [verdict.progress for verdict in verdicts]
    assert shares == sorted(shares, key=float)  # type: ignore[arg-type]
    assert all((verdict.progress == 1.0) == bool(verdict) for verdict in verdicts)


@pytest.mark.parametrize(
    ("text", "elapsed", "met", "progress", "sentence"),
    [
        ("days_since_training >= 14", 9.04, False, 9.04 / 14, "9 of 14 days since the last training"),
        ("days_since_training >= 14", 13.999, False, 13.999 / 14, "13.9 of 14 days since the last training"),
        ("days_since_training >= 14", 14.0, True, 1.0, "14 of 14 days since the last training"),
        ("hours_since_training > 12", 12.0, False, 1.0, "12 of more than 12 hours since the last training"),
        ("hours_since_training > 0", 0.0, False, 1.0, "0 of more than 0 hours since the last training"),
        ("hours_since_training < 2", 1.26, True, 1.0, "1.2 hours since the last training, the condition is < 2"),
        ("hours_since_training >= 12", math.inf, True, 1.0, "no training has finished yet"),
        (
            "hours_since_training < 2",
            math.inf,
            False,
            None,
            "no training has finished yet, but hours_since_training < 2 is asked for",
        ),
    ],
)
def test_time_is_told_rounded_down_and_infinite_before_the_first_training(
    text: str, elapsed: float, met: bool, progress: float | None, sentence: str
) -> None:
    wanted = condition(text)
    assert evaluate(wanted, {wanted.metric: elapsed}) == Verdict(met, sentence, progress=progress)


@given(measures, st.lists(measures, min_size=3, max_size=3), st.sampled_from(sorted(EXACT)))
def test_an_estimate_is_decided_only_if_its_whole_interval_answers_the_same(
    threshold: float, ends: list[float], sign: Any
) -> None:
    low, value, high = sorted(ends)
    wanted = Condition(metric="precision", operator=sign, threshold=threshold)
    met = evaluate(wanted, {"precision": Estimate(value, low, high, 34)}).met
    within = {EXACT[sign](low + share * (high - low), threshold) for share in (0, 0.25, 0.5, 0.75)}
    within.add(EXACT[sign](high, threshold))
    assert met is (within.pop() if len(within) == 1 else None)


@given(measures, st.integers(0, 3), st.integers(0, 3))
def test_an_interval_around_a_number_neither_is_it_nor_differs_from_it(value: float, below: int, above: int) -> None:
    estimate = Estimate(value, value - below / 100, value + above / 100, 34)
    same = evaluate(Condition(metric="f1", operator="==", threshold=value), {"f1": estimate}).met
    other = evaluate(Condition(metric="f1", operator="!=", threshold=value), {"f1": estimate}).met
    assert same is (True if below == above == 0 else None)
    assert other is (False if below == above == 0 else None)
    far = evaluate(Condition(metric="f1", operator="==", threshold=value + 0.5), {"f1": estimate}).met
    assert far is False


@given(measures, measures, measures, measures, st.sampled_from(sorted(EXACT)))
def test_a_wider_interval_never_decides_what_a_narrower_did_not(
    low: float, high: float, more: float, threshold: float, sign: Any
) -> None:
    low, high = sorted((low, high))
    wanted = Condition(metric="precision", operator=sign, threshold=threshold)
    narrow = evaluate(wanted, {"precision": Estimate(low, low, high, 5)}).met
    wide = evaluate(wanted, {"precision": Estimate(low, low - more, high + more, 5)}).met
    assert wide is None or wide is narrow


@pytest.mark.parametrize(
    ("estimate", "met", "sentence"),
    [
        (
            Estimate(0.78, 0.7, 0.85, 34),
            None,
            "precision is 0.78, 95 % interval 0.70 to 0.85 from 34 images, which does not tell whether it is < 0.8",
        ),
        (Estimate(0.7, 0.65, 0.75, 90), True, "precision is 0.7, 95 % interval 0.65 to 0.75 from 90 images (< 0.8)"),
        (
            Estimate(0.9, 0.8, 0.95, 90),
            False,
            "precision is 0.9, 95 % interval 0.80 to 0.95 from 90 images, but must be < 0.8",
        ),
    ],
)
def test_an_estimate_is_told_with_its_interval(estimate: Estimate, met: bool | None, sentence: str) -> None:
    verdict = evaluate(condition("precision < 0.8"), {"precision": estimate})
    assert (verdict.met, verdict.sentence) == (met, sentence)


def test_a_drop_since_the_promotion_is_an_estimate_as_well() -> None:
    production, promoted_with = {"f1": Estimate(0.7, 0.66, 0.74, 120)}, {"f1": 0.82}
    assert evaluate(condition("f1_delta < -0.05"), production, promoted_with).met is True
    assert evaluate(condition("f1_delta < -0.1"), production, promoted_with).met is None
    assert evaluate(condition("f1_delta < -0.2"), production, promoted_with).met is False
    assert evaluate(condition("f1_delta < -0.05"), production, {}).met is None


def test_the_difference_of_two_estimates_may_be_as_far_as_their_ends() -> None:
    one, other = {"f1": Estimate(0.7, 0.66, 0.74, 120)}, {"f1": Estimate(0.6, 0.55, 0.62, 80)}
    assert evaluate(condition("f1_delta > 0.03"), one, other).met is True
    assert [evaluate(condition(f"f1_delta > {least}"), one, other).met for least in (0.05, 0.18)] == [None, None]
    assert evaluate(condition("f1_delta > 0.2"), one, other).met is False


def test_an_estimate_that_is_not_finite_decides_nothing() -> None:
    verdict = evaluate(condition("precision < 0.8"), {"precision": Estimate(0.5, math.nan, 0.6, 1)})
    assert verdict.met is None
    assert "nan" in verdict.sentence


def test_why_something_was_not_measured_can_be_said() -> None:
    verdict = evaluate(condition("precision < 0.8"), {"num_of_samples": 3}, absent="nothing serves yet")
    assert (verdict.met, verdict.sentence) == (None, "precision < 0.8 cannot be decided: nothing serves yet")


BOTH = ["open", "short"]


@pytest.mark.parametrize(
    ("text", "metrics", "met", "progress", "sentence"),
    [
        (
            "num_of_samples[*] >= 10",
            {"num_of_samples[open]": 3, "num_of_samples[short]": 12},
            False,
            0.3,
            "3 of 10 labels with open",
        ),
        (
            "num_of_samples[*] >= 10",
            {"num_of_samples[open]": 3, "num_of_samples[short]": 2},
            False,
            0.2,
            "3 of 10 labels with open and 2 of 10 labels with short",
        ),
        (
            "num_of_samples[*] >= 10",
            {"num_of_samples[open]": 10, "num_of_samples[short]": 12},
            True,
            1.0,
            "num_of_samples >= 10 in every class",
        ),
        ("num_of_samples[*] >= 10", {"num_of_samples[open]": 3}, False, None, "3 of 10 labels with open"),
        ("ap[*] >= 0.5", {"ap[open]": 0.5, "ap[short]": 0.6}, True, 1.0, "ap >= 0.5 in every class"),
        (
            "ap[*] >= 0.5",
            {"ap[open]": 0.41, "ap[short]": 0.6},
            False,
            None,
            "ap must be >= 0.5 in every class, but is 0.41 in open",
        ),
        ("ap[*] >= 0.5", {"ap": {"open": 0.41}}, False, None, "ap must be >= 0.5 in every class, but is 0.41 in open"),
        (
            "ap[*] >= 0.5",
            {"ap[open]": 0.9},
            None,
            None,
            "ap[*] >= 0.5 cannot be decided for short: what was measured has no ap[short]; it has ap[open]",
        ),
    ],
)
def test_a_star_asks_for_each_class_and_names_those_that_fail(
    text: str, metrics: Any, met: bool | None, progress: float | None, sentence: str
) -> None:
    assert evaluate(condition(text), metrics, classes=BOTH) == Verdict(met, sentence, progress=progress)


def test_a_star_compares_each_class_with_the_served_model() -> None:
    candidate, served = {"ap": {"open": 0.8, "short": 0.7}}, {"ap": {"open": 0.82, "short": 0.8}}
    verdict = evaluate(condition("ap[*]_delta >= -0.05"), candidate, served, BOTH)
    assert verdict.met is False
    assert verdict.sentence == "ap_delta must be >= -0.05 in every class, but is -0.1 in short"


def test_a_star_without_a_class_decides_nothing() -> None:
    assert evaluate(condition("ap[*] >= 0.5"), {"ap[open]": 1.0}).met is None


@given(st.lists(st.sampled_from([True, False, None]), min_size=1, max_size=4))
def test_a_star_is_decided_as_all_of_its_classes(answers: list[bool | None]) -> None:
    values: dict[bool | None, Any] = {True: 0.9, False: 0.1, None: Estimate(0.5, 0.4, 0.6, 9)}
    classes = [f"class {number}" for number in range(len(answers))]
    metrics = {f"ap[{name}]": values[answer] for name, answer in zip(classes, answers, strict=True)}
    verdict = evaluate(condition("ap[*] >= 0.5"), metrics, classes=classes)
    assert verdict.met is (False if False in answers else None if None in answers else True)
    blamed = [name for name, answer in zip(classes, answers, strict=True) if answer is verdict.met]
    assert verdict.met is True or all(name in verdict.sentence for name in blamed)


@pytest.mark.parametrize(
    ("text", "metrics", "served", "sentence"),
    [
        ("ap > 0.85", {"ap": 0.87}, None, "ap is 0.87 (> 0.85)"),
        ("ap > 0.85", {"ap": 0.81}, None, "ap is 0.81, but must be > 0.85"),
        ("ap_delta > 0", {"ap": 0.86}, {"ap": 0.85}, "ap_delta is 0.01, 0.86 against 0.85 (> 0)"),
        ("ap > 0.1", {"ap": 0.1}, None, "ap is 0.1, but must be > 0.1"),
        ("ap > 0.1", {"ap": 0.10000000000001}, None, "ap is 0.10000000000001 (> 0.1)"),
    ],
)
def test_every_answer_is_a_sentence(text: str, metrics: Any, served: Any, sentence: str) -> None:
    assert evaluate(condition(text), metrics, served).sentence == sentence


def test_a_verdict_is_true_only_when_it_holds() -> None:
    assert Verdict(True, "")
    assert not Verdict(False, "")
    assert not Verdict(None, "")
