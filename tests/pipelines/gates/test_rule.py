"""What a rule is written as."""

from __future__ import annotations

import pytest

from pipelines.gates.rule import Condition, Metric


@pytest.mark.parametrize(("word", "operator"), [("gt", ">"), ("ge", ">="), ("lt", "<"), ("le", "<="), ("eq", "==")])
def test_the_predecessors_words_for_operators_are_understood(word: str, operator: str) -> None:
    assert Condition(metric="precision_delta", operator=word, threshold=0.1).operator == operator  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("text", "metric"),
    [
        ("num_of_samples", Metric("num_of_samples", None, False)),
        ("num_of_samples[*]", Metric("num_of_samples", "*", False)),
        ("precision[open]", Metric("precision", "open", False)),
        ("ap[pin-hole]_delta", Metric("ap", "pin-hole", True)),
        ("ap_delta[pin-hole]", Metric("ap", "pin-hole", True)),
        ("f1_delta", Metric("f1", None, True)),
        ("delta", Metric("delta", None, False)),
    ],
)
def test_metrics_are_of_the_job_or_of_a_class_or_a_difference(text: str, metric: Metric) -> None:
    assert Condition(metric=text, operator=">", threshold=0).asked == metric
