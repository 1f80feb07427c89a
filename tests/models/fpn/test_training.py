"""The loop: a killed training ends where an unbroken one ends, a hopeless one says so, the best weights are kept."""

from __future__ import annotations

import logging
import subprocess
import sys
import time
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from models.estimator import TrainingDiverged, TrainingRefused
from models.fpn import training
from models.fpn.checkpoint import FILE
from models.fpn.detector import FPN
from models.fpn.distillation import Teacher
from models.fpn.network import CLASS_OUTPUTS, build_network
from models.fpn.prepared import PreparedExamples
from models.fpn.training import fit
from models.recipe import Recipe

CLASSES = ["hole", "spot"]
SHORT = {"batch_size": 2, "crop": 64}

SETTINGS: dict[str, Any] = {"seed": 3, "steps": 120, "checkpoint_every": 20, **SHORT}
CHILD = f"""
import sys
from pathlib import Path
from models.fpn.detector import FPN
from tests.models.conftest import simple_board
boards = [simple_board(seed) for seed in range(4)]
FPN({CLASSES}).train(boards, checkpoint_dir=Path(sys.argv[1]), **{SETTINGS})
print("not killed")
"""


@pytest.mark.slow
def test_a_killed_training_ends_where_an_unbroken_one_ends(boards, tmp_path):
    with subprocess.Popen([sys.executable, "-c", CHILD, str(tmp_path)], stdout=subprocess.PIPE) as victim:
        while not (tmp_path / FILE).exists():
            assert victim.poll() is None
            time.sleep(0.005)
        victim.kill()
        assert victim.communicate()[0] == b""
    folders = [tmp_path / "unbroken", tmp_path / "resumed"]
    for folder, state in zip(folders, (None, tmp_path), strict=True):
        folder.mkdir()
        model = FPN(CLASSES)
        report = model.train(boards(0, 4), checkpoint_dir=state, **SETTINGS)
        model.save(folder)
    assert 20 <= report.resumed_from < SETTINGS["steps"]
    unbroken, resumed = (dict(np.load(folder / "weights.npz")) for folder in folders)
    assert unbroken.keys() == resumed.keys()
    for name, weight in unbroken.items():
        np.testing.assert_allclose(weight, resumed[name], atol=1e-3, err_msg=name)


@pytest.fixture
def examples(boards) -> PreparedExamples:
    return PreparedExamples(boards(0, 4), CLASSES, "pair")


@pytest.mark.slow
def test_the_weights_that_scored_best_are_kept_and_waiting_ends(examples):
    network = build_network(2, 2)
    seen = []

    def validate() -> float:
        seen.append([weight.copy() for weight in network.get_weights()])
        return [0.1, 0.5, 0.4, 0.3, 0.9][len(seen) - 1]

    recipe = Recipe(steps=10, validations=5, patience=2, **SHORT)
    outcome = fit(network, 1, examples, recipe, seed=0, validate=validate)
    assert outcome.progress.stopped_early
    assert (outcome.progress.step, outcome.progress.best_step) == (8, 4)
    assert [entry["score"] for entry in outcome.progress.validation] == [0.1, 0.5, 0.4, 0.3]
    assert all(np.array_equal(kept, best) for kept, best in zip(network.get_weights(), seen[1], strict=True))


@pytest.mark.slow
def test_a_finished_training_is_not_repeated(examples, tmp_path):
    recipe = Recipe(steps=3, **SHORT)
    networks = [build_network(2, 2), build_network(2, 2)]
    outcomes = [fit(network, 1, examples, recipe, seed=0, checkpoint_dir=tmp_path) for network in networks]
    assert [outcome.resumed_from for outcome in outcomes] == [0, 3]
    first, second = (network.get_weights() for network in networks)
    assert all(np.array_equal(a, b) for a, b in zip(first, second, strict=True))


@pytest.mark.slow
def test_another_recipe_starts_anew(examples, tmp_path):
    for steps in (2, 3):
        outcome = fit(build_network(2, 2), 1, examples, Recipe(steps=steps, **SHORT), seed=0, checkpoint_dir=tmp_path)
        assert outcome.resumed_from == 0


@pytest.mark.slow
def test_what_no_example_is_labelled_for_is_not_learnt(boards):
    partial = [replace(board, classes=frozenset({"spot"}), boxes=board.boxes[1::2]) for board in boards(0, 4)]
    network = build_network(2, 2)
    before = network.get_layer(CLASS_OUTPUTS).get_weights()[1]
    recipe = Recipe(steps=5, weight_decay=0.0, **SHORT)
    fit(network, 1, PreparedExamples(partial, CLASSES, "pair"), recipe, seed=0)
    after = network.get_layer(CLASS_OUTPUTS).get_weights()[1]
    assert (before[0], before[1] == after[1]) == (after[0], False)


@pytest.mark.slow
def test_a_teacher_holds_a_network_back(examples):
    weights = build_network(2, 2).get_weights()
    moved = []
    for knows in (None, [True, True]):
        network, old = build_network(2, 2), build_network(2, 2, seed=0)
        network.set_weights(weights)
        old.set_weights(weights)
        teacher = Teacher(old, np.array(knows)) if knows else None
        fit(network, 1, examples, Recipe(steps=10, **SHORT), seed=0, teacher=teacher)
        assert all(np.array_equal(kept, weight) for kept, weight in zip(old.get_weights(), weights, strict=True))
        answers = [each(examples.pixels(0)[None])[0].numpy() for each in (network, old)]
        moved.append(np.abs(answers[0] - answers[1]).mean())
    assert moved[1] < moved[0]


@pytest.mark.slow
def test_a_training_that_diverges_says_so(examples):
    network = build_network(2, 2)
    weights = network.get_weights()
    network.set_weights([np.full_like(weights[0], np.nan), *weights[1:]])
    with pytest.raises(TrainingDiverged, match=r"step 1 of 2; lower learning_rate"):
        fit(network, 1, examples, Recipe(steps=2, **SHORT), seed=0)


def test_all_that_is_wrong_with_a_recipe_is_named():
    with pytest.raises(TrainingRefused) as refused:
        Recipe(steps=0, crop=100, learning_rate=float("nan"))
    assert [problem.split()[0] for problem in refused.value.problems] == ["steps", "crop", "learning_rate"]


@pytest.mark.slow
def test_what_goes_on_is_logged(boards, caplog, monkeypatch):
    monkeypatch.setattr(training, "SECONDS_BETWEEN_LINES", 0)
    examples = PreparedExamples(boards(0, 1), CLASSES, "pair")
    with caplog.at_level(logging.INFO, logger="models.fpn.training"):
        fit(build_network(2, 2), 1, examples, Recipe(steps=2, **SHORT), seed=0)
    assert "step 2 of 2, loss" in caplog.text
    assert "s left" in caplog.text
