"""The network: a small residual pyramid whose fused stride-8 features see wide context, and a shared anchor-free head.

Feature pyramid: Lin et al., arXiv 1612.03144. Head: one distance to each side per point, as in FCOS, arXiv 1904.01355.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from models.fpn.backend import keras, layers, ops, tf
from models.fpn.grid import LARGEST_EXPONENT, strides

MOST_LEVELS = 3
WIDTHS = {2: 8, 4: 16, 8: 48, 16: 64, 32: 96}
PYRAMID_WIDTH = 48
PRIOR = 0.01
CLASS_OUTPUTS = "class_outputs"
# Of everything but convolutions, under mixed precision too: on a CPU, bfloat16 makes the rest slower.
FLOAT = "float32"


def build_network(
    input_channels: int, classes: int, levels: int = 1, seed: int = 0, *, folded: bool = False
) -> keras.Model:
    """A network with fresh weights.

    Input: uint8 [batch, height, width, input_channels], sides multiples of `side_multiple(levels)`; channel 0 is the
    image and channel 1, if there is one, its template.
    Outputs, for every point of every level, finest first and row by row: class logits [batch, points, classes] and
    the distances in pixels from the point to the left, top, right and bottom of its box [batch, points, 4].

    It sees the image and half its difference from the template; `folded`, image and template as they are.
    """
    build = _Builder(seed)
    pixels = keras.Input((None, None, input_channels), dtype="uint8", name="pixels")
    scaled = layers.Rescaling(1 / 127.5, offset=-1.0)(pixels)
    features = scaled if folded or input_channels == 1 else _with_difference(scaled)
    features = build.convolution(features, WIDTHS[2], stride=2)
    features = build.convolution(features, WIDTHS[4], stride=2)
    features = build.residual(features)
    scales = []
    for stride, dilations in _stages(levels):
        features = build.convolution(features, WIDTHS[stride], stride=2)
        for dilation in dilations:
            features = build.residual(features, dilation)
        scales.append(features)
    pyramid = [build.convolution(scales.pop(), PYRAMID_WIDTH, kernel=1)]
    while scales:
        lateral = build.convolution(scales.pop(), PYRAMID_WIDTH, kernel=1)
        pyramid.insert(0, layers.Add(dtype=FLOAT)([lateral, layers.UpSampling2D(2)(pyramid[0])]))
    predicted = [build.residual(build.convolution(level, PYRAMID_WIDTH)) for level in pyramid[:levels]]
    logits, distances = build.head(predicted, classes)
    return keras.Model(pixels, (logits, distances), name="fpn")


def _stages(levels: int) -> list[tuple[int, tuple[int, ...]]]:
    """Stride and residual dilations of each stage; stride 16 is there even where only stride 8 predicts, as context."""
    stages: list[tuple[int, tuple[int, ...]]] = [(8, (1, 1)), (16, (1, 2))]
    return [*stages, (32, (1, 2))] if levels == MOST_LEVELS else stages


def for_inference(network: keras.Model, classes: int, levels: int) -> keras.Model:
    """A network that answers the same with fewer operations, and with none that int8 would make coarse.

    The template's difference is in its first weights: image and difference are linear in image and template, and all
    four are 0 in the padding, so this is exact but for rounding. The distances are left raw, for
    `models.fpn.decode.distances`.
    """
    channels = network.input_shape[-1]
    weights = network.get_weights()
    if channels == 2:
        image, difference = weights[0][:, :, 0], weights[0][:, :, 1]
        weights[0] = np.stack([image + difference / 2, -difference / 2], axis=2)
    folded = build_network(channels, classes, levels, folded=True)
    folded.set_weights(weights)
    raw = [folded.get_layer(f"raw_distances_{stride}").output for stride in strides(levels)]
    return keras.Model(folded.input, (folded.outputs[0], raw[0] if levels == 1 else layers.Concatenate(axis=1)(raw)))


def copy_weights(old: keras.Model, new: keras.Model, outputs: Sequence[int]) -> None:
    """Give `new`, built like `old` but for more classes, its weights; its class number i becomes number outputs[i]."""
    for source, target in zip(old.layers, new.layers, strict=True):
        weights = source.get_weights()
        if target.name == CLASS_OUTPUTS:
            grown = target.get_weights()
            for part, known in zip(grown, weights, strict=True):
                part[..., list(outputs)] = known
            weights = grown
        target.set_weights(weights)


def inherit(network: keras.Model, parent: keras.Model, share: float, known: np.ndarray) -> None:
    """Move the weights of `network` by `share` back to those of `parent`, from which it learnt on.

    What gives the outputs of classes that `parent` did not know, as `known` (bool [classes]) says, stays as it is.
    Wortsman et al., arXiv 2109.01903: between both lies a network that keeps the old and knows the new.
    """
    for old, new in zip(parent.layers, network.layers, strict=True):
        weights = new.get_weights()
        mixed = [share * before + (1 - share) * after for before, after in zip(old.get_weights(), weights, strict=True)]
        if new.name == CLASS_OUTPUTS:
            for part, after in zip(mixed, weights, strict=True):
                part[..., ~known] = after[..., ~known]
        new.set_weights(mixed)


def _with_difference(scaled: keras.KerasTensor) -> keras.KerasTensor:
    """The image in -1..1 and half its difference from the template."""
    image, template = scaled[..., :1], scaled[..., 1:]
    return layers.Concatenate()([image, (image - template) * 0.5])


def _rectifier() -> layers.ReLU:
    return layers.ReLU(dtype=FLOAT)


class FusedBatchNormalization(layers.BatchNormalization):  # type: ignore[misc]
    """Keras' batch normalisation of [batch, height, width, channels] in TensorFlow's one fused operation.

    Keras composes it of a dozen passes over the features, which on a CPU take as long as all convolutions together.
    """

    def call(self, inputs: tf.Tensor, training: bool | None = None) -> tf.Tensor:
        """The normalised features; in training by the batch's own mean and variance, which the averages follow."""
        if not training:
            return tf.compat.v1.nn.fused_batch_norm(
                inputs, self.gamma, self.beta, self.moving_mean, self.moving_variance, self.epsilon, is_training=False
            )[0]
        outputs, mean, variance = tf.compat.v1.nn.fused_batch_norm(inputs, self.gamma, self.beta, epsilon=self.epsilon)
        for average, of_batch in ((self.moving_mean, mean), (self.moving_variance, variance)):
            average.assign(average * self.momentum + tf.cast(of_batch, average.dtype) * (1 - self.momentum))
        return outputs


class _Builder:
    """Layers whose initial weights all come from one seed."""

    def __init__(self, seed: int):
        self.seeds = keras.random.SeedGenerator(seed)

    def convolution(
        self,
        features: keras.KerasTensor,
        width: int,
        *,
        kernel: int = 3,
        stride: int = 1,
        dilation: int = 1,
        activate: bool = True,
    ) -> keras.KerasTensor:
        features = self._layer(width, kernel, stride, dilation)(features)
        features = self._normalisation()(features)
        return _rectifier()(features) if activate else features

    def residual(self, features: keras.KerasTensor, dilation: int = 1) -> keras.KerasTensor:
        width = features.shape[-1]
        inner = self.convolution(features, width, dilation=dilation)
        inner = self.convolution(inner, width, activate=False)
        return _rectifier()(layers.Add(dtype=FLOAT)([features, inner]))

    def head(self, pyramid: list[keras.KerasTensor], classes: int) -> tuple[keras.KerasTensor, keras.KerasTensor]:
        """One branch for classes, one for distances; convolutions are shared by the levels, normalisation is not."""
        class_inner, box_inner = self._layer(PYRAMID_WIDTH), self._layer(PYRAMID_WIDTH)
        prior = keras.initializers.Constant(-math.log((1 - PRIOR) / PRIOR))
        class_outer = self._output(classes, prior, CLASS_OUTPUTS)
        box_outer = self._output(4, "zeros")
        logits, distances = [], []
        for level, stride in zip(pyramid, strides(len(pyramid)), strict=True):
            inner = _rectifier()(self._normalisation()(class_inner(level)))
            logits.append(layers.Reshape((-1, classes), dtype=FLOAT)(class_outer(inner)))
            inner = _rectifier()(self._normalisation()(box_inner(level)))
            raw = layers.Reshape((-1, 4), dtype=FLOAT, name=f"raw_distances_{stride}")(box_outer(inner))
            distances.append(ops.exp(ops.clip(raw, -LARGEST_EXPONENT, LARGEST_EXPONENT)) * (2.0 * stride))
        if len(pyramid) == 1:
            return logits[0], distances[0]
        return layers.Concatenate(axis=1)(logits), layers.Concatenate(axis=1)(distances)

    def _layer(self, width: int, kernel: int = 3, stride: int = 1, dilation: int = 1) -> layers.Conv2D:
        return layers.Conv2D(
            width,
            kernel,
            strides=stride,
            dilation_rate=dilation,
            padding="same",
            use_bias=False,
            kernel_initializer=keras.initializers.HeNormal(seed=self.seeds),
        )

    def _output(self, width: int, bias: object, name: str | None = None) -> layers.Conv2D:
        weights = keras.initializers.RandomNormal(stddev=0.01, seed=self.seeds)
        return layers.Conv2D(width, 3, padding="same", kernel_initializer=weights, bias_initializer=bias, name=name)

    @staticmethod
    def _normalisation() -> layers.BatchNormalization:
        # Keras' default momentum of 0.99 would leave the averages unsettled after a training of a few dozen steps.
        return FusedBatchNormalization(momentum=0.9, epsilon=1e-3, dtype=FLOAT)
