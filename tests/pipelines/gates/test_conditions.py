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

from pipelines.gates.conditions import Verdict, evaluate
from pipelines.job import OPERATOR_WORDS, Condition

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
    assert first == Verdict(True, "nothing serves yet, so there is nothing to be better than")
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
    ("text", "count", "met", "sentence"),
    [
        ("num_of_samples >= 500", 312, False, "312 of 500 labels"),
        ("num_of_samples >= 500", 500, True, "500 of 500 labels"),
        ("num_of_samples > 500", 500, False, "500 of 501 labels"),
        ("num_of_samples > 500", 501, True, "501 of 501 labels"),
        ("num_of_samples >= 1.5", 1, False, "1 of 2 labels"),
        ("num_of_samples < 500", 312, True, "312 labels, the condition is < 500"),
    ],
)
def test_samples_are_counted_in_words(text: str, count: int, met: bool, sentence: str) -> None:
    assert evaluate(condition(text), {"num_of_samples": count}) == Verdict(met, sentence)


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
