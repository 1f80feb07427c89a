"""Evaluate: candidate and served model on the same holdout, each result stored once and for ever."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from typing import Any

from data.dataset import Dataset
from data.store import ObjectMissing
from models.metrics import EvaluationReport
from pipelines.job import Job
from pipelines.workspace import Workspace


@dataclass(frozen=True)
class Comparison:
    """A candidate, which was trained from `parent_version`, and the served model on the holdout of a dataset version.

    `known` compares the same two on the holdout of the version that taught the served model, where that is another.
    """

    candidate_version: str
    parent_version: str | None
    served_version: str | None
    dataset_version: str
    candidate: EvaluationReport
    served: EvaluationReport | None
    known: Comparison | None = None

    def deltas(self) -> dict[str, float]:
        """Candidate minus served, for every scalar metric both have."""
        if self.served is None:
            return {}
        return {
            name: value - before
            for name, value in self.candidate.metrics.items()
            if value is not None and (before := self.served.metrics.get(name)) is not None
        }

    def summary(self) -> dict[str, Any]:
        """The scalar metrics of both and their differences; the same of `known`."""
        return {
            "candidate": self.candidate.metrics,
            "served": self.served.metrics if self.served else None,
            "delta": self.deltas(),
            **(
                {"known": {"dataset_version": self.known.dataset_version, **self.known.summary()}} if self.known else {}
            ),
        }


def evaluate(workspace: Workspace, job: Job, candidate: str, dataset_version: str) -> Comparison:
    """Compare a stored model version with the served one on the holdout of a dataset version."""
    served = workspace.served(job.name)
    if served is None:
        return _compare(workspace, job, candidate, None, dataset_version)
    taught_by = workspace.registry.model(job.name, served.version).metadata["dataset_version"]
    known = None
    if taught_by != dataset_version and candidate != served.version:
        known = _compare(workspace, job, candidate, served.version, taught_by)
    return replace(_compare(workspace, job, candidate, served.version, dataset_version), known=known)


def _compare(workspace: Workspace, job: Job, candidate: str, served: str | None, dataset_version: str) -> Comparison:
    dataset = workspace.registry.dataset(job.name, dataset_version)
    return Comparison(
        candidate_version=candidate,
        parent_version=workspace.registry.model(job.name, candidate).metadata["parent"],
        served_version=served,
        dataset_version=dataset_version,
        candidate=evaluate_version(workspace, job, candidate, dataset),
        served=evaluate_version(workspace, job, served, dataset) if served else None,
    )


def evaluate_version(workspace: Workspace, job: Job, version: str, dataset: Dataset) -> EvaluationReport:
    """One model version on one holdout; computed once, read from the store ever after."""
    key = evaluation_key(job.name, version, dataset.version)
    try:
        return EvaluationReport.from_json(json.loads(workspace.store.get(key)))
    except ObjectMissing:
        pass
    report = workspace.predictor(job.name, version).evaluate(dataset.examples("holdout"))
    workspace.store.put_new(key, json.dumps(report.to_json(), separators=(",", ":")).encode(), "application/json")
    return EvaluationReport.from_json(json.loads(workspace.store.get(key)))


def measured(report: EvaluationReport) -> dict[str, float | None]:
    """Every metric of a report by the name that conditions give it: `ap`, and `ap[open]` for one class."""
    of_classes = {
        f"{metric}[{label}]": value for metric, values in report.per_class.items() for label, value in values.items()
    }
    return {**report.metrics, **of_classes}


def evaluation_key(job: str, version: str, dataset_version: str) -> str:
    """Where the evaluation of a model version on a dataset version lies in the store."""
    return f"evaluations/{job}/{version}-on-{dataset_version}.json"
