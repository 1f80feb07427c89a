"""What training examples can teach, and what they cannot: classes without a box, boxes of sizes that are not seen."""

from __future__ import annotations

import numpy as np

from models.estimator import TrainingRefused
from models.fpn.prepared import PreparedExamples
from models.recipe import SHORTEST_SIDE, SIDE_UNIT

SHORTEST_BOX = 4


def sample_side(examples: PreparedExamples, crop: int) -> int:
    """The side of a training sample in pixels: `crop`, or what fits into the smallest image.

    Raises:
        TrainingRefused: an image is too small to cut samples from.
    """
    if examples.shortest_side < SHORTEST_SIDE:
        raise TrainingRefused([f"an image has a side of {examples.shortest_side} px; the least is {SHORTEST_SIDE} px"])
    return min(crop, examples.shortest_side // SIDE_UNIT * SIDE_UNIT)


def shortcomings(examples: PreparedExamples, side: int) -> list[str]:
    """What the examples, cut into samples of `side` pixels, do not teach; a sentence for each."""
    labelled = np.sum([outline.labelled for outline in examples.outlines], axis=0)
    found = [0] * len(examples.labels)
    for outline in examples.outlines:
        for index in outline.classes:
            found[index] += 1
    sentences = [
        f"none of the {count} examples that are labelled for {label} has a box of it; nothing of it is learnt"
        for label, count, boxes in zip(examples.labels, labelled, found, strict=True)
        if not boxes
    ]
    sides = longest_sides(examples)
    if too_long := int((sides > side).sum()):
        sentences.append(
            f"{too_long} of {len(sides)} boxes are longer than a training sample of {side} px and teach nothing; "
            "choose a larger crop where the images are larger"
        )
    if too_short := int((sides < SHORTEST_BOX).sum()):
        sentences.append(
            f"{too_short} of {len(sides)} boxes are shorter than {SHORTEST_BOX} px, which is hardly seen; "
            "make sure that they are meant"
        )
    return sentences


def longest_sides(examples: PreparedExamples) -> np.ndarray:
    """The longer side of every box, in pixels."""
    return np.concatenate([outline.longest_sides for outline in examples.outlines])
