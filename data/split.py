"""The split: whether a sample is learnt from or held out, decided once, at first sight, by its hash."""

from __future__ import annotations

import math

from data.sample import Split

HASH_DIGITS = 13


def stratum_size(train_probability: float) -> int:
    """From how many samples on a stratum has both sides: the least n for which n * p >= 1 and n * (1 - p) >= 1."""
    return max(_enough(train_probability), _enough(1 - train_probability))


def assign(sample_id: str, train_probability: float, holdout_in_stratum: int, train_in_stratum: int) -> Split:
    """The side of a new sample of a stratum in which so many samples were assigned to either side before.

    The hash decides: its first 52 bits, as a fraction of their range, below `train_probability` mean train. Only where
    the stratum is so large with this sample that one of its samples is expected on a side, and none is there yet, the
    sample goes to that side. So each side of a stratum gets at most one sample by rule, the share of train converges to
    `train_probability`, and a stratum of `stratum_size` samples has both sides whatever their order.

    Raises:
        ValueError: `sample_id` is not hexadecimal, or `train_probability` is not between 0 and 1.
    """
    if not 0 < train_probability < 1:
        raise ValueError(f"trainProb is {train_probability!r}; it must be above 0 and below 1")
    size = holdout_in_stratum + train_in_stratum + 1
    if holdout_in_stratum == 0 and size >= _enough(1 - train_probability):
        return "holdout"
    if train_in_stratum == 0 and size >= _enough(train_probability):
        return "train"
    fraction = int(sample_id[:HASH_DIGITS], 16) / 16**HASH_DIGITS
    return "train" if fraction < train_probability else "holdout"


def _enough(share: float) -> int:
    """The least whole n with n * share >= 1; 5 for a share of 0.2, though 1 / (1 - 0.8) is a little more than 5."""
    return math.ceil(1 / share - 1e-9)
