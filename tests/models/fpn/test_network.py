"""The network: shapes for every choice, the size it is meant to have, weights that follow from the seed."""

from __future__ import annotations

import keras
import numpy as np
import pytest

from models.fpn.grid import points, side_multiple
from models.fpn.network import build_network


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
