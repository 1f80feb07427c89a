"""AdamW (Loshchilov and Hutter, arXiv 1711.05101), one fused operation per weight.

Keras' own writes some twenty operations per weight into the graph, which doubles the seconds that each training
spends on building it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from models.fpn.backend import keras, tf

BETAS = (0.9, 0.999)
EPSILON = 1e-7
LARGEST_GRADIENT = 10.0


def learning_rate(step: int, steps: int, warm_up: int, peak: float) -> float:
    """The rate of one step, 0-based: a line up to `peak`, then one cosine down to 0 (arXiv 1608.03983)."""
    if step < warm_up:
        return peak * (step + 1) / warm_up
    return peak * 0.5 * (1 + math.cos(math.pi * (step - warm_up) / max(1, steps - warm_up)))


class AdamW:
    """Moves `weights` along their gradients, clipped together to a norm of 10; biases and scales do not decay."""

    def __init__(self, weights: Sequence[keras.Variable], weight_decay: float):
        self.weights = [weight.value for weight in weights]
        self.weight_decay = weight_decay
        self.moments = [[tf.Variable(tf.zeros_like(weight), trainable=False) for weight in self.weights] for _ in BETAS]

    def apply(self, gradients: Sequence[tf.Tensor], rate: tf.Tensor, step: tf.Tensor) -> tf.Tensor:
        """One step, `step` of them having been taken before, at the learning rate `rate`; both are float scalars.

        Returns the norm of all gradients before they were clipped; a step where it is not finite spoils all weights.
        """
        clipped, norm = tf.clip_by_global_norm(gradients, LARGEST_GRADIENT)
        powers = [tf.pow(tf.constant(beta), step + 1) for beta in BETAS]
        for weight, first, second, gradient in zip(self.weights, *self.moments, clipped, strict=True):
            if len(weight.shape) > 1:
                weight.assign_sub(weight * (rate * self.weight_decay))
            tf.raw_ops.ResourceApplyAdam(
                var=weight.handle,
                m=first.handle,
                v=second.handle,
                beta1_power=powers[0],
                beta2_power=powers[1],
                lr=rate,
                beta1=BETAS[0],
                beta2=BETAS[1],
                epsilon=EPSILON,
                grad=gradient,
            )
        return norm

    def get_state(self) -> list[np.ndarray]:
        """The moving averages, for a checkpoint."""
        return [moment.numpy() for moments in self.moments for moment in moments]

    def set_state(self, state: Sequence[np.ndarray]) -> None:
        """Continue from what `get_state` returned."""
        for moment, value in zip([moment for moments in self.moments for moment in moments], state, strict=True):
            moment.assign(value)
