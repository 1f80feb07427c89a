"""A ratio of two sums over images that were drawn with known probabilities, and how sure it is.

The estimator is Hájek's: each image counts as many as it stands for, 1 / probability (Hájek 1971, in "Foundations of
Statistical Inference"). The image is the sampling unit, so that boxes of one image that are right or wrong together
count as what they are; the variance is that of the linearised ratio (Woodruff 1971, "A simple method for approximating
the variance of a complicated estimate").
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

CONFIDENCE = 0.95


@dataclass(frozen=True, slots=True)
class WeightedRatio:
    """A ratio in [0, 1] with the ends of its 95 % confidence interval, and the number of images that bear on it."""

    value: float
    low: float
    high: float
    images: int


def weighted_ratio(parts: np.ndarray, wholes: np.ndarray, probabilities: np.ndarray) -> WeightedRatio | None:
    """The sum of `parts` over the sum of `wholes`, each [n] for n images drawn with `probabilities` in (0, 1].

    None where fewer than two images have a whole. Each end of the interval is a quantile of the beta distribution with
    the mean and the effective sample size of the ratio (Korn and Graubard 1998, "Confidence intervals for proportions
    with small expected number of positive counts"), once one more image is added, none of which is a part for the low
    end and all of it for the high end (after Fay and Feuer 1997, "Confidence intervals for directly standardized
    rates"). It is as large as the size-weighted mean of the others, so that where the variance is 0 the number of
    images, not of boxes, says how sure one may be. Where all are of one size and wholly in or out, it is the interval
    of Clopper and Pearson (1934).

    Raises:
        ValueError: a part is below 0 or above its whole, or a probability is not in (0, 1].
    """
    if (parts < 0).any() or (parts > wholes).any() or (probabilities <= 0).any() or (probabilities > 1).any():
        raise ValueError("parts must be between 0 and their wholes, and probabilities above 0 and at most 1")
    bearing = wholes > 0
    if bearing.sum() < 2:
        return None
    part, whole = (sums[bearing] / probabilities[bearing] for sums in (parts, wholes))
    value = float(part.sum() / whole.sum())
    one_more = (whole**2).sum() / whole.sum()
    tail = (1 - CONFIDENCE) / 2
    low = _quantile(np.append(part, 0.0), np.append(whole, one_more), tail)
    high = _quantile(np.append(part, one_more), np.append(whole, one_more), 1 - tail)
    return WeightedRatio(value, min(low, value), max(high, value), int(bearing.sum()))


def _quantile(part: np.ndarray, whole: np.ndarray, probability: float) -> float:
    """The quantile of the beta distribution with the ratio's mean and linearised variance."""
    from scipy.special import betaincinv

    total = whole.sum()
    ratio = part.sum() / total
    if not part.any() or (part == whole).all():
        return float(ratio)
    variance = (((part - ratio * whole) / total) ** 2).sum()
    effective = ratio * (1 - ratio) / variance
    return float(betaincinv(ratio * effective, (1 - ratio) * effective, probability))
