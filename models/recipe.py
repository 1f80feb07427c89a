"""Recipes: what a training of each estimator may be told, known without importing what trains."""

from __future__ import annotations

import inspect
import math
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, get_type_hints

from models.estimator import ClassFactory, ClassType, TrainingRefused

SIDE_UNIT = 32
SHORTEST_SIDE = 64
LARGEST_ZOOM = 4.0
# What every training is told besides its recipe.
CONTRACT = ("checkpoint_dir", "seed", "fresh_ids", "distil")


@dataclass(frozen=True)
class Recipe:
    """How to train an FPN: AdamW with one warm-up and one cosine over `steps`.

    `crop` is the side of a training sample in pixels; boards that are smaller make it smaller. `zoom` is the factor by
    which half of what is cut is shown larger or smaller at most: 1.4 helps a long training to hold on families that it
    never saw, and slows a short one. Of the weights that a model had before it learnt on, the share `inherited` is in
    those it ends with: 0.5 keeps a mature model from wandering, and sets a young one back. The model is
    validated `validations` times, evenly spread; after `patience` validations without a better score it stops.
    """

    steps: int = 3000
    batch_size: int = 8
    crop: int = 192
    zoom: float = 1.0
    inherited: float = 0.0
    learning_rate: float = 3e-3
    weight_decay: float = 5e-3
    warm_up_share: float = 0.03
    validations: int = 5
    patience: int = 3
    checkpoint_every: int = 100

    @classmethod
    def of(cls, settings: Mapping[str, Any]) -> Recipe:
        """The recipe with these settings.

        Raises:
            TrainingRefused: a setting is unknown, or its value impossible.
        """
        known = [setting.name for setting in fields(cls)]
        if unknown := sorted(set(settings) - set(known)):
            raise TrainingRefused([f"{name!r} is not a setting; known are {', '.join(known)}" for name in unknown])
        return cls(**settings)

    def __post_init__(self) -> None:
        problems = [
            f"{name} is {getattr(self, name)}; it must be at least 1"
            for name in ("steps", "batch_size", "validations", "patience", "checkpoint_every")
            if getattr(self, name) < 1
        ]
        if self.crop < SHORTEST_SIDE or self.crop % SIDE_UNIT:
            problems.append(f"crop is {self.crop}; it must be a multiple of {SIDE_UNIT} and at least {SHORTEST_SIDE}")
        if not 1 <= self.zoom <= LARGEST_ZOOM:
            problems.append(f"zoom is {self.zoom}; it must be 1 to {LARGEST_ZOOM:g}")
        if not 0 <= self.inherited < 1:
            problems.append(f"inherited is {self.inherited}; it must be at least 0 and below 1")
        if not 0 < self.learning_rate < math.inf:
            problems.append(f"learning_rate is {self.learning_rate}; it must be greater than 0")
        if problems:
            raise TrainingRefused(problems)


BUILT_IN: dict[str, type[Any]] = {"FPN": Recipe}
DISTILLING = frozenset({"FPN"})


def settings_of(alias: str) -> dict[str, Any] | None:
    """The settings of an estimator's recipe and the type of each; None where its `train` does not say which it takes.

    An estimator that is not built in is known once its class is registered: by the keywords of its `train`.
    """
    if alias in BUILT_IN:
        return get_type_hints(BUILT_IN[alias])
    registered: Any = ClassFactory.registry.get((ClassType.GENERAL, alias))
    if registered is None:
        return None
    taken = inspect.signature(registered.train).parameters.values()
    hints = get_type_hints(registered.train)
    named = [each.name for each in taken if each.kind is each.KEYWORD_ONLY and each.name not in CONTRACT]
    if not named and any(each.kind is each.VAR_KEYWORD for each in taken):
        return None
    return {name: hints.get(name, Any) for name in named}


def learns_by_distillation(alias: str) -> bool | None:
    """Whether an estimator's `train` names the keyword `distil`; None for one that is not registered here yet."""
    if alias in BUILT_IN:
        return alias in DISTILLING
    registered: Any = ClassFactory.registry.get((ClassType.GENERAL, alias))
    return None if registered is None else "distil" in inspect.signature(registered.train).parameters


def recipe_problems(alias: str, settings: Mapping[str, Any]) -> list[str]:
    """Everything that is wrong with the settings of a training, each with what is allowed."""
    known = settings_of(alias)
    if known is None:
        return []
    allowed = ", ".join(known) or "none"
    problems = [f"{name!r} is not a setting of {alias}; known are {allowed}" for name in settings if name not in known]
    for name in settings.keys() & known.keys():
        value, kind = settings[name], known[name]
        wanted = (int, float) if kind is float else kind
        if kind in (int, float, bool, str) and (
            not isinstance(value, wanted) or (isinstance(value, bool) and kind is not bool)
        ):
            problems.append(f"{name} is {value!r}; it must be of type {kind.__name__}")
    if alias in BUILT_IN and not problems:
        try:
            BUILT_IN[alias](**settings)
        except TrainingRefused as refusal:
            return refusal.problems
    return problems
