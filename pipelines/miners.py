"""The miners: what tells hard images from easy ones, by the name that a job gives.

Informative is Ratchet's own: it also weighs what an image adds to the others, as `pipelines/informative.py` says.
Threshold, CrossEntropy, IBT, Random, CloudOnly and EdgeOnly are those of Sedna
(lib/sedna/algorithms/hard_example_mining), with its formulas; what they left undefined is defined here.
A miner of one's own is a class with `judge`, decorated with `@ClassFactory.register(ClassType.HEM, alias="Name")`.
"""

from __future__ import annotations

import hashlib
import inspect
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from data.sample import Prediction
from models.estimator import ClassFactory, ClassType
from pipelines.informative import binary_entropy, hardness_of

TOLERANCE = 1e-9


class MiningRefused(ValueError):
    """A miner or predictions that cannot be used; `problems` names everything that is wrong with them."""

    def __init__(self, problems: list[str]):
        self.problems = problems
        super().__init__("; ".join(problems))


@dataclass(frozen=True, slots=True)
class Judgement:
    """A miner's verdict on one image: hard or not, how hard in [0, 1], the probability of a verdict left to chance."""

    hard: bool
    hardness: float
    probability: float = 1.0


class Miner(Protocol):
    """What tells hard images from easy ones."""

    def judge(self, prediction: Prediction) -> Judgement | None:
        """The verdict on an image; none where it rests on the boxes found and there are none."""
        ...


def create_miner(name: str, parameters: Mapping[str, Any]) -> Miner:
    """The miner registered as `name`; numbers may be given as text.

    Raises:
        MiningRefused: no such miner, or parameters that it does not have, that are no numbers or out of range.
    """
    try:
        miner_class = ClassFactory.get_cls(ClassType.HEM, name)
    except LookupError:
        names = sorted(alias for kind, alias in ClassFactory.registry if kind is ClassType.HEM)
        raise MiningRefused([f"hardExampleMining.name is {name!r}; the miners are {', '.join(names)}"]) from None
    allowed = inspect.signature(miner_class).parameters
    problems, values = [], {}
    for key, value in parameters.items():
        if key not in allowed:
            listed = ", ".join(allowed) or "none"
            problems.append(f"{name} has no parameter {key!r}; its parameters are {listed}")
            continue
        try:
            values[key] = float(value)
        except (TypeError, ValueError):
            problems.append(f"{name}'s {key} is {value!r}; it must be a number")
            continue
        if key != "seed" and not 0 <= values[key] <= 1:
            problems.append(f"{name}'s {key} is {value!r}; it must be between 0 and 1")
    if problems:
        raise MiningRefused(problems)
    miner: Miner = miner_class(**values)
    return miner


def confidence(probabilities: Sequence[float]) -> float:
    """1 minus the normalised entropy of class probabilities, 1 + (sum of p ln p) / ln n, in [0, 1].

    p ln p is 0 where p is 0, and a single class is certain.

    Raises:
        ValueError: a probability outside [0, 1], or a sum that is not 1.
    """
    if not all(0 <= p <= 1 for p in probabilities) or abs(math.fsum(probabilities) - 1) > 1e-6:
        raise ValueError(f"{list(probabilities)} are no class probabilities: each must be in [0, 1] and their sum 1")
    if len(probabilities) == 1:
        return 1.0
    entropy = -math.fsum(p * math.log(p) for p in probabilities if p > 0)
    return min(1.0, max(0.0, 1 - entropy / math.log(len(probabilities))))


def draw(sample_id: str, purpose: str) -> float:
    """A sample's number in [0, 1) for a purpose, always the same: a retry does not throw the dice again."""
    digest = hashlib.sha256(f"{purpose}\n{sample_id}".encode()).digest()
    return int.from_bytes(digest[:6]) / 2**48


@ClassFactory.register(ClassType.HEM)
@dataclass(frozen=True)
class Threshold:
    """Hard where the mean of the scores is below `threshold`; the hardness is 1 minus that mean."""

    threshold: float = 0.5

    def judge(self, prediction: Prediction) -> Judgement | None:
        """The verdict; none without boxes."""
        scores = _scores(prediction)
        if not scores:
            return None
        mean = math.fsum(scores) / len(scores)
        return Judgement(mean < self.threshold, 1 - mean)


@ClassFactory.register(ClassType.HEM)
@dataclass(frozen=True)
class CrossEntropy:
    """Hard where the confidence is below `threshold_cross_entropy`; the hardness is 1 minus the confidence.

    A box is a choice of two, its class or not: its confidence is that of the probabilities (score, 1 - score); the
    image's is the mean over its boxes. `judge_probabilities` takes the class probabilities of a whole image.
    """

    threshold_cross_entropy: float = 0.5

    def judge(self, prediction: Prediction) -> Judgement | None:
        """The verdict; none without boxes."""
        scores = _scores(prediction)
        return self._verdict(math.fsum(confidence((s, 1 - s)) for s in scores) / len(scores)) if scores else None

    def judge_probabilities(self, probabilities: Sequence[float]) -> Judgement:
        """The verdict on an image with these class probabilities.

        Raises:
            ValueError: they are no probabilities.
        """
        return self._verdict(confidence(probabilities))

    def _verdict(self, certainty: float) -> Judgement:
        return Judgement(certainty < self.threshold_cross_entropy, 1 - certainty)


@ClassFactory.register(ClassType.HEM)
@dataclass(frozen=True)
class IBT:
    """Image-box thresholds: hard where at least 1 - `threshold_img` of the boxes score at most `threshold_box`.

    The hardness is that share of the boxes.
    """

    threshold_img: float = 0.5
    threshold_box: float = 0.5

    def judge(self, prediction: Prediction) -> Judgement | None:
        """The verdict; none without boxes."""
        scores = _scores(prediction)
        if not scores:
            return None
        share = sum(score <= self.threshold_box for score in scores) / len(scores)
        # 1 - 0.7 is a little more than 0.3 in floating point; three of ten boxes must do.
        return Judgement(share >= 1 - self.threshold_img - TOLERANCE, share)


@ClassFactory.register(ClassType.HEM)
@dataclass(frozen=True)
class Random:
    """Hard with probability `random_ratio`, decided by the sample's hash and `seed`, not by what was found."""

    random_ratio: float = 0.3
    seed: float = 0

    def judge(self, prediction: Prediction) -> Judgement:
        """The verdict, the same whenever it is asked for."""
        drawn = draw(prediction.sample_id, f"Random {self.seed:g}")
        return Judgement(drawn < self.random_ratio, 1 - drawn, self.random_ratio)


@ClassFactory.register(ClassType.HEM)
@dataclass(frozen=True)
class CloudOnly:
    """Every image is hard."""

    def judge(self, prediction: Prediction) -> Judgement:  # noqa: ARG002
        """Always hard."""
        return Judgement(True, 1.0)


@ClassFactory.register(ClassType.HEM)
@dataclass(frozen=True)
class EdgeOnly:
    """No image is hard."""

    def judge(self, prediction: Prediction) -> Judgement:  # noqa: ARG002
        """Never hard."""
        return Judgement(False, 0.0)


@ClassFactory.register(ClassType.HEM)
@dataclass(frozen=True)
class Informative:
    """Hard where the boxes' scores leave much open; of the hard ones, `pick` finds the set that teaches most.

    The hardness saturates with the sum of the boxes' binary entropies; from `threshold` on an image is hard. `balance`
    and `diversity`, 0 to 1, are how much rare classes, and what is unlike the rest, are preferred.
    """

    threshold: float = 0.05
    balance: float = 1.0
    diversity: float = 1.0

    def judge(self, prediction: Prediction) -> Judgement | None:
        """The verdict; none without boxes."""
        scores = _scores(prediction)
        if not scores:
            return None
        hardness = float(hardness_of(binary_entropy(np.array(scores)).sum()))
        return Judgement(hardness >= self.threshold, hardness)


def score_problems(prediction: Prediction) -> list[str]:
    """What is wrong with the scores of a prediction, in words."""
    return [
        f"sample {prediction.sample_id}, box {number}: its score is {box.score}; a predicted box has one in [0, 1]"
        for number, box in enumerate(prediction.boxes, start=1)
        if box.score is None or not 0 <= box.score <= 1
    ]


def _scores(prediction: Prediction) -> list[float]:
    """The scores of the boxes.

    Raises:
        MiningRefused: one is missing or outside [0, 1].
    """
    if problems := score_problems(prediction):
        raise MiningRefused(problems)
    return [box.score for box in prediction.boxes if box.score is not None]
