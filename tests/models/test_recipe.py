"""Recipes: what a training may be told is known before anything that trains is imported."""

from __future__ import annotations

import inspect
import subprocess
import sys
from typing import Any

import pytest

from models.estimator import ClassFactory, ClassType
from models.recipe import BUILT_IN, learns_by_distillation, recipe_problems, settings_of
from pipelines.settings import ROOT
from tests.pipelines import tiny

QUICKLY = (
    "import sys; from models.recipe import settings_of; print(*settings_of('FPN')); print('tensorflow' in sys.modules)"
)


def test_settings_of_a_built_in_estimator_are_known_without_tensorflow() -> None:
    done = subprocess.run([sys.executable, "-c", QUICKLY], cwd=ROOT, capture_output=True, text=True, check=True)
    names, heavy = done.stdout.splitlines()
    assert {"steps", "learning_rate", "crop"} <= set(names.split())
    assert heavy == "False"


def test_another_estimator_says_it_by_the_keywords_of_its_training() -> None:
    assert tiny.Tiny.__name__ == "Tiny"
    assert settings_of("Tiny") == {"skill": float}
    assert settings_of("nobody") is None
    assert recipe_problems("nobody", {"anything": 1}) == []


def test_what_every_training_is_told_is_no_setting() -> None:
    @ClassFactory.register(alias="WithDistillation")
    class WithDistillation:
        def train(self, train_data: object, *, seed: int, fresh_ids: object, distil: bool, skill: float) -> None: ...

    try:
        assert settings_of("WithDistillation") == {"skill": float}
        assert learns_by_distillation("WithDistillation") is True
    finally:
        del ClassFactory.registry[ClassType.GENERAL, "WithDistillation"]
    assert learns_by_distillation("Tiny") is False
    assert learns_by_distillation("nobody") is None


def test_what_is_said_of_the_built_in_estimators_is_true_of_their_classes() -> None:
    for alias in BUILT_IN:
        said = learns_by_distillation(alias)
        taken = inspect.signature(ClassFactory.get_cls(ClassType.GENERAL, alias).train).parameters
        assert said == ("distil" in taken)


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"steps": 5}, []),
        ({"steps": 5, "learning_rate": 1}, []),
        (
            {"stepz": 5},
            [
                "'stepz' is not a setting of FPN; known are steps, batch_size, crop, zoom, inherited, "
                "learning_rate, weight_decay, warm_up_share, validations, patience, checkpoint_every"
            ],
        ),
        ({"steps": "many"}, ["steps is 'many'; it must be of type int"]),
        ({"steps": True}, ["steps is True; it must be of type int"]),
        (
            {"steps": 0, "crop": 33, "inherited": 1.0},
            [
                "steps is 0; it must be at least 1",
                "crop is 33; it must be a multiple of 32 and at least 64",
                "inherited is 1.0; it must be at least 0 and below 1",
            ],
        ),
    ],
)
def test_everything_that_is_wrong_with_a_recipe_is_said_at_once(settings: dict[str, Any], said: list[str]) -> None:
    assert recipe_problems("FPN", settings) == said
