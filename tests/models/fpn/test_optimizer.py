"""The optimizer agrees with Keras' own, and its schedule is one hump."""

from __future__ import annotations

import keras
import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given
from hypothesis import strategies as st

from models.fpn.optimizer import LARGEST_GRADIENT, AdamW, learning_rate


def test_agrees_with_keras():
    random = np.random.default_rng(0)
    start = [random.normal(size=shape).astype(np.float32) for shape in ((3, 4), (4,))]
    ours, theirs = ([keras.Variable(value) for value in start] for _ in range(2))
    optimizer = AdamW(ours, weight_decay=0.1)
    reference = keras.optimizers.AdamW(0.01, weight_decay=0.1, global_clipnorm=LARGEST_GRADIENT)
    reference.build(theirs)
    reference.exclude_from_weight_decay([theirs[1]])
    for step in range(5):
        gradients = [tf.constant(random.normal(size=value.shape) * 20, tf.float32) for value in start]
        optimizer.apply(gradients, tf.constant(0.01), tf.constant(float(step)))
        reference.apply(gradients, theirs)
    for mine, other in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(np.asarray(mine), np.asarray(other), atol=1e-5)


def test_the_state_continues():
    weights = [keras.Variable(np.ones((2, 2), np.float32))]
    first, second = AdamW(weights, 0.0), AdamW(weights, 0.0)
    first.apply([tf.ones((2, 2))], tf.constant(0.1), tf.constant(0.0))
    second.set_state(first.get_state())
    assert all(np.array_equal(a, b) for a, b in zip(first.get_state(), second.get_state(), strict=True))


@given(st.integers(1, 500), st.floats(1e-5, 1))
def test_the_rate_rises_to_its_peak_and_falls_to_nearly_nothing(steps, peak):
    warm_up = max(1, steps // 30)
    rates = [learning_rate(step, steps, warm_up, peak) for step in range(steps)]
    assert max(rates) == pytest.approx(peak)
    assert all(rate > 0 for rate in rates)
    assert (np.diff(rates[: warm_up + 1]) > -1e-9).all()
    assert (np.diff(rates[warm_up:]) < 1e-9).all()
