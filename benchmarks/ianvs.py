"""The two metrics of Ianvs's PCB-AoI benchmark, as its code computes them and without what flatters.

Sources: `f1_score.py` of its testenv, and `samples_transfer_ratio` of core/testcasecontroller/metrics/metrics.py in
https://github.com/kubeedge/ianvs.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from data.sample import Box
from models.boxes import corners, intersection_over_union

OVERLAP = 0.3
LEAST_SCORE = 0.5


@dataclass(frozen=True)
class Transferred:
    """How many images were inferred in a round or test, and how many of them went to people or would have."""

    inferred: int
    hard: int


def f1_score(
    images: Sequence[tuple[Sequence[Box], Sequence[Box]]], classes: Sequence[str], *, all_images: bool = True
) -> float:
    """Mean F1 of the classes over true and predicted boxes, at an overlap of .3 and scores from .5, to four digits.

    Ianvs leaves the true boxes out of a class's recall in every image in which nothing of that class was predicted:
    that is `all_images=False`.
    """
    each = []
    for label in classes:
        right = found = support = 0
        for truth, predicted in images:
            wanted = [box for box in truth if box.label == label]
            got = [box for box in predicted if box.label == label and (box.score or 0.0) >= LEAST_SCORE]
            if not all_images and not got:
                continue
            support, found = support + len(wanted), found + len(got)
            right += _matched(wanted, sorted(got, key=lambda box: -(box.score or 0.0)))
        each.append(2 * right / (support + found) if support + found else 0.0)
    return round(float(np.mean(each)), 4)


def samples_transfer_ratio(rounds: Sequence[Transferred]) -> float:
    """Hard images over inferred ones and one more, the final test among them, to four digits: as Ianvs counts."""
    return round(sum(each.hard for each in rounds) / (sum(each.inferred for each in rounds) + 1), 4)


def labelled_share(labelled: int, arrived: int) -> float:
    """Images that people labelled over images that arrived, the first model's included; none is counted twice.

    Ianvs leaves out the first model's labels, all of which were transferred, and counts the final test, none of which
    is: both make its ratio smaller than what people have to do.
    """
    return round(labelled / arrived, 4)


def _matched(truth: Sequence[Box], predicted: Sequence[Box]) -> int:
    """How many predictions, best first, overlap a true box that is free yet."""
    overlaps = intersection_over_union(corners(predicted), corners(truth))
    free = np.ones(len(truth), bool)
    matched = 0
    for row in overlaps:
        candidates = np.where(free & (row > OVERLAP), row, 0.0)
        if candidates.any():
            free[candidates.argmax()] = False
            matched += 1
    return matched
