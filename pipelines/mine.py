"""Mine: which images people are asked to label: random ones to judge by, hard ones to learn from, within a budget."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from data.ledger import LOT
from data.sample import Prediction, Split
from pipelines.informative import Picked, Surroundings, pick
from pipelines.job import Job
from pipelines.miners import TOLERANCE, Informative, Judgement, MiningRefused, create_miner, draw, score_problems

NEAR_DUPLICATE = "near-duplicate"


@dataclass(frozen=True, slots=True)
class Choice:
    """Whether people are asked about a sample, and why.

    Attributes:
        reason: `random`, the miner's name, or `nothing found` if chosen; else `held out`, `not hard`, `near-duplicate`
            or `beyond the budget`.
        hardness: in [0, 1]; 1 is hardest. With the miner Informative, what the sample is worth beside those chosen.
        probability: of being chosen as it was; of what was not chosen, of being drawn by lot.
    """

    sample_id: str
    chosen: bool
    reason: str
    hardness: float
    probability: float


def choose(
    job: Job,
    predictions: Sequence[Prediction],
    splits: Mapping[str, Split],
    surroundings: Surroundings,
    already_waiting: int = 0,
    *,
    minimum_score: float = 0.0,
) -> list[Choice]:
    """Decide for each predicted sample whether people are asked about it; the lots first, then the hardest first.

    Up to `hardExampleMining.budget` samples wait for people at a time. Of the free places the share 1 - `trainProb` is
    drawn by lot among what is held out, whatever the model found there: or the holdout would be made of images on which
    the served model is bad, and every candidate would look better. Of the rest, `randomShare`, and at most that share
    of what is to train on, is drawn by lot too; the others go to the hard ones, the hardest first. Places that one side
    has too few samples for go to the other. Where nothing was found and the miner therefore has no verdict, `mineEmpty`
    makes the image as hard as can be.

    The miner Informative picks the hard ones as a set, beside the lots and what people were asked about before: never
    a near-duplicate of any of these.

    A lot is the hash of a sample's id, a part of a place is given or not by the hash of all of them, so that each
    sample's `probability` is exact, the order of `predictions` plays no part, and asking again gives the same answer.
    What arrives while the budget is used up has no chance: the lots speak for what arrived while there were places.

    Args:
        job: the job whose `hardExampleMining` and `trainProb` decide.
        predictions: what one model found, one for each sample, every box with its score.
        splits: the side of each of these samples.
        surroundings: what else is known of them, and of those that people were asked about before.
        already_waiting: how many samples wait for people now.
        minimum_score: boxes below it do not count as found.

    Raises:
        MiningRefused: no such miner or parameter; a score that is missing or outside [0, 1]; a sample that comes twice.
    """
    mining = job.hard_example_mining
    miner = create_miner(mining.name, mining.parameters)
    _check(predictions)
    unclear = Judgement(mining.mine_empty, 1.0 if mining.mine_empty else 0.0)
    found = {each.sample_id: _found(each, minimum_score) for each in predictions}
    judgements: dict[str, Judgement] = {}
    reasons: dict[str, str] = {}
    for sample_id, prediction in found.items():
        judgement = miner.judge(prediction)
        judgements[sample_id] = judgement or unclear
        reasons[sample_id] = mining.name if judgement else "nothing found"

    # Not by the id itself: it decides the split.
    lots = {sample_id: (draw(sample_id, f"lot of {job.name}"), sample_id) for sample_id in judgements}
    free = max(0, mining.budget - already_waiting)
    in_lot_order = sorted(judgements, key=lambda sample_id: lots[sample_id])
    drawn, probability = _draw_lots(job, in_lot_order, splits, free)
    hardness = {sample_id: judgement.hardness for sample_id, judgement in judgements.items()}
    hard = [each for each in in_lot_order if splits[each] == "train" and judgements[each].hard and each not in drawn]
    places = free - len(drawn)
    if isinstance(miner, Informative):
        picked = pick(
            [found[sample_id] for sample_id in hard],
            places,
            surroundings,
            [found[sample_id] for sample_id in sorted(drawn)],
            balance=miner.balance,
            diversity=miner.diversity,
        )
        hardness |= picked.hardness
    else:
        hardest = sorted(hard, key=lambda sample_id: -hardness[sample_id])
        picked = Picked(hardest[:places], {}, set())
    place = {sample_id: number for number, sample_id in enumerate(picked.order)}

    def choice(sample_id: str) -> Choice:
        judgement, split = judgements[sample_id], splits[sample_id]
        if sample_id in drawn:
            return Choice(sample_id, True, LOT, hardness[sample_id], probability[split])
        if sample_id in place:
            return Choice(sample_id, True, reasons[sample_id], hardness[sample_id], judgement.probability)
        if sample_id in picked.near_duplicates:
            reason = NEAR_DUPLICATE
        else:
            reason = "held out" if split == "holdout" else "beyond the budget" if judgement.hard else "not hard"
        return Choice(sample_id, False, reason, hardness[sample_id], probability[split])

    def rank(sample_id: str) -> tuple[bool, float, int]:
        return sample_id not in drawn, -hardness[sample_id], place.get(sample_id, places)

    return [choice(sample_id) for sample_id in sorted(in_lot_order, key=rank)]


def _draw_lots(
    job: Job, order: Sequence[str], splits: Mapping[str, Split], free: int
) -> tuple[set[str], dict[Split, float]]:
    """The samples that get a place because they come first in `order`, and with what probability, by side.

    How many these are rests on how many there are, never on what was found in them.
    """
    held_out = [sample_id for sample_id in order if splits[sample_id] == "holdout"]
    to_train = [sample_id for sample_id in order if splits[sample_id] == "train"]
    everyone = "\n".join(order)

    expected = min(len(held_out), max((1 - job.dataset.train_prob) * free, free - len(to_train)))
    whole, part = _whole_and_part(expected)
    places = whole + (draw(everyone, f"a part of a place held out in {job.name}") < part)

    share = job.hard_example_mining.random_share
    of_rest, part_of_rest = _whole_and_part(share * min(free - places, len(to_train)))
    of_rest += draw(everyone, f"a part of a place to train in {job.name}") < part_of_rest

    expected_rest = (1 - part) * min(free - whole, len(to_train)) + part * min(free - whole - 1, len(to_train))
    probability: dict[Split, float] = {
        "holdout": expected / len(held_out) if held_out else 0.0,
        "train": share * expected_rest / len(to_train) if to_train else 0.0,
    }
    return {*held_out[:places], *to_train[:of_rest]}, probability


def _whole_and_part(number: float) -> tuple[int, float]:
    """A number of places as a whole one and a part in [0, 1); what floating point takes from a whole number is none."""
    whole = math.floor(number + TOLERANCE)
    return whole, max(0.0, number - whole)


def _check(predictions: Sequence[Prediction]) -> None:
    problems, seen = [], set()
    for prediction in predictions:
        if prediction.sample_id in seen:
            problems.append(f"sample {prediction.sample_id} comes twice; give one prediction for each sample")
        seen.add(prediction.sample_id)
        problems.extend(score_problems(prediction))
    if problems:
        raise MiningRefused(problems)


def _found(prediction: Prediction, minimum_score: float) -> Prediction:
    boxes = tuple(box for box in prediction.boxes if box.score is not None and box.score >= minimum_score)
    return replace(prediction, boxes=boxes)
