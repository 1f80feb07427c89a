"""The network: a small residual pyramid whose fused stride-8 features see wide context, and a shared anchor-free head.

Feature pyramid: Lin et al., arXiv 1612.03144. Head: one distance to each side per point, as in FCOS, arXiv 1904.01355.
"""

from __future__ import annotations

import math

import keras
from keras import layers, ops

FINEST_STRIDE = 8
MOST_LEVELS = 3
WIDTHS = {2: 8, 4: 16, 8: 48, 16: 64, 32: 96}
PYRAMID_WIDTH = 48
PRIOR = 0.01


def build_network(input_channels: int, classes: int, levels: int = 1, seed: int = 0) -> keras.Model:
    """A network with fresh weights.

    Input: uint8 [batch, height, width, input_channels], sides multiples of `side_multiple(levels)`; channel 0 is the
    image and channel 1, if there is one, its template.
    Outputs, for every point of every level, finest first and row by row: class logits [batch, points, classes] and
    the distances in pixels from the point to the left, top, right and bottom of its box [batch, points, 4].
    """
    build = _Builder(seed)
    pixels = keras.Input((None, None, input_channels), dtype="uint8", name="pixels")
    features = _normalised(pixels, input_channels)
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
        pyramid.insert(0, layers.Add()([lateral, layers.UpSampling2D(2)(pyramid[0])]))
    predicted = [build.residual(build.convolution(level, PYRAMID_WIDTH)) for level in pyramid[:levels]]
    logits, distances = build.head(predicted, classes)
    return keras.Model(pixels, (logits, distances), name="fpn")


def strides(levels: int) -> list[int]:
    """The stride in pixels of each prediction level, finest first."""
    return [FINEST_STRIDE << level for level in range(levels)]


def side_multiple(levels: int) -> int:
    """What the sides of an input must be a multiple of: the coarsest stride that the network computes."""
    return max(16, FINEST_STRIDE << (levels - 1))


def _stages(levels: int) -> list[tuple[int, tuple[int, ...]]]:
    """Stride and residual dilations of each stage; stride 16 is there even where only stride 8 predicts, as context."""
    stages: list[tuple[int, tuple[int, ...]]] = [(8, (1, 1)), (16, (1, 2))]
    return [*stages, (32, (1, 2))] if levels == MOST_LEVELS else stages


def _normalised(pixels: keras.KerasTensor, input_channels: int) -> keras.KerasTensor:
    """The image in -1..1 and, with a template, half its difference from it."""
    scaled = layers.Rescaling(1 / 127.5, offset=-1.0)(pixels)
    if input_channels == 1:
        return scaled
    image, template = scaled[..., :1], scaled[..., 1:]
    return layers.Concatenate()([image, (image - template) * 0.5])


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
        return layers.ReLU()(features) if activate else features

    def residual(self, features: keras.KerasTensor, dilation: int = 1) -> keras.KerasTensor:
        width = features.shape[-1]
        inner = self.convolution(features, width, dilation=dilation)
        inner = self.convolution(inner, width, activate=False)
        return layers.ReLU()(layers.Add()([features, inner]))

    def head(self, pyramid: list[keras.KerasTensor], classes: int) -> tuple[keras.KerasTensor, keras.KerasTensor]:
        """One branch for classes, one for distances; convolutions are shared by the levels, normalisation is not."""
        class_inner, box_inner = self._layer(PYRAMID_WIDTH), self._layer(PYRAMID_WIDTH)
        prior = keras.initializers.Constant(-math.log((1 - PRIOR) / PRIOR))
        class_outer = self._output(classes, prior)
        box_outer = self._output(4, "zeros")
        logits, distances = [], []
        for level, stride in zip(pyramid, strides(len(pyramid)), strict=True):
            inner = layers.ReLU()(self._normalisation()(class_inner(level)))
            logits.append(layers.Reshape((-1, classes))(class_outer(inner)))
            inner = layers.ReLU()(self._normalisation()(box_inner(level)))
            raw = layers.Reshape((-1, 4))(box_outer(inner))
            distances.append(ops.exp(ops.clip(raw, -5.0, 5.0)) * (2.0 * stride))
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

    def _output(self, width: int, bias: object) -> layers.Conv2D:
        weights = keras.initializers.RandomNormal(stddev=0.01, seed=self.seeds)
        return layers.Conv2D(width, 3, padding="same", kernel_initializer=weights, bias_initializer=bias)

    @staticmethod
    def _normalisation() -> layers.BatchNormalization:
        # Keras' default momentum of 0.99 would leave the averages unsettled after a training of a few dozen steps.
        return layers.BatchNormalization(momentum=0.9, epsilon=1e-3)
