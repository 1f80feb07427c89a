"""Which set of images teaches most for the labels it costs: the greedy choice of the miner `Informative`.

An image is worth its uncertainty, times what it adds to what people were asked about before and in this choice. Each
pick lowers the worth of what it resembles, so that a set is picked, not the same image many times (the trade of
uncertainty and diversity: Settles, "Active Learning", 2012, chapter 5). Worth only ever falls: those picked first are
worth most.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from data.ledger import Look
from data.sample import Prediction

# Bits at which an image is half as hard as can be. A hundred doubtful boxes are noise, not a hundred times the lesson.
HALF_HARD = 2.0
# An image where nothing was found counts as one box that may as well be one as not.
BITS_OF_NOTHING = 1.0
# Of the 64 bits of two difference hashes: from how many on that differ the images are nothing like each other, and up
# to how many they may be frames of one thing.
UNLIKE = 16
ALIKE = 12
MOST_COMPARED = 8


@dataclass(frozen=True)
class Surroundings:
    """What is known of the images to choose among, and of those that people were asked about before.

    Attributes:
        looks: the look of each image to choose among, by its sample's id.
        asked: the looks of those that wait for people or have been with them.
        support: how many boxes of each class are labelled.
        same_frame: whether two samples, by their ids, show the same; asked only of some that look alike.
    """

    looks: Mapping[str, Look]
    asked: Sequence[Look] = ()
    support: Mapping[str, int] = field(default_factory=dict)
    same_frame: Callable[[str, str], bool] = lambda _first, _second: False


@dataclass(frozen=True)
class Picked:
    """The samples picked, best first; what each was worth then, or is now, in [0, 1]; those found near-duplicates."""

    order: list[str]
    hardness: dict[str, float]
    near_duplicates: set[str]


def binary_entropy(scores: np.ndarray) -> np.ndarray:
    """The entropy in bits of a choice of two with these probabilities, 0 where one is 0 or 1."""
    inside = np.clip(scores, np.finfo(float).tiny, 1 - np.finfo(float).epsneg)
    bits = -inside * np.log2(inside) - (1 - inside) * np.log2(1 - inside)
    return np.where((scores > 0) & (scores < 1), bits, 0.0)


def hardness_of(bits: np.ndarray) -> np.ndarray:
    """How hard images with so many bits of entropy are, in [0, 1)."""
    return bits / (bits + HALF_HARD)


def pick(
    candidates: Sequence[Prediction],
    places: int,
    surroundings: Surroundings,
    drawn: Sequence[Prediction] = (),
    *,
    balance: float = 1.0,
    diversity: float = 1.0,
) -> Picked:
    """Pick up to `places` of the candidates, one after the other; of equals the first, and no near-duplicate.

    Args:
        candidates: what was found in each, every box with its score.
        places: how many to pick.
        surroundings: what is known of the candidates, of `drawn` and of those asked about before.
        drawn: what was found in those that are chosen already.
        balance: 1 weighs boxes by how rare their class is among the labels, 0 all alike.
        diversity: 1 prefers domains that people were asked little about and what looks like nothing chosen, 0 neither.
    """
    ids = [prediction.sample_id for prediction in candidates]
    if not ids:
        return Picked([], {}, set())
    worth = _Worth(candidates, surroundings, drawn, balance, diversity)
    hardness = worth.now()
    free = np.ones(len(ids), bool)
    order: list[str] = []
    near_duplicates = set()
    while len(order) < places and free.any():
        best = int(np.where(free, hardness, -1.0).argmax())
        free[best] = False
        if any(surroundings.same_frame(ids[best], other) for other in worth.alike(best)):
            near_duplicates.add(ids[best])
            hardness[best] = 0.0
            continue
        order.append(ids[best])
        worth.take(best)
        # Not above what it was: rounding must not make the worth of anything rise.
        hardness = np.where(free, np.minimum(hardness, worth.now()), hardness)
    return Picked(order, dict(zip(ids, hardness.tolist(), strict=True)), near_duplicates)


class _Worth:
    """What each candidate is worth beside what is chosen."""

    def __init__(
        self,
        candidates: Sequence[Prediction],
        surroundings: Surroundings,
        drawn: Sequence[Prediction],
        balance: float,
        diversity: float,
    ):
        self._balance, self._diversity = balance, diversity
        looks = [surroundings.looks[prediction.sample_id] for prediction in candidates]
        chosen = [*surroundings.asked, *(surroundings.looks[prediction.sample_id] for prediction in drawn)]

        boxes = [box for prediction in candidates for box in prediction.boxes]
        lengths = [len(prediction.boxes) for prediction in candidates]
        classes = _numbered(box.label for box in boxes)
        self._starts = np.concatenate([[0], np.cumsum(lengths)])
        self._image = np.repeat(np.arange(len(lengths)), lengths)
        self._class = np.fromiter((classes[box.label] for box in boxes), np.intp, len(boxes))
        self._score = np.fromiter((box.score for box in boxes), float, len(boxes))
        self._bits = binary_entropy(self._score)
        self._bits_of_nothing = np.where(np.array(lengths) == 0, BITS_OF_NOTHING, 0.0)
        self._labelled = np.array([surroundings.support.get(name, 0) for name in classes], float)
        for box in (box for prediction in drawn for box in prediction.boxes if box.label in classes):
            self._labelled[classes[box.label]] += box.score or 0.0
        self._rarest = self._labelled.min(initial=np.inf)

        domains = _numbered(look.domain for look in looks)
        self._domain = np.array([domains[look.domain] for look in looks])
        # Domains of which there is no candidate share the last number.
        chosen_domains = np.array([domains.get(look.domain, len(domains)) for look in chosen], int)
        self._asked = np.bincount(chosen_domains, minlength=len(domains) + 1).astype(float)
        self._least_asked = self._asked[:-1].min()

        self._ids = [look.sample_id for look in looks]
        self._hashes = np.array([look.difference_hash for look in looks], np.uint64)
        self._chosen_ids = [look.sample_id for look in chosen]
        self._chosen_hashes = np.array([look.difference_hash for look in chosen], np.uint64)
        self._chosen_domains = chosen_domains
        self._likeness = np.zeros(len(looks))
        for difference_hash in np.unique(self._chosen_hashes):
            self._liken(difference_hash)

    def now(self) -> np.ndarray:
        """The worth of each candidate, in [0, 1]."""
        weights = ((self._rarest + 1) / (self._labelled + 1)) ** (self._balance / 2)
        bits = np.bincount(self._image, self._bits * weights[self._class], minlength=len(self._ids))
        domains = ((self._least_asked + 1) / (self._asked + 1)) ** (self._diversity / 2)
        unlike = 1 - self._diversity * self._likeness / 2
        worth: np.ndarray = hardness_of(self._bits_of_nothing + bits) * domains[self._domain] * unlike
        return worth

    def alike(self, index: int) -> list[str]:
        """The chosen that may be frames of what a candidate shows: of its domain, nearest first."""
        apart = _distances(self._chosen_hashes, self._hashes[index])
        near = np.flatnonzero((apart <= ALIKE) & (self._chosen_domains == self._domain[index]))
        nearest = near[np.argsort(apart[near], kind="stable")][:MOST_COMPARED]
        return [self._chosen_ids[place] for place in nearest]

    def take(self, index: int) -> None:
        """Count a candidate among the chosen, with as many boxes of each class as are to be expected."""
        boxes = slice(self._starts[index], self._starts[index + 1])
        self._labelled += np.bincount(self._class[boxes], self._score[boxes], minlength=len(self._labelled))
        self._asked[self._domain[index]] += 1
        self._chosen_ids.append(self._ids[index])
        self._chosen_hashes = np.append(self._chosen_hashes, self._hashes[index])
        self._chosen_domains = np.append(self._chosen_domains, self._domain[index])
        self._liken(self._hashes[index])

    def _liken(self, difference_hash: np.uint64) -> None:
        """Raise the likeness of each candidate, in [0, 1], to that with a chosen one."""
        apart = _distances(self._hashes, difference_hash)
        np.maximum(self._likeness, 1 - apart / UNLIKE, out=self._likeness)


def _numbered(names: Iterable[str]) -> dict[str, int]:
    return {name: number for number, name in enumerate(sorted(set(names)))}


def _distances(hashes: np.ndarray, other: np.uint64) -> np.ndarray:
    """In how many bits each hash differs from another."""
    distances: np.ndarray = np.bitwise_count(hashes ^ other)
    return distances
