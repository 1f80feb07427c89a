"""Boxes stay on their objects, whatever is cut, flipped and pasted."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from data.sample import Box, Example
from models.fpn.augment import Sampler, turn
from models.fpn.prepared import PreparedExamples

CLASSES = [str(value) for value in range(10)]


def painted(index: int) -> Example:
    """A dark image whose boxes are painted with their class's grey; image and template alike."""
    random = np.random.default_rng(index)
    image = np.zeros((96, 128), np.uint8)
    boxes = []
    for row, column in ((0, 0), (0, 1), (1, 0), (1, 1)):
        x, y = column * 64 + int(random.integers(0, 40)), row * 48 + int(random.integers(0, 24))
        width, height, label = (int(random.integers(8, 24)), int(random.integers(8, 24)), int(random.integers(10)))
        image[y : y + height, x : x + width] = 100 + label
        boxes.append(Box(x, y, x + width, y + height, str(label)))
    return Example(f"painted-{index}", image, image.copy(), tuple(boxes), "painted")


@pytest.fixture(scope="module")
def prepared() -> PreparedExamples:
    return PreparedExamples([painted(index) for index in range(6)], CLASSES, "pair")


@given(st.integers(0, 10_000), st.sampled_from([64, 96]))
def test_a_box_frames_its_object_exactly(prepared, seed, side):
    sample = Sampler(prepared, side).draw(np.random.default_rng(seed))
    assert sample.pixels.shape == (side, side, 2)
    unexplained = sample.pixels[..., 0] > 0
    for box, label in zip(sample.boxes.astype(int), sample.classes, strict=True):
        assert (sample.pixels[box[1] : box[3], box[0] : box[2], 0] == 100 + label).all()
        unexplained[box[1] : box[3], box[0] : box[2]] = False
    for box in sample.ignored.astype(int):
        unexplained[box[1] : box[3], box[0] : box[2]] = False
    assert not unexplained.any()


@given(st.integers(0, 10_000), st.floats(1.1, 2.0))
def test_a_zoomed_box_frames_its_object_but_for_blurred_edges(prepared, seed, zoom):
    sample = Sampler(prepared, 64, zoom=zoom).draw(np.random.default_rng(seed))
    assert sample.pixels.shape == (64, 64, 2)
    blur = 2
    unexplained = sample.pixels[..., 0] > 0
    for box, label in zip(sample.boxes, sample.classes, strict=True):
        left, top, right, bottom = (int(side) for side in np.round(box))
        inside = sample.pixels[top + blur : bottom - blur, left + blur : right - blur, 0]
        assert (inside == 100 + label).all()
    for box in (*sample.boxes, *sample.ignored):
        left, top, right, bottom = (int(side) for side in np.round(box))
        unexplained[max(top - blur, 0) : bottom + blur, max(left - blur, 0) : right + blur] = False
    assert not unexplained.any()


def test_zoom_shows_objects_in_other_sizes_and_half_of_them_as_they_are():
    sampler = Sampler(PreparedExamples([painted(0)], CLASSES, "pair"), 64, zoom=1.5)
    side = 48
    sides = [
        sampler._side_to_cut(np.random.default_rng(seed), sampler.examples.outlines[0], side) for seed in range(400)
    ]
    assert min(sides) == pytest.approx(side / 1.5, abs=2)
    assert max(sides) == pytest.approx(side * 1.5, abs=2)
    assert sides.count(side) == pytest.approx(200, abs=40)


@given(st.integers(0, 10_000))
def test_the_template_is_at_most_two_pixels_off(prepared, seed):
    random = np.random.default_rng(seed)
    sample = Sampler(prepared, 64)._window(random, 64, near_object=True)
    image, template = sample.pixels[..., 0], sample.pixels[..., 1]
    inner = np.s_[2:-2, 2:-2]
    shifts = [(down, right) for down in range(-2, 3) for right in range(-2, 3)]
    assert any(np.array_equal(np.roll(template, shift, (0, 1))[inner], image[inner]) for shift in shifts)


def test_each_quarter_is_labelled_for_what_its_own_image_is_labelled_for():
    examples = [painted(index) for index in range(8)]
    boxes = [[replace(box, label=str(index)) for box in example.boxes] for index, example in enumerate(examples)]
    examples = [
        replace(example, boxes=tuple(own), classes=frozenset({own[0].label}))
        for example, own in zip(examples, boxes, strict=True)
    ]
    sampler = Sampler(PreparedExamples(examples, CLASSES, "pair"), 64)
    mixed = 0
    for seed in range(40):
        sample = sampler.draw(np.random.default_rng(seed))
        assert sample.labelled.shape == (4, len(CLASSES))
        assert (sample.labelled.sum(axis=1) == 1).all()
        mixed += len({row.argmax() for row in sample.labelled}) > 1
        for box, label in zip(sample.boxes, sample.classes, strict=True):
            right, below = (box[:2] + box[2:]) / 2 >= 32
            assert sample.labelled[right + 2 * below, label]
    assert 10 < mixed < 40


def test_fresh_examples_make_up_half():
    examples = [painted(index) for index in range(20)]
    prepared = PreparedExamples(examples, CLASSES, "pair")
    sampler = Sampler(prepared, 64, fresh=frozenset({"painted-3"}))
    random = np.random.default_rng(0)
    drawn = [int(random.choice(sampler.groups[random.integers(len(sampler.groups))])) for _ in range(2000)]
    assert drawn.count(3) == pytest.approx(1000, abs=100)


@pytest.mark.parametrize("symmetry", range(8))
def test_boxes_turn_with_the_pixels(symmetry):
    pixels = np.zeros((16, 16, 1), np.uint8)
    pixels[2:5, 3:10] = 1
    turned, (boxes,) = turn(pixels, [np.array([[3, 2, 10, 5]])], symmetry)
    x1, y1, x2, y2 = boxes[0]
    assert turned[y1:y2, x1:x2].all()
    assert turned.sum() == (x2 - x1) * (y2 - y1)


def test_the_eight_symmetries_differ():
    pixels = np.arange(16).reshape(4, 4, 1)
    assert len({turn(pixels, [], symmetry)[0].tobytes() for symmetry in range(8)}) == 8


def test_objects_are_taught_as_often_where_most_images_have_none():
    flawless = [replace(painted(index), sample_id=f"flawless-{index}", boxes=()) for index in range(1, 10)]
    few = Sampler(PreparedExamples([painted(0), *flawless], CLASSES, "pair"), 64, fresh=frozenset({"flawless-3"}))
    all_flawless = Sampler(PreparedExamples(flawless, CLASSES, "pair"), 64)
    drawn = [few._window(np.random.default_rng(seed), 64, near_object=True) for seed in range(40)]
    assert all(len(window.boxes) for window in drawn)
    anywhere = [few._window(np.random.default_rng(seed), 64, near_object=False) for seed in range(40)]
    assert sum(len(window.boxes) + len(window.ignored) > 0 for window in anywhere) < 20
    assert not len(all_flawless.draw(np.random.default_rng(0)).boxes)
