"""Mixtures are as good as they should be, and made of what the models truly found."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path

import numpy as np
import pytest

from benchmarks.mixtures import CLOSE_ENOUGH, MIRRORED, MODELS, Candidates, Population, predict_all, read_reports
from benchmarks.mixtures import real_boards as boards_of
from data.boards import LABELS
from data.sample import Box
from models.metrics import EvaluationReport, evaluate
from models.paired import PairedDelta, Results

QUALITY = (0.8, 0.86, 0.92)


def found_by(model: int, boards: int) -> tuple[dict[str, list[Box]], dict[str, list[Box]]]:
    """True boxes, and what a made-up model finds, of so many boards and their mirror images."""
    truth, found = {}, {}
    for number in range(boards):
        for name in (f"board {number}", f"board {number}{MIRRORED}"):
            random = np.random.default_rng([model, number, len(name)])
            truth[name] = [Box(20 * place, 0, 20 * place + 9, 9, LABELS[place % 6]) for place in range(3 + number % 5)]
            hits = [box for box in truth[name] if random.random() < QUALITY[model]]
            claims = [Box(20 * place, 40, 20 * place + 9, 49, "open") for place in range(random.integers(0, 3))]
            found[name] = [
                Box(box.x1, box.y1, box.x2, box.y2, box.label, float(random.beta(*shape)))
                for boxes, shape in ((hits, (6, 2)), (claims, (2, 6)))
                for box in boxes
            ]
    return truth, found


@cache
def made_up(boards: int) -> list[EvaluationReport]:
    """The reports of three made-up models, each better than the one before."""
    reports = []
    for model in range(len(QUALITY)):
        truth, found = found_by(model, boards)
        reports.append(evaluate(truth, found, dict.fromkeys(truth, "real"), LABELS, 0.5))
    return reports


@pytest.fixture(scope="module")
def reports() -> list[EvaluationReport]:
    return made_up(150)


@pytest.fixture(scope="module")
def population(reports: list[EvaluationReport]) -> Population:
    return Population(reports)


def test_what_one_model_answers_alone_is_its_report(population: Population, reports: list[EvaluationReport]) -> None:
    everywhere = np.arange(population.boards)
    for model, report in enumerate(reports):
        for metric in ("ap", "precision", "recall", "f1"):
            value = population.value(np.full(population.boards, 2 * model), everywhere, metric)  # type: ignore[arg-type]
            assert value == pytest.approx(report.metrics[metric], abs=1e-12)


def test_answers_are_compared_as_reports_are(population: Population, reports: list[EvaluationReport]) -> None:
    names = sorted(reports[0].per_image)
    boards = np.array([3, 17, 40, 41, 99])
    mixed = [population.results(np.full(population.boards, answer), boards) for answer in (4, 0)]
    stored = [Results.of(reports[model], [names[board] for board in boards]) for model in (2, 0)]
    assert PairedDelta.of("ap", *mixed) == PairedDelta.of("ap", *stored)


def test_the_other_answer_is_to_the_mirror_image(population: Population, reports: list[EvaluationReport]) -> None:
    names = sorted(reports[0].per_image)
    board, mirror = names.index("board 7"), names.index("board 7" + MIRRORED)
    other = population.results(np.full(population.boards, 1), np.array([board]))
    assert other.score.tolist() == Results.of(reports[0], [names[mirror]]).score.tolist()
    assert other.score.tolist() != Results.of(reports[0], [names[board]]).score.tolist()


def test_a_board_that_is_drawn_twice_counts_as_two(population: Population) -> None:
    choice = np.zeros(population.boards, int)
    once, twice = (population.results(choice, np.array(boards)) for boards in ([5], [5, 5]))
    assert len(twice.score) == 2 * len(once.score)
    assert np.bincount(twice.image).tolist() == [len(once.score)] * 2


@pytest.mark.parametrize("metric", ["ap", "f1"])
def test_candidates_are_exactly_as_good_as_asked(population: Population, metric: str) -> None:
    candidates = Candidates(population, metric)  # type: ignore[arg-type]
    for delta in (-0.01, 0.0, 0.02):
        first, second = candidates.draw(delta, 2)
        for drawn in (first, second):
            assert candidates.value(drawn) == pytest.approx(candidates.level + delta, abs=CLOSE_ENOUGH)
            assert not (drawn == candidates.served).any()
        assert (first != second).any()
    again = Candidates(population, metric)  # type: ignore[arg-type]
    assert (again.draw(0.02, 2)[1] == candidates.draw(0.02, 2)[1]).all()


def test_what_no_shares_of_the_models_give_is_refused(population: Population) -> None:
    with pytest.raises(ValueError, match=r"no mixture of the models has ap 1\.\d+; the nearest has 0\.9"):
        Candidates(population, "ap").draw(0.3, 1)


def test_what_is_kept_is_read_again_and_not_made_again(tmp_path: Path, reports: list[EvaluationReport]) -> None:
    for model, name in enumerate(MODELS):
        truth, found = found_by(model, 150)
        kept = {
            key: {board: [box.to_json() for box in boxes] for board, boxes in each.items()}
            for key, each in (("truth", truth), ("found", found))
        }
        (tmp_path / f"{name}.json").write_text(json.dumps({"threshold": 0.5, **kept}))
    predict_all(tmp_path / "nowhere", tmp_path)
    assert read_reports(tmp_path) == reports


def test_each_real_board_comes_with_its_mirror_image(deeppcb: Path) -> None:
    boards = boards_of(deeppcb)
    board, mirrored = next(boards), next(boards)
    assert mirrored.sample_id == board.sample_id + MIRRORED
    assert mirrored.template is not None
    assert board.template is not None
    assert (mirrored.image[:, ::-1] == board.image).all()
    assert (mirrored.template[:, ::-1] == board.template).all()
    first, second = board.boxes[0], mirrored.boxes[0]
    assert (second.x1, second.x2, second.label) == (640 - first.x2, 640 - first.x1, first.label)


def test_missing_boards_are_said_with_where_to_get_them(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"trainval\.txt does not exist; clone https://github\.com/"):
        next(boards_of(tmp_path))
