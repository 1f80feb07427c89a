"""The choice of what people are asked about, against its laws."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping, Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from data.ledger import Look
from data.sample import Box, Prediction, Split
from pipelines.informative import ALIKE, Surroundings
from pipelines.job import DatasetSpecification, EstimatorSpecification, HardExampleMining, Job
from pipelines.mine import Choice
from pipelines.mine import choose as choose_among
from pipelines.miners import MiningRefused


def prediction(scores: Sequence[float | None], name: str = "board") -> Prediction:
    sample_id = hashlib.sha256(name.encode()).hexdigest()
    return Prediction(sample_id, "v1", tuple(Box(0, 0, 10, 10, "open", score) for score in scores))


def job(train_prob: float = 0.8, **mining: Any) -> Job:
    return Job(
        name="boards",
        classes=["open"],
        dataset=DatasetSpecification(train_prob=train_prob),
        estimator=EstimatorSpecification(name="FPN"),
        hard_example_mining=HardExampleMining(**{"name": "IBT", **mining}),
    )


def choose_on_sides(
    job: Job, predictions: Sequence[Prediction], splits: Mapping[str, Split], already_waiting: int = 0, **options: Any
) -> list[Choice]:
    """The choice among images of one domain that look nothing like each other."""
    looks = {each.sample_id: Look(each.sample_id, "line", int(each.sample_id[:16], 16)) for each in predictions}
    return choose_among(job, predictions, splits, Surroundings(looks), already_waiting, **options)


def choose(job: Job, predictions: Sequence[Prediction], already_waiting: int = 0, **options: Any) -> list[Choice]:
    """The choice where nothing is held out."""
    splits: Mapping[str, Split] = {prediction.sample_id: "train" for prediction in predictions}
    return choose_on_sides(job, predictions, splits, already_waiting, **options)


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
    assert len(drawn) == 200
    assert sum(choice.hardness < 0.5 for choice in drawn) == pytest.approx(100, abs=30)
    assert {choice.probability for choice in drawn} == {0.1}
    assert {choice.probability for choice in choices if choice.reason == "IBT"} == {1.0}
    choices = choose(job(random_share=0.1, budget=100), easy + hard)
    drawn = [choice for choice in choices if choice.reason == "random"]
    assert len(drawn) == 10
    assert {choice.probability for choice in drawn} == {10 / 2000}
    assert sum(choice.chosen for choice in choices) == 100


def sides(
    held_out: int, to_train: int, name: str = "", score: float = 0.1
) -> tuple[list[Prediction], dict[str, Split]]:
    """Predictions of so many images on each side, all hard, and their sides."""
    boards = [prediction([score], f"{name} {number}") for number in range(held_out + to_train)]
    return boards, {board.sample_id: "holdout" if n < held_out else "train" for n, board in enumerate(boards)}


@pytest.mark.parametrize(
    ("held_out", "to_train", "places", "drawn"),
    [
        (100, 400, 100, (20, 8, 72)),
        (5, 400, 100, (5, 10, 85)),  # 10 are 0.1 of 95, one more or less by lot
        (100, 10, 100, (90, 1, 9)),
        (100, 0, 30, (30, 0, 0)),
        (0, 100, 50, (0, 5, 45)),
        (20, 80, 200, (20, 8, 72)),
        (100, 400, 0, (0, 0, 0)),
    ],
)
def test_each_side_gets_its_places_and_those_that_the_other_has_no_image_for(
    held_out: int, to_train: int, places: int, drawn: tuple[int, int, int]
) -> None:
    boards, splits = sides(held_out, to_train)
    chosen = [c for c in choose_on_sides(job(random_share=0.1, budget=200), boards, splits, 200 - places) if c.chosen]
    counted = (
        sum(splits[c.sample_id] == "holdout" for c in chosen),
        sum(splits[c.sample_id] == "train" and c.reason == "random" for c in chosen),
        sum(c.reason == "IBT" for c in chosen),
    )
    assert counted == pytest.approx(drawn, abs=1 if held_out == 5 else 0)
    assert {c.reason for c in chosen if splits[c.sample_id] == "holdout"} <= {"random"}


def test_what_is_held_out_and_not_drawn_says_so() -> None:
    boards, splits = sides(10, 10)
    choices = choose_on_sides(job(budget=1), boards, splits, already_waiting=1)
    assert {choice.reason for choice in choices if splits[choice.sample_id] == "holdout"} == {"held out"}
    assert {choice.reason for choice in choices if splits[choice.sample_id] == "train"} == {"beyond the budget"}


@pytest.mark.parametrize(
    ("held_out", "to_train", "budget", "share"),
    [(2, 5, 3, 0.3), (1, 4, 1, 0.5), (3, 3, 4, 0.2), (1, 1, 2, 0.5), (4, 0, 3, 0.1), (2, 2, 1, 1.0)],
)
def test_the_probability_of_each_image_is_how_often_it_is_drawn(
    held_out: int, to_train: int, budget: int, share: float
) -> None:
    trials = 1500
    often: dict[Split, int] = {"holdout": 0, "train": 0}
    probability: dict[Split, set[float]] = {"holdout": set(), "train": set()}
    for trial in range(trials):
        boards, splits = sides(held_out, to_train, f"trial {trial}")
        for choice in choose_on_sides(job(random_share=share, budget=budget, name="EdgeOnly"), boards, splits):
            often[splits[choice.sample_id]] += choice.reason == "random"
            probability[splits[choice.sample_id]].add(choice.probability)
    counts: dict[Split, int] = {"holdout": held_out, "train": to_train}
    for split, count in counts.items():
        if count:
            (stored,) = probability[split]
            tolerance = 4 * math.sqrt(stored * (1 - stored) / trials)
            assert often[split] / (trials * count) == pytest.approx(stored, abs=tolerance + 1e-12)


def test_both_sides_get_their_share_when_there_is_a_place_at_a_time() -> None:
    gone = {"holdout": 0, "hard": 0}
    for trial in range(1000):
        boards, splits = sides(10, 40, f"trial {trial}")
        (chosen,) = [c for c in choose_on_sides(job(random_share=0.0, budget=1), boards, splits) if c.chosen]
        gone["holdout" if splits[chosen.sample_id] == "holdout" else "hard"] += 1
    assert gone["holdout"] == pytest.approx(200, abs=50)


@given(
    st.lists(st.lists(st.floats(0, 1), max_size=5), min_size=1, max_size=30),
    st.integers(0, 30),
    st.integers(0, 40),
    st.randoms(),
)
def test_what_is_found_never_changes_which_images_are_drawn(
    found: list[list[float]], held_out: int, budget: int, random: Any
) -> None:
    spec = job(random_share=0.3, budget=max(1, budget))

    def drawn() -> list[tuple[str, float]]:
        boards = [prediction(scores, str(number)) for number, scores in enumerate(found)]
        splits: dict[str, Split] = {b.sample_id: "holdout" if n < held_out else "train" for n, b in enumerate(boards)}
        choices = choose_on_sides(spec, boards, splits)
        assert all(
            choice.reason == "random" for choice in choices if choice.chosen and splits[choice.sample_id] == "holdout"
        )
        return sorted((choice.sample_id, choice.probability) for choice in choices if choice.reason == "random")

    before = drawn()
    random.shuffle(found)
    assert drawn() == before


boards = st.lists(st.lists(st.floats(0, 1), max_size=5), max_size=30).map(
    lambda many: [prediction(list(scores), str(number)) for number, scores in enumerate(many)]
)
minings = st.builds(
    HardExampleMining,
    name=st.sampled_from(["Threshold", "CrossEntropy", "IBT", "Random", "CloudOnly", "EdgeOnly", "Informative"]),
    mine_empty=st.booleans(),
    random_share=st.floats(0, 1),
    budget=st.integers(1, 40),
)


@given(boards, minings, st.integers(0, 45), st.floats(0.01, 0.99), st.integers(0, 30), st.randoms())
def test_a_choice_keeps_its_laws(
    boards: list[Prediction], mining: HardExampleMining, waiting: int, train_prob: float, held_out: int, random: Any
) -> None:
    spec = job(train_prob).model_copy(update={"hard_example_mining": mining})
    splits: dict[str, Split] = {b.sample_id: "holdout" if n < held_out else "train" for n, b in enumerate(boards)}
    choices = choose_on_sides(spec, boards, splits, waiting)
    assert sorted(choice.sample_id for choice in choices) == sorted(board.sample_id for board in boards)
    assert all(0 <= choice.hardness <= 1 and 0 <= choice.probability <= 1 for choice in choices)
    lots = [choice for choice in choices if choice.reason == "random"]
    rest = [choice.hardness for choice in choices if choice.reason != "random"]
    assert choices[: len(lots)] == lots
    assert rest == sorted(rest, reverse=True)
    assert all(choice.probability > 0 for choice in lots)
    chosen = [choice for choice in choices if choice.chosen]
    assert len(chosen) <= max(0, mining.budget - waiting)
    mined = [choice.hardness for choice in chosen if choice.reason != "random"]
    beyond = [choice.hardness for choice in choices if choice.reason == "beyond the budget"]
    assert not mined or not beyond or min(mined) >= max(beyond)
    assert not beyond or len(chosen) == max(0, mining.budget - waiting)
    shuffled = list(boards)
    random.shuffle(shuffled)
    assert choose_on_sides(spec, shuffled, splits, waiting) == choices


@st.composite
def scenes(draw: Any) -> tuple[list[Prediction], Surroundings]:
    """Images of two lines that show few things, some of which people were asked about; what looks alike is the same."""
    names = [f"{kind} {number}" for kind in ("new", "asked") for number in range(draw(st.integers(0, 14)))]
    looks = {}
    for name in names:
        sample_id = hashlib.sha256(name.encode()).hexdigest()
        # Eight things whose hashes differ in 16 bits or more; a frame of one differs from the others in up to 6 bits.
        thing = sum(0xFF << 8 * place for place in range(8) if draw(st.integers(0, 7)) >> place % 3 & 1)
        blur = sum(1 << bit for bit in draw(st.sets(st.integers(0, 63), max_size=3)))
        looks[name] = Look(sample_id, draw(st.sampled_from(["line", "other"])), thing ^ blur)
    box = st.builds(Box, st.just(0), st.just(0), st.just(9), st.just(9), st.sampled_from(["a", "b"]), st.floats(0, 1))
    predictions = [
        Prediction(looks[name].sample_id, "v1", tuple(draw(st.lists(box, max_size=4))))
        for name in names
        if "new" in name
    ]
    surroundings = Surroundings(
        looks={looks[name].sample_id: looks[name] for name in names if "new" in name},
        asked=[looks[name] for name in names if "asked" in name],
        support={"a": draw(st.integers(0, 100))},
        same_frame=lambda _first, _second: True,
    )
    return predictions, surroundings


def near(first: Look, second: Look) -> bool:
    return first.domain == second.domain and (first.difference_hash ^ second.difference_hash).bit_count() <= ALIKE


@given(scenes(), st.integers(1, 12), st.integers(0, 14), st.floats(0, 1), st.randoms())
def test_no_near_duplicate_is_asked_about_and_the_lots_stay_as_they_are(
    scene: tuple[list[Prediction], Surroundings], budget: int, held_out: int, share: float, random: Any
) -> None:
    predictions, surroundings = scene
    splits: dict[str, Split] = {p.sample_id: "holdout" if n < held_out else "train" for n, p in enumerate(predictions)}
    mining: dict[str, Any] = {"budget": budget, "random_share": share}
    choices = choose_among(job(name="Informative", **mining), predictions, splits, surroundings)

    assert sum(choice.chosen for choice in choices) <= budget
    drawn = [choice.sample_id for choice in choices if choice.reason == "random"]
    blind = choose_among(job(name="EdgeOnly", **mining), predictions, splits, surroundings)
    assert sorted(drawn) == sorted(choice.sample_id for choice in blind if choice.chosen)

    mined = [choice.sample_id for choice in choices if choice.chosen and choice.reason != "random"]
    assert all(splits[sample_id] == "train" for sample_id in mined)
    met = [*surroundings.asked, *(surroundings.looks[sample_id] for sample_id in drawn)]
    for sample_id in mined:
        look = surroundings.looks[sample_id]
        assert not any(near(look, other) for other in met)
        met.append(look)
    for choice in choices:
        if choice.reason == "near-duplicate":
            assert any(near(surroundings.looks[choice.sample_id], other) for other in met)
            assert choice.hardness == 0

    shuffled = list(predictions)
    random.shuffle(shuffled)
    assert choose_among(job(name="Informative", **mining), shuffled, splits, surroundings) == choices


def test_what_is_certain_is_not_worth_asking_about() -> None:
    sure, doubtful = prediction([0.999, 0.001], "sure"), prediction([0.5], "doubtful")
    choices = choose(job(name="Informative", random_share=0), [sure, doubtful])
    assert [(choice.sample_id, choice.reason) for choice in choices] == [
        (doubtful.sample_id, "Informative"),
        (sure.sample_id, "not hard"),
    ]


def test_nothing_found_is_one_doubt_among_others_and_none_if_the_job_says_so() -> None:
    boards = [prediction([], "empty"), prediction([0.5, 0.6], "doubtful"), prediction([0.95], "rather sure")]
    choices = choose(job(name="Informative", random_share=0), boards)
    assert [choice.reason for choice in choices] == ["Informative", "nothing found", "Informative"]
    choices = choose(job(name="Informative", random_share=0, mine_empty=False), boards)
    assert {choice.sample_id: choice.reason for choice in choices}[boards[0].sample_id] == "not hard"
