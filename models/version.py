"""A saved model: a folder with `model.json`, which says what it is, and the files the estimator wrote.

The folder `runtime` in it, if there is one, is the model exported: what predicts, without what trained it.
"""

from __future__ import annotations

import hashlib
import json
import logging
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from data.sample import Box, Example
from models.estimator import ClassFactory, Estimator, create
from models.runtime import RuntimeOutdated, RuntimeRefused, load_runtime

if TYPE_CHECKING:
    from models.metrics import EvaluationReport

logger = logging.getLogger(__name__)

FORMAT = 1
DESCRIPTION = "model.json"
RUNTIME = "runtime"


class ModelRefused(ValueError):
    """A folder that is not a model that can be loaded; the message says why and what to do."""


class Predictor(Protocol):
    """What answers for a model: an estimator, or what was exported of it."""

    threshold: float

    def predict(self, examples: Sequence[Example]) -> list[tuple[Box, ...]]:
        """The boxes found in each image, each with its score, best first; including those below `threshold`."""
        ...

    def evaluate(self, data: Sequence[Example]) -> EvaluationReport:
        """Compare the predictions for `data` with its boxes."""
        ...


def save_model(estimator: Estimator, folder: Path) -> None:
    """Write `estimator` to the new `folder`, which appears only when it is complete.

    Raises:
        FileExistsError: the folder exists; a saved model is never overwritten.
    """
    if folder.exists():
        raise FileExistsError(f"{folder} exists; a saved model is never overwritten, choose another folder")
    unfinished = folder.with_name(f"{folder.name}.unfinished")
    shutil.rmtree(unfinished, ignore_errors=True)
    unfinished.mkdir(parents=True)
    estimator.save(unfinished)
    description = {
        "format": FORMAT,
        "estimator": ClassFactory.alias_of(type(estimator)),
        "parameters": estimator.parameters,
        "threshold": estimator.threshold,
        "files": {path.name: _sha256(path) for path in sorted(unfinished.iterdir())},
    }
    (unfinished / DESCRIPTION).write_text(json.dumps(description, indent=2, sort_keys=True) + "\n")
    unfinished.rename(folder)


def describe_model(folder: Path) -> dict[str, Any]:
    """What `model.json` of a saved model says, once every file it names is there and unchanged.

    Raises:
        ModelRefused: the folder is not a saved model, is damaged, or comes from a later format.
    """
    path = folder / DESCRIPTION
    try:
        description = json.loads(path.read_text())
    except FileNotFoundError:
        raise ModelRefused(f"{folder} is not a saved model: it has no {DESCRIPTION}; fetch the model again") from None
    except (OSError, ValueError) as error:
        raise ModelRefused(f"{path} cannot be read: {error}; fetch the model again") from None
    keys = {"format", "estimator", "parameters", "threshold", "files"}
    if not isinstance(description, dict) or not keys <= description.keys():
        raise ModelRefused(f"{path} is not the description of a saved model; it must have {', '.join(sorted(keys))}")
    if description["format"] != FORMAT:
        raise ModelRefused(
            f"{folder} has format {description['format']!r}, this version reads format {FORMAT}; use a matching version"
        )
    problems = []
    for name, expected in description["files"].items():
        if not (folder / name).is_file():
            problems.append(f"{name} is missing")
        elif _sha256(folder / name) != expected:
            problems.append(f"{name} is not the file that was saved")
    if problems:
        raise ModelRefused(f"{folder} is damaged: {', '.join(problems)}; fetch the model again")
    return description


def load_model(folder: Path) -> Estimator:
    """The estimator that was saved to `folder`, ready to predict.

    Raises:
        ModelRefused: as `describe_model`, or the estimator is unknown here or refuses its parameters or files.
    """
    description = describe_model(folder)
    try:
        estimator = create(description["estimator"], **description["parameters"])
        estimator.load(folder)
    except (LookupError, ValueError) as error:
        raise ModelRefused(f"{folder} cannot be loaded: {error}") from error
    return estimator


def load_predictor(folder: Path) -> Predictor:
    """What was exported of the model saved to `folder`, or its estimator where nothing was, or by another version.

    Raises:
        ModelRefused: as `load_model`, or what was exported is damaged.
    """
    if not (folder / RUNTIME).is_dir():
        return load_model(folder)
    describe_model(folder)
    try:
        return load_runtime(folder / RUNTIME)
    except RuntimeOutdated as outdated:
        logger.warning("%s; the saved estimator predicts in its place", outdated)
        return load_model(folder)
    except RuntimeRefused as refused:
        raise ModelRefused(str(refused)) from refused


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
