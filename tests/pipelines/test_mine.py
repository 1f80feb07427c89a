"""The miners against their formulas, and the choice against its laws."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from data.sample import Box, Prediction
from pipelines.job import EstimatorSpecification, HardExampleMining, Job
from pipelines.mine import CrossEntropy, MiningRefused, choose, confidence, create_miner, draw


def prediction(scores: Sequence[float | None], name: str = "board") -> Prediction:
    sample_id = hashlib.sha256(name.encode()).hexdigest()
    return Prediction(sample_id, "v1", tuple(Box(0, 0, 10, 10, "open", score) for score in scores))


def job(**mining: Any) -> Job:
    return Job(
        name="boards",
        classes=["open"],
        estimator=EstimatorSpecification(name="FPN"),
        hard_example_mining=HardExampleMining(**mining),
    )


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


@pytest.mark.parametrize("name", ["Threshold", "CrossEntropy", "IBT"])
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
    with pytest.raises(MiningRefused, match=r"'Entropy'; the miners are CloudOnly, CrossEntropy, EdgeOnly, IBT, "):
        choose(job(name="Entropy"), [])


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


def test_impossible_predictions_are_refused_together() -> None:
    board = prediction([0.2, 1.2, None, math.nan])
    with pytest.raises(MiningRefused) as refusal:
        choose(job(), [board, prediction([])])
    problems = refusal.value.problems
    assert len(problems) == 4
    assert "box 2: its score is 1.2; a predicted box has one in [0, 1]" in problems[0]
    assert "comes twice" in problems[3]


def test_an_image_where_nothing_was_found_comes_first_unless_the_job_says_otherwise() -> None:
    empty, doubtful, sure = prediction([], "a"), prediction([0.3, 0.9], "b"), prediction([0.99], "c")
    choices = choose(job(random_share=0), [sure, doubtful, empty])
    assert [(choice.sample_id, choice.chosen, choice.reason) for choice in choices] == [
        (empty.sample_id, True, "nothing found"),
        (doubtful.sample_id, True, "IBT"),
        (sure.sample_id, False, "not hard"),
    ]
    assert [choice.hardness for choice in choices] == [1.0, 0.5, 0.0]
    choices = choose(job(random_share=0, mine_empty=False), [sure, doubtful, empty])
    assert {choice.sample_id for choice in choices if choice.chosen} == {doubtful.sample_id}


def test_mine_empty_does_not_overrule_a_miner_that_needs_no_boxes() -> None:
    empty = prediction([])
    assert not any(choice.chosen for choice in choose(job(name="EdgeOnly", random_share=0), [empty]))


def test_boxes_below_the_minimum_score_do_not_count_as_found() -> None:
    noise = prediction([0.06, 0.07])
    (choice,) = choose(job(random_share=0), [noise], minimum_score=0.2)
    assert choice.reason == "nothing found"


def test_the_hardest_fit_the_budget_that_is_left() -> None:
    boards = [prediction([score / 100], str(score)) for score in range(50)]
    choices = choose(job(name="Threshold", random_share=0, budget=10), boards, already_waiting=4)
    assert [choice.chosen for choice in choices] == [True] * 6 + [False] * 44
    assert {choice.reason for choice in choices[6:]} == {"beyond the budget"}
    assert [choice.sample_id for choice in choices[:6]] == [board.sample_id for board in boards[:6]]
    assert not any(choice.chosen for choice in choose(job(budget=3), boards, already_waiting=5))


def test_the_random_share_is_drawn_whatever_the_hardness_and_leaves_room() -> None:
    easy = [prediction([0.99], f"easy {number}") for number in range(1000)]
    hard = [prediction([0.1], f"hard {number}") for number in range(1000)]
    choices = choose(job(random_share=0.1, budget=2000), easy + hard)
    drawn = [choice for choice in choices if choice.reason == "random"]
    assert len(drawn) == pytest.approx(200, abs=40)
    assert sum(choice.hardness < 0.5 for choice in drawn) == pytest.approx(100, abs=30)
    assert {choice.probability for choice in drawn} == {0.1}
    assert {choice.probability for choice in choices if choice.reason == "IBT"} == {1.0}
    choices = choose(job(random_share=0.1, budget=100), easy + hard)
    drawn = [choice for choice in choices if choice.reason == "random"]
    assert len(drawn) == 10
    assert {choice.probability for choice in drawn} == {10 / 2000}
    assert sum(choice.chosen for choice in choices) == 100


boards = st.lists(st.lists(st.floats(0, 1), max_size=5), max_size=30).map(
    lambda many: [prediction(list(scores), str(number)) for number, scores in enumerate(many)]
)
minings = st.builds(
    HardExampleMining,
    name=st.sampled_from(["Threshold", "CrossEntropy", "IBT", "Random", "CloudOnly", "EdgeOnly"]),
    mine_empty=st.booleans(),
    random_share=st.floats(0, 1),
    budget=st.integers(1, 40),
)


@given(boards, minings, st.integers(0, 45), st.randoms())
def test_a_choice_keeps_its_laws(
    boards: list[Prediction], mining: HardExampleMining, waiting: int, random: Any
) -> None:
    spec = job().model_copy(update={"hard_example_mining": mining})
    choices = choose(spec, boards, waiting)
    assert sorted(choice.sample_id for choice in choices) == sorted(board.sample_id for board in boards)
    assert all(0 <= choice.hardness <= 1 and 0 <= choice.probability <= 1 for choice in choices)
    assert [choice.hardness for choice in choices] == sorted((c.hardness for c in choices), reverse=True)
    chosen = [choice for choice in choices if choice.chosen]
    assert len(chosen) <= max(0, mining.budget - waiting)
    mined = [choice.hardness for choice in chosen if choice.reason != "random"]
    beyond = [choice.hardness for choice in choices if choice.reason == "beyond the budget"]
    assert not mined or not beyond or min(mined) >= max(beyond)
    assert not beyond or len(chosen) == max(0, mining.budget - waiting)
    shuffled = list(boards)
    random.shuffle(shuffled)
    assert choose(spec, shuffled, waiting) == choices


@given(st.text(), st.text())
def test_a_draw_is_repeatable_and_between_0_and_1(sample_id: str, purpose: str) -> None:
    assert 0 <= draw(sample_id, purpose) < 1
    assert draw(sample_id, purpose) == draw(sample_id, purpose)
