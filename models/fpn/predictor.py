"""A network that answers: pixels of any size in, boxes out."""

from __future__ import annotations

from collections.abc import Sequence

import keras
import numpy as np
import tensorflow as tf

from data.sample import Box
from models.fpn.decode import best_points, to_boxes
from models.fpn.network import side_multiple
from models.fpn.targets import points

LEAST_SCORE = 0.05


class Predictor:
    """Runs `network` as one graph that is built once for all batch and image sizes."""

    def __init__(self, network: keras.Model, labels: Sequence[str], levels: int):
        self.network = network
        self.labels = labels
        self.levels = levels
        channels = network.input_shape[-1]

        @tf.function(
            autograph=False,
            input_signature=[
                tf.TensorSpec([None, None, None, channels], tf.uint8),
                tf.TensorSpec([None, 2], tf.float32),
            ],
        )  # type: ignore[untyped-decorator]
        def detect(batch: tf.Tensor, centres: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
            logits, distances = network(batch, training=False)
            return best_points(logits, distances, centres)

        self._detect = detect

    def predict(self, images: Sequence[np.ndarray]) -> list[tuple[Box, ...]]:
        """The boxes of each image, best first, with scores from 0.05.

        Images are uint8 [height, width, channels]; their edges are repeated up to the largest of them.
        """
        unit = side_multiple(self.levels)
        height, width = (-(-max(image.shape[axis] for image in images) // unit) * unit for axis in (0, 1))
        padded = [
            np.pad(image, ((0, height - image.shape[0]), (0, width - image.shape[1]), (0, 0)), mode="edge")
            for image in images
        ]
        centres = points(height, width, self.levels)[:, :2]
        outputs = [output.numpy() for output in self._detect(tf.constant(np.stack(padded)), tf.constant(centres))]
        return [
            to_boxes(
                corners,
                scores,
                [self.labels[index] for index in classes],
                size=image.shape[:2],
                minimum_score=LEAST_SCORE,
            )
            for image, corners, scores, classes in zip(images, *outputs, strict=True)
        ]
