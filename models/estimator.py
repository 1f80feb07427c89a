"""The contract of everything that learns, and the registry in which a job finds its estimator by name."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Protocol, TypeVar, runtime_checkable

from data.sample import Box, Example

if TYPE_CHECKING:
    from models.metrics import EvaluationReport

BUILT_IN = {"FPN": "models.fpn.detector"}
DEFAULT_THRESHOLD = 0.5


class TrainingRefused(ValueError):
    """A training that cannot start; `problems` names everything that stands against it."""

    def __init__(self, problems: list[str]):
        self.problems = problems
        listed = "\n".join(f"  - {problem}" for problem in problems)
        super().__init__(f"the training cannot start:\n{listed}")


class TrainingDiverged(ArithmeticError):
    """The loss became infinite or not a number."""


@dataclass(frozen=True)
class TrainingReport:
    """What a training did: the steps it took, the one whose weights were kept, its losses and validation scores.

    `warnings` are sentences about what the training data cannot teach.
    """

    steps: int
    best_step: int
    seconds: float
    loss: float
    threshold: float
    stopped_early: bool = False
    resumed_from: int = 0
    validation: list[dict[str, float]] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)

    def to_json(self) -> dict[str, Any]:
        """A JSON object with every field."""
        return asdict(self)


class Estimator(Protocol):
    """What learns: constructed with a job's parameters, trained, asked, judged, saved and loaded.

    `parameters` are the constructor's, JSON-able; `threshold` is the score from which a box counts as found. A class
    that has neither gets them from `create`.
    """

    parameters: dict[str, Any]
    threshold: float

    def train(
        self,
        train_data: Sequence[Example],
        valid_data: Sequence[Example] | None = None,
        *,
        checkpoint_dir: Path | None = None,
        seed: int = 0,
        **recipe: Any,
    ) -> TrainingReport:
        """Learn from `train_data`, starting from the weights that are loaded, or from random ones if none are.

        Further keywords are the recipe and `fresh_ids`, the ids of the examples that are new to these weights. One that
        names `distil` is told `distil=True` where it shall stay close to the weights it starts from (learning without
        forgetting, arXiv 1606.09282). An example's `classes`, where there are any, say which classes it is labelled
        for: of others it must learn nothing.
        """
        ...

    def predict(self, examples: Sequence[Example]) -> list[tuple[Box, ...]]:
        """The boxes found in each image, each with its score, best first; including those below `threshold`."""
        ...

    def evaluate(self, data: Sequence[Example]) -> EvaluationReport:
        """Compare the predictions for `data` with its boxes.

        `models.metrics.evaluate` does; each example's `classes` are what it calls `labelled`.
        """
        ...

    def save(self, folder: Path) -> None:
        """Write what was learnt into the existing `folder`."""
        ...

    def load(self, folder: Path) -> None:
        """Read what `save` wrote."""
        ...


@runtime_checkable
class Extendable(Protocol):
    """An estimator that can learn more classes without forgetting those it knows."""

    def extend(self, classes: Sequence[str]) -> None:
        """Make room for all of `classes`, of which it knows some.

        Raises:
            ValueError: a class that it knows is not among them.
        """
        ...


class ClassType(StrEnum):
    """The kinds of classes the registry keeps apart."""

    GENERAL = "general"
    HEM = "hard_example_mining"


Registered = TypeVar("Registered", bound=type)


class ClassFactory:
    """The registry of classes that a job can name."""

    registry: ClassVar[dict[tuple[ClassType, str], type]] = {}

    @classmethod
    def register(
        cls, type_name: ClassType = ClassType.GENERAL, alias: str | None = None
    ) -> Callable[[Registered], Registered]:
        """Decorate a class to make it known under `alias`, or else under its own name.

        Raises:
            ValueError: another class already has that name.
        """

        def decorate(registered: Registered) -> Registered:
            key = (type_name, alias or registered.__name__)
            known = cls.registry.setdefault(key, registered)
            if _path(known) != _path(registered):
                raise ValueError(
                    f"{_path(registered)} cannot be registered as {key[1]!r}: {_path(known)} already is; "
                    "choose another alias"
                )
            cls.registry[key] = registered
            return registered

        return decorate

    @classmethod
    def get_cls(cls, type_name: ClassType, alias: str) -> Any:
        """The class registered under `alias`; built-in estimators are imported when first asked for.

        Raises:
            LookupError: no class has that name.
        """
        if (type_name, alias) not in cls.registry and type_name is ClassType.GENERAL and alias in BUILT_IN:
            importlib.import_module(BUILT_IN[alias])
        try:
            return cls.registry[type_name, alias]
        except KeyError:
            built_in = BUILT_IN if type_name is ClassType.GENERAL else ()
            known = sorted({name for kind, name in cls.registry if kind is type_name}.union(built_in))
            raise LookupError(
                f"no {type_name.value} class is registered as {alias!r}; known are {', '.join(known) or 'none'}"
            ) from None

    @classmethod
    def alias_of(cls, registered: type) -> str:
        """The name under which an estimator's class is registered.

        Raises:
            LookupError: the class is not registered.
        """
        for (type_name, alias), known in cls.registry.items():
            if known is registered and type_name is ClassType.GENERAL:
                return alias
        raise LookupError(f"{_path(registered)} is not registered; decorate it with @ClassFactory.register")


def create(alias: str, **parameters: Any) -> Estimator:
    """A new estimator of the class registered under `alias`, with JSON-able `parameters`.

    Raises:
        LookupError: no estimator has that name.
        ValueError: the estimator refuses the parameters.
    """
    estimator_class = ClassFactory.get_cls(ClassType.GENERAL, alias)
    try:
        estimator: Estimator = estimator_class(**parameters)
    except TypeError as error:
        raise ValueError(f"the estimator {alias!r} refuses its parameters: {error}") from error
    if not hasattr(estimator, "parameters"):
        estimator.parameters = parameters
    if not hasattr(estimator, "threshold"):
        estimator.threshold = DEFAULT_THRESHOLD
    return estimator


def _path(registered: type) -> str:
    return f"{registered.__module__}.{registered.__qualname__}"
