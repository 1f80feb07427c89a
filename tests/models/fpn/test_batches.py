"""Batches are the same however they are drawn, and their thread ends with them."""

from __future__ import annotations

import threading

import numpy as np
import pytest

from models.fpn.augment import Sampler
from models.fpn.batches import batch, batches
from models.fpn.prepared import PreparedExamples


@pytest.fixture
def sampler(boards) -> Sampler:
    return Sampler(PreparedExamples(boards(0, 4), ["hole", "spot"], "pair"), 96)


def test_a_resumed_stream_draws_what_an_unbroken_one_draws(sampler):
    whole = list(batches(sampler, 3, 1, seed=7, steps=range(6)))
    resumed = list(batches(sampler, 3, 1, seed=7, steps=range(4, 6)))
    for first, second in zip(whole[4:], resumed, strict=True):
        assert np.array_equal(first.pixels, second.pixels)
        assert np.array_equal(first.classes, second.classes)
        assert np.array_equal(first.boxes, second.boxes)
        assert np.array_equal(first.labelled, second.labelled)
    assert whole[0].labelled.shape == (3, 4, 2)


def test_seeds_and_steps_differ(sampler):
    drawn = {batch(sampler, 2, 1, seed, step).pixels.tobytes() for seed in (0, 1) for step in (0, 1)}
    assert len(drawn) == 4


def test_the_thread_ends_when_the_reader_leaves(sampler):
    stream = batches(sampler, 2, 1, seed=0, steps=range(10_000))
    next(stream)
    stream.close()
    assert not any(thread.name == "batches" for thread in threading.enumerate())


def test_an_error_while_drawing_reaches_the_reader(sampler, monkeypatch):
    def fail(random):
        raise OSError("the shard is gone")

    monkeypatch.setattr(sampler, "draw", fail)
    with pytest.raises(OSError, match="the shard is gone"):
        list(batches(sampler, 2, 1, seed=0, steps=range(3)))
