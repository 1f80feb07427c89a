"""Production: how well the served model does on what arrives, by the images that were drawn by lot and labelled."""

from __future__ import annotations

import json
from collections.abc import Sequence
from functools import lru_cache

import numpy as np

from data.ledger import Drawn
from data.store import ObjectMissing
from models.metrics import EvaluationReport, judged
from models.pooled import match
from models.weighted import weighted_ratio
from pipelines.evaluate import evaluation_key, measured
from pipelines.gates.conditions import Estimate
from pipelines.job import Job
from pipelines.workspace import Workspace

METRICS = ("precision", "recall", "f1")


def estimate(workspace: Workspace, job: Job) -> dict[str, Estimate]:
    """How well the served model does in production, by metric: `precision`, `recall`, `f1` and each `[class]`.

    From what it predicted, before anybody labelled them, in the newest images that were drawn by lot while it served,
    on either side of the split; from its threshold on, by DeepPCB's rule. An image counts as many as it stood for when
    it was drawn, so that hard ones, which people label more often, count no more than they occur. The estimate speaks
    for the images that arrived while the labelling budget had places. A metric on which fewer than two images bear is
    left out.
    """
    served = workspace.served(job.name)
    if served is None:
        return {}
    sequence = workspace.ledger.sequence(job.name)
    return dict(_estimate(workspace, job.name, tuple(job.classes), served.version, sequence))


def baseline(workspace: Workspace, job: Job) -> dict[str, float]:
    """What the served model's evaluation said when it was promoted, by the same names; empty where there is none.

    Of a model that was rolled back to, what it said when the rule promoted it.
    """
    promotions = workspace.registry.promotions(job.name)
    if not promotions:
        return {}
    version = promotions[-1].version
    taught = [each.decision.get("dataset_version") for each in reversed(promotions) if each.version == version]
    dataset_version = next(filter(None, taught), None)
    try:
        return dict(_baseline(workspace, job.name, version, dataset_version)) if dataset_version else {}
    except ObjectMissing:
        return {}


@lru_cache(maxsize=32)
def _estimate(
    workspace: Workspace,
    job: str,
    classes: tuple[str, ...],
    version: str,
    sequence: int,  # noqa: ARG001, as long as it is the same the ledger says the same
) -> dict[str, Estimate]:
    drawn = workspace.ledger.drawn(job, version)
    counts = np.array([_counts(each, classes) for each in drawn]).reshape(len(drawn), len(classes), 3)
    probabilities = np.array([each.probability for each in drawn])
    found = _ratios(counts.sum(axis=1), probabilities, "")
    for place, label in enumerate(classes):
        found.update(_ratios(counts[:, place], probabilities, f"[{label}]"))
    return found


def _counts(drawn: Drawn, classes: Sequence[str]) -> list[tuple[int, int, int]]:
    """True positives, false positives and false negatives of each class in one image."""
    truth = [box for box in drawn.annotation.boxes if box.label in classes]
    predicted = judged((box for box in drawn.prediction.boxes if box.label in classes), drawn.annotation.classes)
    predicted.sort(key=lambda box: -(1.0 if box.score is None else box.score))
    right = match(truth, predicted)
    counts = []
    for label in classes:
        own = np.array([box.label == label for box in predicted], bool)
        true_positives = int(right[own].sum())
        support = sum(box.label == label for box in truth)
        counts.append((true_positives, int(own.sum()) - true_positives, support - true_positives))
    return counts


def _ratios(counts: np.ndarray, probabilities: np.ndarray, part: str) -> dict[str, Estimate]:
    """The three metrics of counts [images, (tp, fp, fn)]; their names end with `part`."""
    tp, fp, fn = counts.T
    wholes = {"precision": tp + fp, "recall": tp + fn, "f1": tp + (fp + fn) / 2}
    ratios = {f"{name}{part}": weighted_ratio(tp, wholes[name], probabilities) for name in METRICS}
    return {
        name: Estimate(ratio.value, ratio.low, ratio.high, ratio.images)
        for name, ratio in ratios.items()
        if ratio is not None
    }


@lru_cache(maxsize=32)
def _baseline(workspace: Workspace, job: str, version: str, dataset_version: str) -> dict[str, float]:
    stored = json.loads(workspace.store.get(evaluation_key(job, version, dataset_version)))
    values = measured(EvaluationReport.from_json(stored))
    return {name: value for name, value in values.items() if name.partition("[")[0] in METRICS and value is not None}
