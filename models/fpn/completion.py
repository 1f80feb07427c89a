"""Completion: a model adds to examples that are labelled for some classes what it finds of the others it knows.

Pseudo-labels: Lee, ICML workshop 2013; against the forgetting of a detector: Liu et al., arXiv 2003.02568.
"""

from __future__ import annotations

import logging
from dataclasses import replace

import numpy as np

from models.boxes import corners, intersection_over_union
from models.fpn.predictor import Predictor
from models.fpn.prepared import PreparedExamples

logger = logging.getLogger(__name__)

SAME_OBJECT = 0.5


def complete(examples: PreparedExamples, predictor: Predictor, knows: np.ndarray, threshold: float) -> int:
    """Label `examples` in place for the classes that the predictor `knows`, bool [classes]; how many boxes were added.

    An example that is not labelled for such a class gets the boxes of it that score at least `threshold` and overlap
    none of its own by more than half, and counts as labelled for it.
    """
    added = completed = 0
    for position, outline in enumerate(examples.outlines):
        missing = knows & ~outline.labelled
        if not missing.any():
            continue
        wanted = {label: index for index, label in enumerate(examples.labels) if missing[index]}
        (predicted,) = predictor.predict([examples.pixels(position)])
        found = [box for box in predicted if box.label in wanted and (box.score or 0.0) >= threshold]
        overlap = intersection_over_union(corners(found), outline.boxes).max(axis=1, initial=0.0)
        new = [box for box, most in zip(found, overlap, strict=True) if most <= SAME_OBJECT]
        examples.outlines[position] = replace(
            outline,
            boxes=np.concatenate([outline.boxes, corners(new)]),
            classes=np.concatenate([outline.classes, np.array([wanted[box.label] for box in new], np.int32)]),
            labelled=outline.labelled | knows,
        )
        added, completed = added + len(new), completed + 1
    if completed:
        logger.info("%d examples, labelled for some classes, were completed with %d boxes", completed, added)
    return added
