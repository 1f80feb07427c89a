"""Examples that can be learnt from, and those that are refused, all at once."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from models.estimator import TrainingRefused
from models.fpn import prepared as prepared_examples
from models.fpn.prepared import PreparedExamples, pixels, stacked

CLASSES = ["hole", "spot"]


def test_a_pair_is_stacked_and_registered(boards):
    example = boards(0, 1)[0]
    off = replace(example, template=np.roll(example.template, 2, axis=1))
    inner = np.s_[8:-8, 8:-8]
    stacked = pixels(off, "pair")
    assert stacked.shape == (128, 128, 2)
    assert np.array_equal(stacked[..., 0], example.image)
    assert np.array_equal(stacked[inner][..., 1], example.template[inner])


def test_an_image_alone_needs_no_template(boards):
    example = replace(boards(0, 1)[0], template=None)
    assert pixels(example, "image").shape == (128, 128, 1)


def test_outlines_hold_the_boxes(boards):
    examples = boards(0, 3)
    prepared = PreparedExamples(examples, CLASSES, "pair")
    assert [outline.sample_id for outline in prepared.outlines] == [example.sample_id for example in examples]
    assert [CLASSES[index] for index in prepared.outlines[0].classes] == [box.label for box in examples[0].boxes]
    assert prepared.shortest_side == 128


def test_outlines_say_what_an_example_is_labelled_for(boards):
    first, second, third = boards(0, 3)
    examples = [
        first,
        replace(second, boxes=(), classes=frozenset({"spot"})),
        replace(third, classes=frozenset(CLASSES)),
    ]
    outlines = PreparedExamples(examples, CLASSES, "pair").outlines
    assert [outline.labelled.tolist() for outline in outlines] == [[True, True], [False, True], [True, True]]


def test_pixels_that_were_not_kept_are_read_again(boards, monkeypatch):
    examples = boards(0, 3)
    monkeypatch.setattr(prepared_examples, "MOST_KEPT_BYTES", examples[0].image.nbytes * 2)
    prepared = PreparedExamples(examples, CLASSES, "pair")
    assert len(prepared._kept) == 1
    for position, example in enumerate(examples):
        assert np.array_equal(prepared.pixels(position), pixels(example, "pair"))


def test_all_problems_are_named(boards):
    first, second, third = boards(0, 3)
    examples = [
        replace(first, template=None),
        replace(second, template=second.template[1:]),
        replace(third, image=third.image[..., None]),
    ]
    with pytest.raises(TrainingRefused) as refused:
        PreparedExamples(examples, ["spot"], "pair")
    text = str(refused.value)
    assert "has no template" in text
    assert "must be the same" in text
    assert "must be grey" in text
    assert "'hole' is not among" in text


def test_nothing_to_learn_from_is_refused():
    with pytest.raises(TrainingRefused, match="not one example"):
        PreparedExamples([], CLASSES, "pair")


def test_a_batch_repeats_the_edges_up_to_what_the_network_needs():
    random = np.random.default_rng(0)
    images = [random.integers(0, 256, (*size, 2), np.uint8) for size in ((20, 50), (33, 16))]
    batch = stacked(images, levels=1)
    assert batch.shape == (2, 48, 64, 2)
    assert np.array_equal(batch[0, :20, :50], images[0])
    assert (batch[0, 20:, :50] == images[0][-1]).all()
    assert (batch[1, :33, 16:] == images[1][:, -1:]).all()
    assert stacked(images, levels=3).shape == (2, 64, 64, 2)
    assert stacked([images[0]], levels=1).shape == (1, 32, 64, 2)
    whole = random.integers(0, 256, (32, 64, 1), np.uint8)
    assert np.array_equal(stacked([whole], levels=1)[0], whole)
