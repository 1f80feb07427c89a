"""Overview: what a person wants to see of a job at one glance, from ledger and registry, ready to become JSON.

Everything is a plain dictionary. A part that cannot be read is None or empty, and one of `problems` says why.
"""

from __future__ import annotations

import io
import json
import logging
import math
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from functools import lru_cache
from typing import Any

from data.dataset import ACCEPTED
from data.images import decode
from data.ledger import Chosen, Decision, Request
from data.sample import Box
from data.store import ObjectMissing
from pipelines import holdout, production, steps
from pipelines.holdout import HoldoutState
from pipelines.job import PRODUCTION_METRICS, Job, JobRefused
from pipelines.workspace import Workspace

logger = logging.getLogger(__name__)

DECISIONS = 200
REQUESTS = 50
EXAMPLES = 24
READERS = 8


class StillReading(Exception):
    """A part that takes long is being read; it is there the next time."""


def jobs(workspace: Workspace) -> list[str]:
    """The names of the jobs that have a file, usable or not."""
    return sorted(path.stem for path in workspace.settings.jobs.glob("*.yaml"))


def overview(
    workspace: Workspace, job: Job, holdout_state: Callable[[Workspace, Job], HoldoutState] = holdout.state
) -> dict[str, Any]:
    """What serves, how far the next training is, how good the served model is, what was decided, asked and mined.

    `holdout_state` may raise StillReading, which is no problem.
    """
    name = job.name
    problems: list[str] = []

    def read(what: str, part: Callable[[], Any], otherwise: Any = None) -> Any:
        # Whatever is wrong with one part, a person who looks for the reason needs the others.
        try:
            return part()
        except Exception as error:
            logger.warning("%s of %s cannot be read: %s: %s", what, name, type(error).__name__, error)
            problems.append(f"{what} cannot be read: {first_line(error)}")
            return otherwise

    def read_holdout() -> dict[str, Any] | None:
        try:
            return holdout_state(workspace, job).to_json()
        except StillReading:
            return None

    return {
        **listed(workspace, name),
        "classes": job.classes,
        "has_template": job.source.template is not None,
        "metric": job.deploy_spec.rule.metric,
        "approval": job.deploy_spec.approval.by == "human",
        "serving": read("What serves", lambda: _serving(workspace, name)),
        "gate": read("The gate before training", lambda: _gate(workspace, job)),
        "training": read("The active training", lambda: _training(workspace, name)),
        "production": read("How good it is in production", lambda: _production(workspace, job)),
        "promoted_with": read("How good it was when it was promoted", lambda: _baseline(workspace, job), {}),
        "holdout": read("The state of the holdout", read_holdout),
        "counts": read("The images per state", lambda: workspace.ledger.counts(name), {}),
        "pending": read("The labels that wait", lambda: workspace.ledger.pending(name)),
        "decisions": read("What was decided", lambda: _decisions(workspace.ledger.decisions(name, DECISIONS)), []),
        "requests": read("What people asked for", lambda: _requests(workspace.ledger.requests(name, REQUESTS)), []),
        "examples": read("The hard examples", lambda: _examples(workspace.ledger.chosen(name, EXAMPLES)), []),
        "problems": problems,
    }


def versions(workspace: Workspace, job: str) -> dict[str, Any]:
    """The model versions that a person can choose, newest first, with their origin and how often they served."""
    served = [promotion.version for promotion in workspace.registry.promotions(job)]
    models = [
        {
            "version": model.version,
            "parent": model.metadata.get("parent"),
            "dataset_version": model.metadata.get("dataset_version"),
            "served": served.count(model.version),
            "serves": bool(served) and served[-1] == model.version,
        }
        for model in workspace.registry.models(job)
    ]
    datasets = dict.fromkeys(model["dataset_version"] for model in models)
    return {"models": models[::-1], "datasets": list(datasets)[::-1]}


def by_class(workspace: Workspace, job: Job, metric: str, limit: int = DECISIONS) -> dict[str, list[dict[str, Any]]]:
    """For each class what the candidate and the served model had in each of the newest decisions, oldest first.

    A value is None where the class was not measured.
    """
    compared = [decision for decision in workspace.ledger.decisions(job.name, limit) if decision.kind == "promote"]
    wanted = {key for decision in compared for key in _evaluations(decision) if key}
    with ThreadPoolExecutor(READERS) as readers:
        reports = dict(zip(wanted, readers.map(lambda key: _of_classes(workspace, key), wanted), strict=True))

    def values(decision: Decision, label: str) -> dict[str, Any]:
        found = (reports.get(key or "", {}).get(metric, {}).get(label) for key in _evaluations(decision))
        return dict(zip(("candidate", "served"), found, strict=True))

    return {label: [{"run_id": each.run_id, **values(each, label)} for each in compared] for label in job.classes}


@lru_cache(maxsize=256)
def picture(workspace: Workspace, content_id: str, width: int) -> bytes:
    """A sample or template as the models see it, grey and upright, as WebP of at most `width` x `width` pixels.

    Raises:
        ObjectMissing: the store has no such bytes.
        ImageRefused: they are no image.
    """
    from PIL import Image

    image = Image.fromarray(decode(workspace.sample_bytes(content_id), ACCEPTED))
    image.thumbnail((width, width))
    file = io.BytesIO()
    image.save(file, "WEBP", quality=85)
    return file.getvalue()


def listed(workspace: Workspace, name: str) -> dict[str, Any]:
    """The job by name: its description, or else what is wrong in its file."""
    try:
        job = workspace.job(name)
    except JobRefused as refusal:
        return {"name": name, "description": "", "refused": refusal.problems, "file": str(refusal.path)}
    return {"name": name, "description": job.description, "refused": [], "file": ""}


def first_line(error: Exception) -> str:
    """What an error says, without what libraries add below it."""
    lines = str(error).splitlines()
    return lines[0] if lines else type(error).__name__


def _serving(workspace: Workspace, job: str) -> dict[str, Any] | None:
    promotion = workspace.served(job)
    if promotion is None:
        return None
    return {
        "version": promotion.version,
        "number": promotion.number,
        "at": promotion.at,
        "actor": promotion.actor,
        "reason": promotion.reason,
        "kind": promotion.decision.get("kind", "promote"),
        "instead_of": promotion.decision.get("served"),
        "run_id": promotion.decision["run_id"],
    }


def _training(workspace: Workspace, job: str) -> dict[str, Any] | None:
    training = workspace.ledger.active_training(job)
    return None if training is None else {name: getattr(training, name) for name in ("run_id", "samples", "claimed_at")}


def _gate(workspace: Workspace, job: Job) -> dict[str, Any]:
    """What the gate before train says, asked of this workspace and for no run."""
    return asdict(steps.GATES["train"](steps.Call(workspace, job, "", {})))


def _production(workspace: Workspace, job: Job) -> dict[str, Any] | None:
    """How good the served model is on what was drawn by lot and labelled since; None where nothing serves."""
    served = workspace.served(job.name)
    if served is None:
        return None
    estimates = production.estimate(workspace, job)
    metrics = {name: asdict(estimates[name]) for name in PRODUCTION_METRICS if name in estimates}
    return {"version": served.version, "metrics": metrics}


def _baseline(workspace: Workspace, job: Job) -> dict[str, float]:
    return {name: value for name, value in production.baseline(workspace, job).items() if name in PRODUCTION_METRICS}


def _requests(requests: Sequence[Request]) -> list[dict[str, Any]]:
    return [asdict(request) for request in requests]


def _decisions(decisions: Sequence[Decision]) -> list[dict[str, Any]]:
    """Each decision with the scalar metrics of both models, oldest first."""
    return [
        {
            "kind": decision.kind,
            "run_id": decision.run_id,
            "verdict": "rolled back" if decision.kind == "rollback" else decision.verdict,
            "reasons": decision.reasons,
            "actor": decision.actor,
            "at": decision.at,
            "candidate": decision.candidate,
            "served": decision.served,
            "dataset_version": decision.dataset_version,
            "metrics": _numbers(decision.metrics.get("candidate")),
            "compared": _numbers(decision.metrics.get("served")),
            "bound": _bound(decision),
        }
        for decision in decisions
    ]


def _bound(decision: Decision) -> dict[str, Any] | None:
    """The least that the candidate gains in the rule's metric, with what confidence; None where that was not asked."""
    rule = decision.metrics.get("rule") or {}
    if _finite(rule.get("bound")) is None or _finite(rule.get("alpha")) is None:
        return None
    return {"metric": rule["metric"], "least": rule["bound"], "confidence": 1 - rule["alpha"]}


def _numbers(metrics: Mapping[str, Any] | None) -> dict[str, float]:
    """The metrics that are numbers, as JSON knows them."""
    return {name: value for name, value in (metrics or {}).items() if _finite(value) is not None}


def _finite(value: Any) -> float | None:
    return value if isinstance(value, int | float) and math.isfinite(value) else None


def _examples(found: Sequence[Chosen]) -> list[dict[str, Any]]:
    return [_example(chosen) for chosen in found]


def _example(chosen: Chosen) -> dict[str, Any]:
    sample, prediction, annotation = chosen.sample, chosen.prediction, chosen.annotation
    return {
        "id": sample.id,
        "name": sample.source.rpartition("/")[2],
        "width": sample.width,
        "height": sample.height,
        "domain": sample.domain,
        "split": sample.split,
        "has_template": sample.template_id is not None,
        "state": chosen.state,
        "miner": chosen.miner,
        "hardness": chosen.hardness,
        "probability": chosen.probability,
        "model_version": prediction.model_version if prediction else None,
        "predicted": _boxes(prediction.boxes) if prediction else None,
        "labelled": _boxes(annotation.boxes) if annotation else None,
        "annotator": annotation.annotator if annotation else None,
    }


def _boxes(boxes: Sequence[Box]) -> list[dict[str, Any]]:
    return [
        {name: round(value, 3) if isinstance(value, float) else value for name, value in box.to_json().items()}
        for box in boxes
    ]


def _evaluations(decision: Decision) -> tuple[str | None, str | None]:
    """Where the evaluations of the candidate and of the served model lie in the store that a decision rests on."""
    kept = decision.metrics.get("evaluations") or {}
    return kept.get("candidate"), kept.get("served")


def _of_classes(workspace: Workspace, key: str) -> Mapping[str, Mapping[str, float | None]]:
    """The metrics of an evaluation by class; nothing where it is not in the store."""
    try:
        return _per_class(workspace, key)
    except ObjectMissing:
        return {}


@lru_cache(maxsize=4096)
def _per_class(workspace: Workspace, key: str) -> Mapping[str, Mapping[str, float | None]]:
    """Read once: an evaluation never changes."""
    report: dict[str, Any] = json.loads(workspace.store.get(key))
    per_class: dict[str, dict[str, float | None]] = report["per_class"]
    return per_class
