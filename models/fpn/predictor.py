"""A network that answers: pixels of any size in, boxes out."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from data.sample import Box
from models.fpn.backend import keras, tf
from models.fpn.decode import boxes_of
from models.fpn.grid import points
from models.fpn.prepared import stacked


class Predictor:
    """Runs `network` as one graph that is built once for all batch and image sizes."""

    def __init__(self, network: keras.Model, labels: Sequence[str], levels: int):
        self.network = network
        self.labels = labels
        self.levels = levels
        channels = network.input_shape[-1]

        @tf.function(autograph=False, input_signature=[tf.TensorSpec([None, None, None, channels], tf.uint8)])  # type: ignore[untyped-decorator]
        def outputs(batch: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
            logits, distances = network(batch, training=False)
            return logits, distances

        self._outputs = outputs

    def outputs(self, batch: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Logits [b, points, classes] and distances [b, points, 4] of a batch, uint8 [b, height, width, channels]."""
        logits, distances = self._outputs(tf.constant(batch))
        return logits.numpy(), distances.numpy()

    def predict(self, images: Sequence[np.ndarray]) -> list[tuple[Box, ...]]:
        """The boxes of each image, uint8 [height, width, channels], best first, with scores from 0.05."""
        batch = stacked(images, self.levels)
        height, width = batch.shape[1:3]
        centres = points(height, width, self.levels)[:, :2]
        return [
            boxes_of(logits, distances, centres, self.labels, image.shape[:2])
            for image, logits, distances in zip(images, *self.outputs(batch), strict=True)
        ]
