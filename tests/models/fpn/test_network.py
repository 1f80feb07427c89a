"""The network: shapes for every choice, the size it is meant to have, weights that follow from the seed."""

from __future__ import annotations

import keras
import numpy as np
import pytest

from models.fpn.backend import mixed_precision
from models.fpn.decode import distances as in_pixels
from models.fpn.grid import points, side_multiple
from models.fpn.network import CLASS_OUTPUTS, build_network, for_inference, inherit


@pytest.mark.parametrize(("channels", "levels"), [(1, 1), (2, 2), (2, 3)])
def test_there_is_one_output_for_each_point(channels, levels):
    network = build_network(channels, classes=5, levels=levels)
    unit = side_multiple(levels)
    logits, distances = network(np.zeros((2, 2 * unit, 3 * unit, channels), np.uint8))
    count = len(points(2 * unit, 3 * unit, levels))
    assert logits.shape == (2, count, 5)
    assert distances.shape == (2, count, 4)
    assert (np.asarray(distances) > 0).all()


def test_the_network_is_compact():
    network = build_network(2, classes=6)
    assert sum(int(np.prod(weight.shape)) for weight in network.trainable_weights) == 386_154


def test_the_seed_decides_the_weights():
    first, same, other = (build_network(2, classes=6, seed=seed).get_weights() for seed in (1, 1, 2))
    assert all(np.array_equal(a, b) for a, b in zip(first, same, strict=True))
    assert not all(np.array_equal(a, b) for a, b in zip(first, other, strict=True))


def test_other_random_numbers_are_left_alone():
    keras.utils.set_random_seed(0)
    expected = keras.random.uniform((3,))
    keras.utils.set_random_seed(0)
    build_network(1, classes=1, seed=5)
    assert np.array_equal(keras.random.uniform((3,)), expected)


@pytest.mark.parametrize(("channels", "levels"), [(1, 1), (2, 1), (2, 3)])
def test_the_network_for_inference_answers_the_same(channels, levels):
    network = build_network(channels, classes=3, levels=levels, seed=4)
    random = np.random.default_rng(0)
    network.set_weights([random.uniform(0.2, 1, weight.shape) / 9 for weight in network.get_weights()])
    pixels = random.integers(0, 256, (1, 64, 96, channels), np.uint8)
    logits, distances = (np.asarray(output) for output in network(pixels))
    same, raw = (np.asarray(output) for output in for_inference(network, 3, levels)(pixels))
    assert same == pytest.approx(logits, rel=1e-3)
    assert in_pixels(raw[0], points(64, 96, levels)[:, 2:]) == pytest.approx(distances[0], rel=1e-3)
    assert np.ptp(logits) > 0.1


def test_mixed_precision_computes_in_bfloat16_and_keeps_float32():
    with mixed_precision(True):
        network = build_network(2, classes=3)
    assert {layer.compute_dtype for layer in network.layers if layer.name.startswith("conv")} == {"bfloat16"}
    assert {weight.dtype for weight in network.weights} == {"float32"}
    outputs = network(np.zeros((1, 64, 64, 2), np.uint8))
    assert [output.dtype.name for output in outputs] == ["float32", "float32"]
    plain = build_network(2, classes=3)
    assert {layer.compute_dtype for layer in plain.layers} == {"float32"}
    for output, expected in zip(outputs, plain(np.zeros((1, 64, 64, 2), np.uint8)), strict=True):
        assert np.asarray(output) == pytest.approx(np.asarray(expected), abs=0.3, rel=0.1)


def test_what_is_inherited_lies_between_both_but_for_classes_that_the_parent_did_not_know():
    parent, network = (build_network(2, classes=3, seed=seed) for seed in (1, 2))
    before, after = parent.get_weights(), network.get_weights()
    inherit(network, parent, 0.25, np.array([True, False, True]))
    of_classes = [CLASS_OUTPUTS in weight.path for weight in network.weights]
    assert sum(of_classes) == 2
    for old, new, mixed, by_class in zip(before, after, network.get_weights(), of_classes, strict=True):
        expected = 0.25 * old + 0.75 * new
        if by_class:
            expected[..., 1] = new[..., 1]
        np.testing.assert_allclose(mixed, expected, atol=1e-7)
    assert all(np.array_equal(old, same) for old, same in zip(before, parent.get_weights(), strict=True))
