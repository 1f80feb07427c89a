"""The estimator "FPN"."""

from __future__ import annotations

import logging
import time
import zipfile
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any, get_args

import numpy as np

from data.sample import Box, Example
from models.estimator import ClassFactory, ClassType, TrainingRefused, TrainingReport
from models.fpn.backend import has_fast_bfloat16, keras, mixed_precision
from models.fpn.completion import complete
from models.fpn.coverage import longest_sides, sample_side, shortcomings
from models.fpn.distillation import Teacher
from models.fpn.network import MOST_LEVELS, build_network, copy_weights, for_inference, inherit
from models.fpn.predictor import Predictor
from models.fpn.prepared import Input, PreparedExamples, pixels
from models.fpn.training import fit
from models.metrics import EvaluationReport, evaluate, judged
from models.pooled import best_threshold, deeppcb
from models.recipe import Recipe

logger = logging.getLogger(__name__)

WEIGHTS = "weights.npz"
BATCH_SIZE = 4
THRESHOLD_EXAMPLES = 48


@ClassFactory.register(ClassType.GENERAL, alias="FPN")
class FPN:
    """A compact feature pyramid network that finds the boxes of `classes` in grey images.

    Args:
        classes: the labels, in the order of the network's outputs.
        input: "image" to see the image alone, "pair" to see it with its defect-free template.
        levels: how many prediction levels, of strides 8, 16 and 32; one suits objects of about 16 to 130 pixels.

    Raises:
        ValueError: with everything that is wrong with the parameters.
    """

    def __init__(self, classes: Sequence[str], input: Input = "pair", levels: int = 1):  # noqa: A002
        problems = []
        if not classes or len(set(classes)) != len(classes):
            problems.append(f"classes is {list(classes)}; name at least one, and each once")
        if input not in get_args(Input):
            problems.append(f"input is {input!r}; it must be 'image' or 'pair'")
        if not 1 <= levels <= MOST_LEVELS:
            problems.append(f"levels is {levels}; it must be 1 to {MOST_LEVELS}")
        if problems:
            raise ValueError("; ".join(problems))
        self.classes = tuple(classes)
        self.input: Input = input
        self.levels = levels
        self.parameters: dict[str, Any] = {"classes": list(classes), "input": input, "levels": levels}
        self.threshold = 0.5
        self._predictor: Predictor | None = None
        self._known: tuple[str, ...] = ()

    def train(
        self,
        train_data: Sequence[Example],
        valid_data: Sequence[Example] | None = None,
        *,
        checkpoint_dir: Path | None = None,
        seed: int = 0,
        fresh_ids: Iterable[str] = (),
        distil: bool = False,
        **recipe: Any,
    ) -> TrainingReport:
        """Train on `train_data`, from the weights that are there, or from random ones if none are.

        Where an example is labelled for some classes only, the weights that are there first complete it with what they
        find of the others; of classes that they do not know either it teaches nothing.

        Args:
            train_data: every example to learn from, new and old.
            valid_data: examples by which the best weights and the threshold are chosen; without them the last
                weights are kept and the threshold is chosen on examples of `train_data`.
            checkpoint_dir: where the state is kept; the same call after a crash goes on from there.
            seed: of the random weights and of everything drawn.
            fresh_ids: sample ids of the new examples; they make up half of what is drawn.
            distil: stay close to the weights that are there, where the labels leave it open.
            recipe: fields of `Recipe`.

        Raises:
            TrainingRefused: the recipe or some examples cannot be used, or there is nothing to learn from.
            TrainingDiverged: the loss is no longer finite; the estimator is as it was before.
        """
        started = time.monotonic()
        settings = Recipe.of(recipe)
        examples = PreparedExamples(train_data, self.classes, self.input)
        fresh = frozenset(fresh_ids)
        if fresh and not any(outline.sample_id in fresh for outline in examples.outlines):
            raise TrainingRefused([f"none of the {len(fresh)} fresh_ids is among the {len(examples)} examples"])
        side = sample_side(examples, settings.crop)
        if self._predictor is None:
            if distil:
                raise TrainingRefused(["distil needs weights to stay close to; load a model, or train without it"])
            if not (longest_sides(examples) <= side).any():
                raise TrainingRefused([*shortcomings(examples, side), "so there is nothing to learn from"])
        teacher, knows = None, np.array([label in self._known for label in self.classes], bool)
        predictor = self._new_predictor(seed, mixed=has_fast_bfloat16())
        if self._predictor is not None:
            predictor.network.set_weights(self._predictor.network.get_weights())
            complete(examples, self._predictor, knows, self.threshold)
            if distil:
                teacher = Teacher(self._new_predictor(seed, mixed=has_fast_bfloat16()).network, knows)
                teacher.network.set_weights(self._predictor.network.get_weights())
        warnings = shortcomings(examples, side)
        for warning in warnings:
            logger.warning("%s", warning)
        outcome = fit(
            predictor.network,
            self.levels,
            examples,
            settings,
            seed=seed,
            fresh=fresh,
            teacher=teacher,
            validate=(lambda: deeppcb(self._pairs(predictor, valid_data)).ap or 0.0) if valid_data else None,
            checkpoint_dir=checkpoint_dir,
        )
        if self._predictor is not None and settings.inherited:
            inherit(predictor.network, self._predictor.network, settings.inherited, knows)
        chosen_on = valid_data or [train_data[index] for index in spread(len(train_data), THRESHOLD_EXAMPLES)]
        self.threshold = best_threshold(self._pairs(predictor, chosen_on))
        self._predictor, self._known = self._new_predictor(seed), self.classes
        self._predictor.network.set_weights(predictor.network.get_weights())
        progress = outcome.progress
        return TrainingReport(
            steps=progress.step,
            best_step=progress.best_step,
            seconds=time.monotonic() - started,
            loss=progress.loss,
            threshold=self.threshold,
            stopped_early=progress.stopped_early,
            resumed_from=outcome.resumed_from,
            validation=progress.validation,
            warnings=warnings,
        )

    def extend(self, classes: Sequence[str]) -> None:
        """Make room for all of `classes`: what it knows it finds as before, what is new it does not find yet.

        Raises:
            ValueError: a class that it has is not among them, or one stands there twice.
        """
        if missing := [name for name in self.classes if name not in classes]:
            raise ValueError(
                f"classes is {list(classes)}, without {', '.join(missing)}, which the model has; name these too"
            )
        grown = FPN(classes, self.input, self.levels)
        if self._predictor is not None:
            predictor = grown._new_predictor(seed=0)
            outputs = [grown.classes.index(name) for name in self.classes]
            copy_weights(self._predictor.network, predictor.network, outputs)
            self._predictor = predictor
        self.classes, self.parameters = grown.classes, grown.parameters

    def predict(self, examples: Iterable[Example], batch_size: int = BATCH_SIZE) -> list[tuple[Box, ...]]:
        """The boxes found in each image, best first, with scores from 0.05; those from `threshold` count as found.

        Raises:
            RuntimeError: there are no weights yet.
            ValueError: an image is not grey uint8, or has no template of its shape where one is needed.
        """
        return list(self._boxes(self._loaded(), examples, batch_size))

    def evaluate(self, data: Iterable[Example], *, threshold: float | None = None) -> EvaluationReport:
        """Judge the predictions for `data` at the model's threshold, or at another; errors as those of `predict`."""
        truth, domains, labelled = {}, {}, {}

        def noted() -> Iterator[Example]:
            for example in data:
                truth[example.sample_id], domains[example.sample_id] = example.boxes, example.domain
                labelled[example.sample_id] = example.classes
                yield example

        found = self.predict(noted())
        predicted = dict(zip(truth, found, strict=True))
        chosen = self.threshold if threshold is None else threshold
        return evaluate(truth, predicted, domains, self.classes, chosen, labelled)

    def save(self, folder: Path) -> None:
        """Write the weights and the threshold to `folder`/weights.npz.

        Raises:
            RuntimeError: there are no weights yet.
        """
        weights = {f"{index:03d}": weight for index, weight in enumerate(self._loaded().network.get_weights())}
        np.savez(folder / WEIGHTS, allow_pickle=False, threshold=np.array(self.threshold), **weights)

    def load(self, folder: Path) -> None:
        """Read what `save` wrote.

        Raises:
            ValueError: the file is not there, or its weights are not those of this network.
        """
        predictor = self._new_predictor(seed=0)
        path = folder / WEIGHTS
        try:
            with path.open("rb") as file, np.load(file, allow_pickle=False) as arrays:
                threshold = float(arrays["threshold"])
                weights = [arrays[name] for name in sorted(arrays.files) if name != "threshold"]
            predictor.network.set_weights(weights)
        except (OSError, EOFError, zipfile.BadZipFile, KeyError, ValueError) as error:
            raise ValueError(f"{path} does not hold the weights of this FPN: {error}") from error
        self._predictor, self._known, self.threshold = predictor, self.classes, threshold

    def outputs(self, batch: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Logits [points, classes] and distances [points, 4] of one image, uint8 [1, height, width, channels].

        Raises:
            RuntimeError: there are no weights yet.
        """
        logits, distances = self._loaded().outputs(batch)
        return logits[0], distances[0]

    def for_inference(self) -> keras.Model:
        """The network to export: uint8 pixels in, logits and distances out, as `build_network` says.

        Raises:
            RuntimeError: there are no weights yet.
        """
        return for_inference(self._loaded().network, len(self.classes), self.levels)

    def _new_predictor(self, seed: int, *, mixed: bool = False) -> Predictor:
        channels = 2 if self.input == "pair" else 1
        with mixed_precision(mixed):
            network = build_network(channels, len(self.classes), self.levels, seed)
        return Predictor(network, self.classes, self.levels)

    def _loaded(self) -> Predictor:
        if self._predictor is None:
            raise RuntimeError("this FPN has no weights yet; train it or load a saved model first")
        return self._predictor

    def _boxes(
        self, predictor: Predictor, examples: Iterable[Example], batch_size: int = BATCH_SIZE
    ) -> Iterator[tuple[Box, ...]]:
        waiting = iter(examples)
        while batch := [pixels(example, self.input) for example in islice(waiting, batch_size)]:
            yield from predictor.predict(batch)

    def _pairs(self, predictor: Predictor, data: Sequence[Example]) -> list[tuple[tuple[Box, ...], list[Box]]]:
        """The true boxes of each image, and the found ones that can be judged there."""
        truth = []

        def noted() -> Iterator[Example]:
            for example in data:
                truth.append((example.boxes, example.classes))
                yield example

        found = list(self._boxes(predictor, noted()))
        return [(boxes, judged(each, labelled)) for (boxes, labelled), each in zip(truth, found, strict=True)]


def spread(count: int, most: int) -> list[int]:
    """At most `most` indices below `count`, evenly spread."""
    return sorted({int(index) for index in np.linspace(0, count - 1, min(most, count))})
