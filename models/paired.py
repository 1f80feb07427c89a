"""What one model has more of a pooled metric than another on the same images, and how sure that is.

The images are the sample. The standard error is the jackknife's, from leave-one-image-out pseudo-values: Quenouille,
"Notes on bias in estimation" (1956); Tukey, "Bias and confidence in not quite large samples" (1958); Efron and
Tibshirani, "An Introduction to the Bootstrap" (1993), chapter 11.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from typing import Literal

import numpy as np

from models.metrics import Counts, EvaluationReport

Metric = Literal["ap", "precision", "recall", "f1"]


class Incomparable(ValueError):
    """Two reports of which no paired difference can be taken; the message says why."""


@dataclass(frozen=True)
class PairedDelta:
    """A candidate's metric minus the served model's on the same `images`, with its jackknife standard error.

    `differing` counts the images to which the two answered otherwise, as far as the metric sees it.
    """

    metric: str
    images: int
    differing: int
    value: float
    standard_error: float

    @classmethod
    def of(cls, metric: Metric, candidate: Results, served: Results) -> PairedDelta:
        """The difference between the results of two models on the same images.

        Raises:
            Incomparable: the metric is undefined on them, or without one of them.
        """
        new, old = _jackknife(candidate, metric), _jackknife(served, metric)
        differences, count = new.pseudo_values - old.pseudo_values, len(new.pseudo_values)
        return cls(
            metric=metric,
            images=count,
            differing=int((candidate.answers(metric) != served.answers(metric)).any(axis=0).sum()),
            value=new.value - old.value,
            standard_error=float(differences.std(ddof=1) / math.sqrt(count)),
        )

    def lower_bound(self, alpha: float) -> float:
        """What the true difference is more than, with confidence 1 - `alpha`: Student's t with images - 1 degrees.

        Raises:
            ValueError: `alpha` is not between 0 and 0.5.
        """
        from scipy.special import stdtrit

        if not 0 < alpha < 0.5:
            raise ValueError(f"alpha is {alpha:g}; it must be between 0 and 0.5")
        return self.value + float(stdtrit(self.images - 1, alpha)) * self.standard_error


def fewest_differing(alpha: float) -> int:
    """How many images must differ before any of them can say something with confidence 1 - `alpha`.

    If neither model were better, each would fall to either with even chance: d of them all to the same one with
    probability 2 ** -d, the least that Fisher's randomisation test of pairs can attain (1935, "The Design of
    Experiments", section 21).
    """
    return math.ceil(-math.log2(alpha))


def paired_delta(
    candidate: EvaluationReport, served: EvaluationReport, metric: Metric, images: Collection[str] | None = None
) -> PairedDelta:
    """Candidate minus served in `metric`, pooled over `images`, by default over all that the reports have.

    Raises:
        Incomparable: the reports are not about the same true boxes, `images` are not in them or fewer than two, or the
            metric is undefined on them, or without one of them.
    """
    names = sorted(candidate.per_image if images is None else images)
    _check(candidate, served, names)
    return PairedDelta.of(metric, Results.of(candidate, names), Results.of(served, names))


@dataclass(frozen=True)
class Results:
    """What one report says of `images`, by their place in it.

    Detections, best first: their `score`, float64 [d], whether they are `right`, bool [d], and the place of their
    `image`, int [d]. `tp`, `fp` at the threshold and `support`, int [n].
    """

    score: np.ndarray
    right: np.ndarray
    image: np.ndarray
    tp: np.ndarray
    fp: np.ndarray
    support: np.ndarray

    @classmethod
    def of(cls, report: EvaluationReport, images: Collection[str]) -> Results:
        """The results of these images of a report."""
        tables = [report.per_image[name].values() for name in images]
        lists = [[(scores, hits) for counts in table for scores, hits in _lists(counts)] for table in tables]
        score = np.array([score for each in lists for scores, _ in each for score in scores], np.float64)
        right = np.array([hits for each in lists for scores, hits in each for _ in scores], bool)
        image = np.repeat(np.arange(len(tables)), [sum(len(scores) for scores, _ in each) for each in lists])
        order = np.lexsort((right, -score))
        return cls(
            score=score[order],
            right=right[order],
            image=image[order],
            tp=np.array([sum(counts.tp for counts in table) for table in tables], np.int64),
            fp=np.array([sum(counts.fp for counts in table) for table in tables], np.int64),
            support=np.array([sum(counts.support for counts in table) for table in tables], np.int64),
        )

    def answers(self, metric: Metric) -> np.ndarray:
        """What of each image bears on the metric, float64 [.., n]; AP: how many are right and wrong, and their sums."""
        if metric != "ap":
            return np.stack([self.tp, self.fp])
        kinds = 2 * self.image + self.right
        weights = (np.ones(len(kinds)), self.score)
        return np.concatenate([np.bincount(kinds, each, 2 * len(self.support)).reshape(-1, 2).T for each in weights])


def _lists(counts: Counts) -> Iterator[tuple[list[float], bool]]:
    yield counts.right, True
    yield counts.wrong, False


def _check(candidate: EvaluationReport, served: EvaluationReport, names: list[str]) -> None:
    problems = []
    for report, whose in ((candidate, "candidate's"), (served, "served model's")):
        if missing := [name for name in names if name not in report.per_image]:
            problems.append(f"the {whose} report lacks {len(missing)} of {len(names)} images, the first {missing[0]}")
    if not problems:
        other = [name for name in names if _support(candidate, name) != _support(served, name)]
        if other:
            problems.append(f"the two reports have other true boxes in {len(other)} images, the first {other[0]}")
    if len(names) < 2:
        problems.append(f"there are {len(names)} images to compare on, and it takes at least 2")
    if problems:
        raise Incomparable("; ".join(problems))


def _support(report: EvaluationReport, name: str) -> dict[str, int]:
    return {label: counts.support for label, counts in report.per_image[name].items() if counts.support}


@dataclass(frozen=True)
class _Jackknife:
    """A metric of all images, and the pseudo-value of each: n times it, less n - 1 times what it is without."""

    value: float
    pseudo_values: np.ndarray


def _jackknife(results: Results, metric: Metric) -> _Jackknife:
    value, without = _average_precisions(results) if metric == "ap" else _ratios(results, metric)
    if not math.isfinite(value) or not np.isfinite(without).all():
        where = "on these images" if not math.isfinite(value) else "without one of these images"
        raise Incomparable(f"{metric} is undefined {where}, so there is no telling how sure a difference is")
    count = len(without)
    return _Jackknife(value, count * value - (count - 1) * without)


def _ratios(results: Results, metric: Metric) -> tuple[float, np.ndarray]:
    """Precision, recall or F over all images, and without each of them, float64 [n]; nan where undefined."""
    above, below = {
        "precision": (results.tp, results.tp + results.fp),
        "recall": (results.tp, results.support),
        "f1": (2 * results.tp, results.tp + results.fp + results.support),
    }[metric]
    with np.errstate(invalid="ignore", divide="ignore"):
        whole = np.float64(above.sum()) / below.sum()
        return float(whole), (above.sum() - above) / (below.sum() - below)


def _average_precisions(results: Results) -> tuple[float, np.ndarray]:
    """Average precision over all images, and without each of them, float64 [n]; nan where undefined.

    A hit that is the H-th hit and the R-th detection adds H / R, and (H - a) / (R - b) once an image is left out that
    has b detections ranked above it, a of them hits. Between two detections of that image a and b stay the same, and
    few pairs (a, b) occur, so that running sums over the hits, one for each pair, answer for all images at once.
    """
    right, support = results.right, results.support
    hits = np.arange(1.0, right.sum() + 1)
    ranks = np.flatnonzero(right) + 1.0
    stretches = _stretches(results)
    sums = np.zeros(len(support))
    order = np.lexsort((stretches.own_hits, stretches.own_detections))
    pairs = np.stack([stretches.own_hits, stretches.own_detections])[:, order]
    for places in np.split(order, np.flatnonzero(np.diff(pairs).any(axis=0)) + 1):
        first = stretches.start[places].min(initial=len(hits))
        a, b = stretches.own_hits[places[:1]], stretches.own_detections[places[:1]]
        running = np.concatenate([[0.0], np.cumsum((hits[first:] - a) / (ranks[first:] - b))])
        summed = running[stretches.end[places] - first] - running[stretches.start[places] - first]
        sums += np.bincount(stretches.image[places], summed, len(support))
    with np.errstate(invalid="ignore", divide="ignore"):
        whole = np.float64((hits / ranks).sum()) / support.sum()
        return float(whole), sums / (support.sum() - support)


@dataclass(frozen=True)
class _Stretches:
    """Runs of hits, by rank from `start` up to, not including, `end`, between two detections of one `image`.

    Before them that image has `own_detections`, `own_hits` of which are right. Runs without a hit are left out.
    """

    image: np.ndarray
    start: np.ndarray
    end: np.ndarray
    own_hits: np.ndarray
    own_detections: np.ndarray


def _stretches(results: Results) -> _Stretches:
    right, count = results.right, len(results.support)
    # Of each image first a place above all its detections, then these by rank.
    grouped = np.lexsort((np.arange(len(right)), results.image))
    image = np.concatenate([np.arange(count), results.image[grouped]])
    order = np.argsort(image, kind="stable")
    image = image[order]
    hit = np.concatenate([np.zeros(count, bool), right[grouped]])[order]
    above = np.concatenate([np.zeros(count, int), (np.cumsum(right) - right)[grouped]])[order]
    first = np.searchsorted(image, image)
    so_far = np.cumsum(hit)
    ends = np.append(image[1:] != image[:-1], True)
    stretches = {
        "image": image,
        "start": above + hit,
        "end": np.where(ends, right.sum(), np.append(above[1:], 0)),
        "own_hits": so_far - so_far[first],
        "own_detections": np.arange(len(image)) - first,
    }
    filled = stretches["start"] < stretches["end"]
    return _Stretches(**{name: values[filled] for name, values in stretches.items()})
