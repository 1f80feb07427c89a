"""The training loop: AdamW on one cosine, validated now and then, resumed where it was killed."""

from __future__ import annotations

import hashlib
import json
import logging
import math
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from data.failpoint import failpoint
from models.estimator import TrainingDiverged
from models.fpn.augment import Sampler
from models.fpn.backend import keras, tf
from models.fpn.batches import Batch, batches
from models.fpn.checkpoint import Checkpoint, read_checkpoint, write_checkpoint
from models.fpn.coverage import sample_side
from models.fpn.distillation import Teacher, distillation_loss
from models.fpn.grid import points, quarters
from models.fpn.losses import detection_loss
from models.fpn.optimizer import AdamW, learning_rate
from models.fpn.prepared import PreparedExamples
from models.recipe import Recipe

logger = logging.getLogger(__name__)

SECONDS_BETWEEN_LINES = 10


@dataclass
class Progress:
    """How far a training has come."""

    step: int = 0
    best_step: int = 0
    best_score: float = -1.0
    fruitless: int = 0
    stopped_early: bool = False
    loss: float = math.nan
    validation: list[dict[str, float]] = field(default_factory=list)


@dataclass(frozen=True)
class Outcome:
    """The progress of a finished training, and the step at which it was resumed, 0 if it was not."""

    progress: Progress
    resumed_from: int


def fit(
    network: keras.Model,
    levels: int,
    examples: PreparedExamples,
    recipe: Recipe,
    *,
    seed: int,
    fresh: frozenset[str] = frozenset(),
    teacher: Teacher | None = None,
    validate: Callable[[], float] | None = None,
    checkpoint_dir: Path | None = None,
) -> Outcome:
    """Train `network` in place; with `validate`, which scores it, it ends with the weights that scored best.

    With a `teacher`, of the same outputs, it is kept close to it where the labels leave it open.

    Raises:
        TrainingRefused: an image is too small to cut samples from.
        TrainingDiverged: the loss is no longer finite; the checkpoint is that of the last good step.
    """
    side = sample_side(examples, recipe.crop)
    sampler = Sampler(examples, side, zoom=recipe.zoom, fresh=fresh)
    optimizer = AdamW(network.trainable_variables, recipe.weight_decay)
    warm_up = max(1, round(recipe.steps * recipe.warm_up_share))
    step_function = _step_function(network, optimizer, side, levels, teacher)
    run = _Run(network, optimizer, _fingerprint(network, examples, recipe, seed, fresh, teacher), checkpoint_dir)
    run.resume()
    progress, resumed_from = run.progress, run.progress.step
    validated_at = {round(recipe.steps * (index + 1) / recipe.validations) for index in range(recipe.validations)}
    clock = _Clock(progress.step, recipe.steps)
    remaining = range(progress.step, 0 if progress.stopped_early else recipe.steps)
    for batch in batches(sampler, recipe.batch_size, levels, seed, remaining):
        rate = learning_rate(progress.step, recipe.steps, warm_up, recipe.learning_rate)
        loss = float(step_function(batch, rate, progress.step))
        if not math.isfinite(loss):
            raise TrainingDiverged(
                f"the loss is {loss} at step {progress.step + 1} of {recipe.steps}; "
                f"lower learning_rate (it is {recipe.learning_rate:g}) and train again"
            )
        progress.step += 1
        progress.loss = loss if math.isnan(progress.loss) else 0.95 * progress.loss + 0.05 * loss
        clock.tick(progress)
        if validate is not None and progress.step in validated_at:
            run.judge(validate(), recipe.patience)
        if progress.step % recipe.checkpoint_every == 0 or progress.step == recipe.steps or progress.stopped_early:
            run.save()
        if progress.stopped_early:
            break
    run.finish()
    return Outcome(progress, resumed_from)


class _Run:
    """One training's state, as it is kept in the checkpoint."""

    def __init__(self, network: keras.Model, optimizer: AdamW, fingerprint: str, folder: Path | None):
        self.network = network
        self.optimizer = optimizer
        self.fingerprint = fingerprint
        self.folder = folder
        self.progress = Progress()
        self.best: list[np.ndarray] = []

    def resume(self) -> None:
        checkpoint = read_checkpoint(self.folder, self.fingerprint) if self.folder else None
        if checkpoint is None:
            return
        self.progress = Progress(**checkpoint.progress)
        self.network.set_weights(checkpoint.network)
        self.optimizer.set_state(checkpoint.optimizer)
        self.best = checkpoint.best
        logger.info("resumed at step %d from %s", self.progress.step, self.folder)

    def save(self) -> None:
        if self.folder is not None:
            weights, optimizer = self.network.get_weights(), self.optimizer.get_state()
            checkpoint = Checkpoint(self.fingerprint, asdict(self.progress), weights, optimizer, self.best)
            write_checkpoint(self.folder, checkpoint)
            failpoint("training.checkpoint")

    def judge(self, score: float, patience: int) -> None:
        progress = self.progress
        progress.validation.append({"step": float(progress.step), "score": score})
        logger.info("step %d: validation score %.4f", progress.step, score)
        if score > progress.best_score:
            progress.best_score, progress.best_step, progress.fruitless = score, progress.step, 0
            self.best = self.network.get_weights()
        else:
            progress.fruitless += 1
            progress.stopped_early = progress.fruitless >= patience

    def finish(self) -> None:
        if self.best:
            self.network.set_weights(self.best)
        else:
            self.progress.best_step = self.progress.step


class _Clock:
    """Says every ten seconds how far the training is and how long it will still take."""

    def __init__(self, first: int, steps: int):
        self.first, self.steps = first, steps
        self.started = self.said = time.monotonic()

    def tick(self, progress: Progress) -> None:
        now = time.monotonic()
        if now - self.said >= SECONDS_BETWEEN_LINES:
            self.said = now
            left = (now - self.started) / (progress.step - self.first) * (self.steps - progress.step)
            logger.info("step %d of %d, loss %.3f, %.0f s left", progress.step, self.steps, progress.loss, left)


def _step_function(
    network: keras.Model, optimizer: AdamW, side: int, levels: int, teacher: Teacher | None
) -> Callable[[Batch, float, int], tf.Tensor]:
    centres = tf.constant(points(side, side, levels)[:, :2])
    quarter = tf.constant(quarters(side, levels))

    @tf.function(autograph=False)  # type: ignore[untyped-decorator]
    def step(
        pixels: tf.Tensor,
        classes: tf.Tensor,
        boxes: tf.Tensor,
        labelled: tf.Tensor,
        rate: tf.Tensor,
        taken: tf.Tensor,
    ) -> tf.Tensor:
        labelled = tf.gather(labelled, quarter, axis=1)
        taught_logits, taught_distances = teacher.network(pixels, training=False) if teacher else (None, None)
        with tf.GradientTape() as tape:
            logits, distances = network(pixels, training=True)
            loss = detection_loss(logits, distances, centres, classes, boxes, labelled)
            if teacher:
                loss += distillation_loss(
                    logits, distances, taught_logits, taught_distances, centres, classes, labelled, teacher.knows
                )
        norm = optimizer.apply(tape.gradient(loss, network.trainable_variables), rate, taken)
        # Rectifiers may turn what is not a number into 0, so that it shows in the gradients alone.
        return loss + 0.0 * norm

    def call(batch: Batch, rate: float, taken: int) -> tf.Tensor:
        # As tensors: each new Python number would be a new graph.
        arrays = (batch.pixels, batch.classes, batch.boxes, batch.labelled, np.float32(rate), np.float32(taken))
        return step(*(tf.constant(array) for array in arrays))

    return call


def _fingerprint(
    network: keras.Model,
    examples: PreparedExamples,
    recipe: Recipe,
    seed: int,
    fresh: frozenset[str],
    teacher: Teacher | None,
) -> str:
    """What two runs must have in common for one to continue the other."""
    digest = hashlib.sha256()
    weights = hashlib.sha256(b"".join(np.ascontiguousarray(weight).tobytes() for weight in network.get_weights()))
    content: dict[str, Any] = {
        "recipe": asdict(recipe),
        "seed": seed,
        "fresh": sorted(fresh),
        "initial": weights.hexdigest(),
        "distilled": teacher.knows.tolist() if teacher else None,
    }
    digest.update(json.dumps(content, sort_keys=True).encode())
    for outline in examples.outlines:
        for part in (outline.boxes, outline.classes, outline.labelled):
            digest.update(outline.sample_id.encode() + part.tobytes())
    return digest.hexdigest()
