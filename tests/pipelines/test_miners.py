"""The miners against their formulas."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from data.sample import Box, Prediction
from pipelines.miners import CrossEntropy, MiningRefused, confidence, create_miner, draw


def prediction(scores: Sequence[float | None], name: str = "board") -> Prediction:
    sample_id = hashlib.sha256(name.encode()).hexdigest()
    return Prediction(sample_id, "v1", tuple(Box(0, 0, 10, 10, "open", score) for score in scores))


@pytest.mark.parametrize(
    ("name", "parameters", "scores", "hard", "hardness"),
    [
        ("Threshold", {}, [0.4, 0.5], True, 0.55),
        ("Threshold", {}, [0.5, 0.5], False, 0.5),
        ("Threshold", {"threshold": 0.9}, [0.8], True, 0.2),
        ("Threshold", {"threshold": "0.9"}, [0.8], True, 0.2),
        ("Threshold", {}, [0.0], True, 1.0),
        ("CrossEntropy", {}, [0.5], True, 1.0),
        ("CrossEntropy", {}, [0.0], False, 0.0),
        ("CrossEntropy", {}, [1.0], False, 0.0),
        ("CrossEntropy", {}, [0.9], False, 0.46899559358928133),
        ("CrossEntropy", {}, [0.8], True, 0.7219280948873623),
        ("CrossEntropy", {"threshold_cross_entropy": 0.2}, [0.8], False, 0.7219280948873623),
        ("CrossEntropy", {}, [0.5, 1.0], False, 0.5),
        ("IBT", {}, [0.5, 0.6], True, 0.5),
        ("IBT", {}, [0.5, 0.6, 0.7], False, 1 / 3),
        ("IBT", {"threshold_img": 0.9, "threshold_box": 0.9}, [0.9] + [0.95] * 9, True, 0.1),
        ("IBT", {"threshold_img": 0.9, "threshold_box": 0.9}, [0.9] + [0.95] * 10, False, 1 / 11),
        ("IBT", {"threshold_img": 0.7}, [0.1] * 3 + [0.9] * 7, True, 0.3),
        ("IBT", {"threshold_img": 1}, [0.9], True, 0.0),
        ("IBT", {"threshold_img": 0}, [0.1, 0.9], False, 0.5),
        ("Informative", {}, [0.5], True, 1 / 3),
        ("Informative", {}, [0.5, 0.5], True, 1 / 2),
        ("Informative", {}, [0.5, 1.0, 0.0], True, 1 / 3),
        ("Informative", {}, [0.25, 0.75], True, 0.8112781244591328 / 1.8112781244591328),
        ("Informative", {}, [1.0], False, 0.0),
        ("Informative", {"threshold": 0.4}, [0.5], False, 1 / 3),
        ("CloudOnly", {}, [], True, 1.0),
        ("EdgeOnly", {}, [], False, 0.0),
    ],
)
def test_a_miner_follows_its_formula(
    name: str, parameters: dict[str, Any], scores: list[float], hard: bool, hardness: float
) -> None:
    judgement = create_miner(name, parameters).judge(prediction(scores))
    assert judgement is not None
    assert judgement.hard is hard
    assert judgement.hardness == pytest.approx(hardness, abs=1e-12)


@pytest.mark.parametrize("name", ["Threshold", "CrossEntropy", "IBT", "Informative"])
def test_a_miner_has_no_verdict_where_nothing_was_found(name: str) -> None:
    assert create_miner(name, {}).judge(prediction([])) is None


@pytest.mark.parametrize(
    ("probabilities", "expected"),
    [
        ([1.0], 1.0),
        ([0.0, 1.0], 1.0),
        ([0.25] * 4, 0.0),
        ([0.5, 0.5, 0.0, 0.0], 0.5),
        ([0.7, 0.2, 0.1], 1 + (0.7 * math.log(0.7) + 0.2 * math.log(0.2) + 0.1 * math.log(0.1)) / math.log(3)),
    ],
)
def test_confidence_is_one_minus_normalised_entropy(probabilities: list[float], expected: float) -> None:
    assert confidence(probabilities) == pytest.approx(expected)
    assert CrossEntropy(0.6).judge_probabilities(probabilities).hard is (expected < 0.6)


@pytest.mark.parametrize("probabilities", [[], [0.4], [0.5, 0.6], [1.2, -0.2], [math.nan, 1.0]])
def test_what_is_no_probability_is_refused(probabilities: list[float]) -> None:
    with pytest.raises(ValueError, match="no class probabilities"):
        confidence(probabilities)


@given(st.lists(st.floats(0, 1), min_size=1, max_size=8).filter(lambda values: sum(values) > 1e-3))
def test_confidence_lies_between_0_and_1(values: list[float]) -> None:
    assert 0 <= confidence([value / sum(values) for value in values]) <= 1


def test_random_is_decided_by_hash_and_seed() -> None:
    boards = [prediction([], str(number)) for number in range(2000)]
    first, again, other = (create_miner("Random", {"seed": seed}) for seed in (1, "1", 2))
    verdicts = [first.judge(board) for board in boards]
    assert verdicts == [again.judge(board) for board in boards]
    assert verdicts != [other.judge(board) for board in boards]
    assert sum(verdict.hard for verdict in verdicts if verdict) / 2000 == pytest.approx(0.3, abs=0.03)
    assert {verdict.probability for verdict in verdicts if verdict} == {0.3}


def test_an_unknown_miner_is_refused_with_those_there_are() -> None:
    with pytest.raises(
        MiningRefused, match=r"'Entropy'; the miners are CloudOnly, CrossEntropy, EdgeOnly, IBT, Informative, "
    ):
        create_miner("Entropy", {})


def test_every_problem_of_the_parameters_is_named() -> None:
    with pytest.raises(MiningRefused) as refusal:
        create_miner("IBT", {"threshold_image": 0.5, "threshold_box": "high", "threshold_img": 1.5})
    assert refusal.value.problems == [
        "IBT has no parameter 'threshold_image'; its parameters are threshold_img, threshold_box",
        "IBT's threshold_box is 'high'; it must be a number",
        "IBT's threshold_img is 1.5; it must be between 0 and 1",
    ]
    with pytest.raises(MiningRefused, match="CloudOnly has no parameter 'x'; its parameters are none"):
        create_miner("CloudOnly", {"x": 1})
    with pytest.raises(MiningRefused, match="threshold is nan"):
        create_miner("Threshold", {"threshold": math.nan})


@given(st.text(), st.text())
def test_a_draw_is_repeatable_and_between_0_and_1(sample_id: str, purpose: str) -> None:
    assert 0 <= draw(sample_id, purpose) < 1
    assert draw(sample_id, purpose) == draw(sample_id, purpose)
