"""Memory: which of the samples that a model has learnt from it is shown again while it learns new ones.

A memory filled greedily and evenly over the classes: GDumb, Prabhu et al., ECCV 2020; here over the domains too.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Collection, Iterable, Mapping

import numpy as np

# Stands for the class of a sample that shows none.
NOTHING = ""


def remember(labels: Mapping[str, Collection[str]], domains: Mapping[str, str], size: int) -> list[str]:
    """At most `size` of the samples in `labels`, so that classes and domains are as even among them as they can be.

    One after the other is taken of those that show the class and come from the domain of which the fewest were taken:
    the pair with the largest 1/(1 + taken of the class) + 1/(1 + taken of the domain); of equal pairs the one that is
    rarer among all, and within it the sample whose id has the smallest hash. So a larger memory begins with the
    smaller one, and the order of the mappings does not matter.

    Args:
        labels: the classes that each sample shows, by sample id.
        domains: the domain of each of these samples.
        size: the most to take.
    """
    shown = {sample_id: frozenset(classes) or {NOTHING} for sample_id, classes in labels.items()}
    by_class = _by_rarity(label for classes in shown.values() for label in classes)
    by_domain = _by_rarity(domains[sample_id] for sample_id in shown)
    waiting: list[list[list[str]]] = [[[] for _ in by_domain] for _ in by_class]
    # The smallest hash last, where a list is popped.
    for sample_id in sorted(shown, key=_hash, reverse=True):
        for label in shown[sample_id]:
            waiting[by_class[label]][by_domain[domains[sample_id]]].append(sample_id)
    of_class, of_domain = np.zeros((len(by_class), 1)), np.zeros((1, len(by_domain)))
    open_ = np.array([[bool(cell) for cell in row] for row in waiting], bool).reshape(len(by_class), len(by_domain))
    taken: dict[str, None] = {}
    while len(taken) < min(size, len(shown)):
        worth = np.where(open_, 1 / (1 + of_class) + 1 / (1 + of_domain), 0.0)
        row, column = divmod(int(worth.argmax()), len(by_domain))
        cell = waiting[row][column]
        while cell and cell[-1] in taken:
            cell.pop()
        if not cell:
            open_[row, column] = False
            continue
        sample_id = cell.pop()
        taken[sample_id] = None
        of_class[[by_class[label] for label in shown[sample_id]]] += 1
        of_domain[0, column] += 1
    return list(taken)


def _by_rarity(names: Iterable[str]) -> dict[str, int]:
    """The place of each name, the rarest first."""
    counts = Counter(names)
    return {name: place for place, name in enumerate(sorted(counts, key=lambda name: (counts[name], name)))}


def _hash(sample_id: str) -> str:
    return hashlib.sha256(sample_id.encode()).hexdigest()
