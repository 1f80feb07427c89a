"""Mine: which images people are asked to label, decided by the job's miner, a random share and a budget."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

from data.sample import Prediction
from pipelines.job import Job
from pipelines.miners import TOLERANCE, Judgement, MiningRefused, create_miner, draw, score_problems


@dataclass(frozen=True, slots=True)
class Choice:
    """Whether people are asked about a sample, and why.

    Attributes:
        reason: `random`, the miner's name, or `nothing found` if chosen; else `not hard` or `beyond the budget`.
        hardness: in [0, 1]; 1 is hardest.
        probability: of being drawn, where chance decided; 1 for what the miner was sure to take.
    """

    sample_id: str
    chosen: bool
    reason: str
    hardness: float
    probability: float


def choose(
    job: Job, predictions: Sequence[Prediction], already_waiting: int = 0, *, minimum_score: float = 0.0
) -> list[Choice]:
    """Decide for each predicted sample whether people are asked about it; hardest first.

    Up to `hardExampleMining.budget` samples wait for people at a time. At most `randomShare` of the free places go to
    samples drawn by the hash of their id, whatever their hardness: they are a uniform sample of what arrived. The rest
    goes to the hard ones, the hardest first. Where nothing was found and the miner therefore has no verdict,
    `mineEmpty` makes the image as hard as can be. The order of `predictions` plays no part, and asking again with the
    same ones gives the same answer.

    Args:
        job: the job whose `hardExampleMining` decides.
        predictions: what one model found, one for each sample, every box with its score.
        already_waiting: how many samples wait for people now.
        minimum_score: boxes below it do not count as found.

    Raises:
        MiningRefused: no such miner or parameter; a score that is missing or outside [0, 1]; a sample that comes twice.
    """
    mining = job.hard_example_mining
    miner = create_miner(mining.name, mining.parameters)
    _check(predictions)
    unclear = Judgement(mining.mine_empty, 1.0 if mining.mine_empty else 0.0)
    judgements: dict[str, Judgement] = {}
    reasons: dict[str, str] = {}
    for prediction in predictions:
        judgement = miner.judge(_found(prediction, minimum_score))
        judgements[prediction.sample_id] = judgement or unclear
        reasons[prediction.sample_id] = mining.name if judgement else "nothing found"
    # Not by the id itself: it decides the split too, and one side would be asked about more than the other.
    lots = {sample_id: draw(sample_id, f"order of {job.name}") for sample_id in judgements}
    order = sorted(judgements, key=lambda sample_id: (-judgements[sample_id].hardness, lots[sample_id]))

    places = max(0, mining.budget - already_waiting)
    share = mining.random_share
    draws = {sample_id: draw(sample_id, f"random share of {job.name}") for sample_id in order}
    random_places = math.ceil(share * places - TOLERANCE)
    drawn = set(sorted((s for s in order if draws[s] < share), key=lambda s: (draws[s], s))[:random_places])
    hard = [sample_id for sample_id in order if judgements[sample_id].hard and sample_id not in drawn]
    mined = set(hard[: places - len(drawn)])
    probability = min(share, random_places / len(order)) if order else share

    def choice(sample_id: str) -> Choice:
        judgement = judgements[sample_id]
        if sample_id in drawn:
            return Choice(sample_id, True, "random", judgement.hardness, probability)
        if sample_id in mined:
            return Choice(sample_id, True, reasons[sample_id], judgement.hardness, judgement.probability)
        reason = "beyond the budget" if judgement.hard else "not hard"
        return Choice(sample_id, False, reason, judgement.hardness, probability)

    return [choice(sample_id) for sample_id in order]


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
