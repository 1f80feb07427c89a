"""The choice of what people are asked about, against its laws."""

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
from pipelines.mine import choose
from pipelines.miners import MiningRefused


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
