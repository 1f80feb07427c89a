"""The estimator as a job uses it: it learns, keeps what it knows, and is the same after being saved."""

from __future__ import annotations

import logging
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from data.sample import Example
from models.estimator import Estimator, TrainingRefused, create
from models.fpn.detector import FPN
from models.fpn.network import CLASS_OUTPUTS
from models.fpn.prepared import pixels
from models.version import ModelRefused, load_model, save_model

CLASSES = ["hole", "spot"]
RECIPE: dict[str, Any] = {"steps": 80, "batch_size": 4, "crop": 128}


def fresh() -> FPN:
    """A model with random weights."""
    model = FPN(CLASSES)
    model._predictor = model._new_predictor(0)
    return model


def faint(board: Example) -> Example:
    """The board as a dim camera sees it: another domain."""
    assert board.template is not None
    return replace(board, image=100 + board.image // 8, template=100 + board.template // 8, domain="faint")


def average_precision(model: Estimator, boards: list[Example]) -> float:
    """The pooled average precision of `model` on `boards`, which have boxes."""
    value = model.evaluate(boards).metrics["ap"]
    assert value is not None
    return value


@pytest.fixture(scope="module")
def trained(boards) -> FPN:
    """A model that knows the boards in black and white."""
    model = FPN(CLASSES)
    model.train(boards(0, 16), **RECIPE)
    return model


@pytest.mark.slow
def test_it_learns_in_seconds(trained, boards):
    report = trained.evaluate(boards(100, 16))
    assert report.metrics["ap"] > 0.8
    assert report.metrics["f1"] > 0.8
    assert report.threshold == trained.threshold


@pytest.mark.slow
def test_fine_tuning_learns_the_new_and_keeps_the_old(trained, boards, tmp_path):
    save_model(trained, tmp_path / "served")
    model = load_model(tmp_path / "served")
    new, unseen = [faint(board) for board in boards(200, 8)], [faint(board) for board in boards(300, 16)]
    before = average_precision(model, unseen)
    report = model.train(
        [*boards(0, 16), *new], fresh_ids=[board.sample_id for board in new], **{**RECIPE, "learning_rate": 1e-3}
    )
    assert report.steps == RECIPE["steps"]
    assert average_precision(model, unseen) > before + 0.3
    known = boards(100, 16)
    assert average_precision(model, known) > average_precision(trained, known) - 0.1


@pytest.mark.slow
def test_an_update_may_inherit_a_share_of_the_weights_that_served(trained, boards, tmp_path):
    save_model(trained, tmp_path / "served")

    def updated(**settings: Any) -> list[np.ndarray]:
        model = FPN(CLASSES)
        model.load(tmp_path / "served")
        model.train(boards(200, 8), **{**RECIPE, "steps": 3, **settings})
        assert model._predictor is not None
        weights: list[np.ndarray] = model._predictor.network.get_weights()
        return weights

    served = trained._predictor.network.get_weights()
    for before, after, mixed in zip(served, updated(), updated(inherited=0.5), strict=True):
        np.testing.assert_allclose(mixed, (before + after) / 2, atol=1e-5)


@pytest.mark.slow
def test_validation_chooses_weights_and_threshold(boards):
    model = FPN(CLASSES, input="image")
    report = model.train(boards(0, 4), boards(4, 4), steps=6, batch_size=2, crop=64, validations=3)
    assert [entry["step"] for entry in report.validation] == [2, 4, 6]
    assert report.warnings == []
    assert report.best_step in (2, 4, 6)
    assert report.threshold == model.threshold


@pytest.mark.slow
def test_a_loaded_model_predicts_the_same(trained, boards, tmp_path):
    save_model(trained, tmp_path / "model")
    loaded = load_model(tmp_path / "model")
    assert loaded.predict(boards(100, 4)) == trained.predict(boards(100, 4))
    assert loaded.threshold == trained.threshold


@pytest.mark.slow
def test_the_batch_does_not_change_the_predictions(trained, boards):
    examples = boards(100, 5)
    together, alone = trained.predict(examples, batch_size=5), trained.predict(examples, batch_size=1)
    for first, second in zip(together, alone, strict=True):
        kept = [[box for box in boxes if box.score > 0.2] for boxes in (first, second)]
        assert [box.label for box in kept[0]] == [box.label for box in kept[1]]
        assert [box.score for box in kept[0]] == pytest.approx([box.score for box in kept[1]], abs=1e-3)


def test_more_classes_leave_the_known_ones_as_they_were(boards):
    model = fresh()
    network = model._loaded().network
    network.get_layer(CLASS_OUTPUTS).bias.assign([-0.5, -0.2])
    before = model.outputs(pixels(boards(0, 1)[0], "pair")[None])
    known = model.predict(boards(0, 2))
    assert any(known)

    model.extend(["spot", "scratch", "hole"])

    logits, distances = model.outputs(pixels(boards(0, 1)[0], "pair")[None])
    np.testing.assert_allclose(logits[:, [2, 0]], before[0], atol=1e-5)
    np.testing.assert_allclose(distances, before[1], rtol=1e-5)
    assert model.classes == ("spot", "scratch", "hole")
    assert create("FPN", **model.parameters).parameters == model.parameters
    for found, expected in zip(model.predict(boards(0, 2)), known, strict=True):
        assert [box.label for box in found] == [box.label for box in expected]
        assert "scratch" not in {box.label for box in found}


def test_more_classes_cannot_lack_a_known_one(boards):
    with pytest.raises(ValueError, match=r"\['hole', 'scratch'\], without spot, which the model has; name these too"):
        fresh().extend(["hole", "scratch"])
    model = FPN(CLASSES)
    model.extend(["hole", "spot", "scratch"])
    with pytest.raises(TrainingRefused, match="distil needs weights to stay close to"):
        model.train(boards(0, 2), distil=True)


def test_examples_without_a_box_teach_a_new_model_nothing(boards):
    empty = [replace(board, boxes=()) for board in boards(0, 2)]
    with pytest.raises(TrainingRefused, match=r"labelled for hole has a box of it[\s\S]*nothing to learn from"):
        FPN(CLASSES).train(empty)


def update(trained: FPN, folder: Path, examples: list[Example], **asked: Any) -> FPN:
    """A copy of the trained model that learnt from these examples."""
    save_model(trained, folder)
    model = load_model(folder)
    assert isinstance(model, FPN)
    if "classes" in asked:
        model.extend(asked.pop("classes"))
    model.train(examples, **{**RECIPE, "learning_rate": 1e-3, **asked})
    return model


@pytest.mark.slow
def test_distillation_forgets_less_of_another_domain(trained, boards, tmp_path):
    new, known = [faint(board) for board in boards(200, 8)], boards(100, 16)
    ids = [board.sample_id for board in new]
    scores = {}
    for distil in (False, True):
        model = update(trained, tmp_path / str(distil), new, distil=distil, fresh_ids=ids)
        scores[distil] = average_precision(model, known), average_precision(model, [faint(board) for board in known])
    assert scores[True][0] > scores[False][0]
    assert scores[True][1] > scores[False][1] - 0.1


@pytest.mark.slow
@pytest.mark.parametrize("distil", [False, True])
def test_a_class_that_the_new_images_are_not_labelled_for_is_kept(trained, boards, tmp_path, caplog, distil):
    new = [
        replace(
            board,
            classes=frozenset({"scratch"}),
            boxes=tuple(replace(box, label="scratch") for box in board.boxes if box.label == "hole"),
        )
        for board in boards(200, 8)
    ]
    with caplog.at_level(logging.INFO, logger="models.fpn.completion"):
        model = update(trained, tmp_path / "model", new, classes=[*CLASSES, "scratch"], distil=distil)
    assert "8 examples, labelled for some classes, were completed with" in caplog.text
    report = model.evaluate(
        [replace(board, classes=frozenset({"spot"}), boxes=board.boxes[1::2]) for board in boards(100, 16)]
    )
    assert (report.per_class["ap"]["spot"] or 0) > 0.7


def test_fresh_examples_that_are_not_there_are_refused(boards):
    with pytest.raises(TrainingRefused, match="none of the 1 fresh_ids is among the 2 examples"):
        FPN(CLASSES).train(boards(0, 2), fresh_ids=["elsewhere"])


def test_an_unknown_setting_is_refused(boards):
    with pytest.raises(TrainingRefused, match=r"'epochs'.* is not a setting; known are steps, .*patience"):
        FPN(CLASSES).train(boards(0, 2), epochs=3)


def test_without_weights_nothing_is_predicted_or_saved(boards, tmp_path):
    with pytest.raises(RuntimeError, match="train it or load"):
        FPN(CLASSES).predict(boards(0, 1))
    with pytest.raises(RuntimeError, match="train it or load"):
        FPN(CLASSES).save(tmp_path)


def test_all_wrong_parameters_are_named():
    with pytest.raises(ValueError, match=r"classes is .*input is 'video'.*levels is 9"):
        create("FPN", classes=["a", "a"], input="video", levels=9)


def test_the_weights_of_another_network_are_refused(tmp_path):
    fresh().save(tmp_path)
    with pytest.raises(ValueError, match="does not hold the weights of this FPN"):
        FPN(CLASSES, levels=2).load(tmp_path)


@pytest.mark.parametrize("content", [b"", b"not weights", b"PK\x03\x04"])
def test_damaged_weights_are_refused(tmp_path, content):
    (tmp_path / "weights.npz").write_bytes(content)
    with pytest.raises(ValueError, match="does not hold the weights of this FPN"):
        FPN(CLASSES).load(tmp_path)


def test_a_damaged_model_folder_is_refused(tmp_path):
    save_model(fresh(), tmp_path / "model")
    weights = (tmp_path / "model" / "weights.npz").read_bytes()
    (tmp_path / "model" / "weights.npz").write_bytes(weights[:-100] + bytes(100))
    with pytest.raises(ModelRefused, match=r"weights\.npz is not the file that was saved"):
        load_model(tmp_path / "model")
