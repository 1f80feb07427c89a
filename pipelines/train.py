"""Train: a candidate from the served model and a dataset version, stored as a model version of its own."""

from __future__ import annotations

import hashlib
import json
import logging
import shutil
import subprocess
import tempfile
import threading
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

from sqlalchemy.exc import SQLAlchemyError

from data.dataset import Dataset
from data.ledger import TrainingLost
from data.manifest import Row
from data.registry import ModelVersion
from models.estimator import Estimator, Extendable, TrainingRefused, create
from models.memory import remember
from models.version import RUNTIME, load_model, save_model
from pipelines.job import DISTILLING, REPLAYING, Job, method_problems
from pipelines.miners import draw
from pipelines.settings import ROOT
from pipelines.workspace import Workspace

logger = logging.getLogger(__name__)

HEARTBEAT_SECONDS = 15
FEWEST_VALIDATING = 20


def train(
    workspace: Workspace,
    job: Job,
    run_id: str,
    *,
    dataset_version: str,
    parent: str | None = None,
    parameters: Mapping[str, Any] | None = None,
) -> ModelVersion:
    """Train on a dataset version from `parent` (by default the served model) and store the candidate.

    `parameters` are those of the job's recipe that differ in this run; `seed`, `method` and `memory` may be among them.
    A run trains once, and the same data, parent, method, recipe and seed give the model version that was trained from
    them. A training that was killed goes on from its last checkpoint.

    Raises:
        TrainingActive: another run is training now.
        TrainingRefused: the method is not one of this estimator's, or leaves nothing to learn.
        TrainingLost: this run was silent for so long that its claim ended; the candidate is not stored.
    """
    training = workspace.ledger.claim_training(job.name, run_id, with_samples=False)
    if training.candidate is not None:
        return workspace.registry.model(job.name, training.candidate)
    served = workspace.served(job.name)
    parent = parent or (served.version if served else None)
    dataset = workspace.registry.dataset(job.name, dataset_version)
    specification, asked = job.train_spec, dict(parameters or {})
    method = asked.pop("method", specification.method)
    method = method if parent else None
    memory = int(asked.pop("memory", specification.memory))
    start = None if method == "joint" else parent
    recipe = {**specification.parameters, **(specification.update_parameters if start else {}), **asked}
    seed = int(recipe.pop("seed", specification.seed))
    origin = {
        "dataset_version": dataset.version,
        "dataset_hash": dataset.hash,
        "parent": parent,
        "method": method,
        "memory": memory if method in REPLAYING else None,
        "initial_model": None if start else job.initial_model,
        "estimator": job.estimator.model_dump(mode="json"),
        "classes": job.classes,
        "validation": specification.validation,
        "recipe": recipe,
        "seed": seed,
    }
    run_key = hashlib.sha256(json.dumps(origin, sort_keys=True).encode()).hexdigest()
    stored = next(
        (model for model in workspace.registry.models(job.name) if model.metadata["run_key"] == run_key), None
    )
    work = workspace.settings.home / "work" / run_key[:16]
    if stored is None:
        work.mkdir(parents=True, exist_ok=True)
        with _alive(workspace, job.name, run_id) as check_claim:
            estimator = _start(workspace, job, start)
            if method and (problems := method_problems(job.estimator.name, method)):
                raise TrainingRefused(problems)
            rows = {row.sample.id: row for row in dataset.rows("train")}
            shown, fresh = frozenset(rows), frozenset[str]()
            if start and method:
                shown, fresh = _taught(workspace, job, dataset, rows, start, method, memory)
            validating = _validating(job, shown, fresh)
            told = {**recipe, "distil": True} if method in DISTILLING else recipe
            report = estimator.train(
                dataset.examples("train", shown - validating),
                dataset.examples("train", validating) if validating else None,
                checkpoint_dir=work,
                seed=seed,
                fresh_ids=fresh - validating,
                **told,
            )
            check_claim()
            with tempfile.TemporaryDirectory() as folder:
                saved = Path(folder) / "model"
                save_model(estimator, saved)
                _export(estimator, saved / RUNTIME, dataset)
                metadata = {
                    **origin,
                    "run_key": run_key,
                    "run_id": run_id,
                    "spec_hash": job.hash,
                    "code_version": code_version(),
                    "training": asdict(report),
                }
                stored = workspace.registry.publish_model(job.name, saved, metadata)
    shutil.rmtree(work, ignore_errors=True)
    workspace.ledger.finish_training(job.name, run_id, dataset_version=dataset.version, candidate=stored.version)
    return stored


def _export(estimator: Estimator, folder: Path, dataset: Dataset) -> None:
    """Write what predicts in the estimator's place, where it is of a kind that can be exported."""
    if not hasattr(estimator, "for_inference"):
        return
    from models.export import export

    report = export(estimator, folder, calibration=dataset.examples("train"), check=dataset.examples("holdout"))
    for sentence in report.sentences:
        logger.info("%s", sentence)


def code_version() -> str:
    """The commit of the project's own code, or `unknown` outside a git checkout."""
    result = subprocess.run(
        ["git", "-C", str(ROOT), "describe", "--always", "--dirty"], capture_output=True, text=True, check=False
    )
    return result.stdout.strip() or "unknown"


def _validating(job: Job, shown: Collection[str], fresh: Collection[str]) -> frozenset[str]:
    """Which of the samples shown choose the weights and the threshold instead of being learnt from, by lot.

    None where they are too few to say anything, or all that is new.
    """
    share = job.train_spec.validation
    chosen = frozenset(each for each in shown if draw(each, f"validation of {job.name}") < share)
    return chosen if len(chosen) >= FEWEST_VALIDATING and (not fresh or set(fresh) - chosen) else frozenset()


def _taught(
    workspace: Workspace, job: Job, dataset: Dataset, rows: Mapping[str, Row], parent: str, method: str, memory: int
) -> tuple[frozenset[str], frozenset[str]]:
    """What an update is shown, and what of it is new: `parent` has not learnt from it as it is labelled now."""
    known: str | None = workspace.registry.model(job.name, parent).metadata["dataset_version"]
    fresh = dataset.changed_since(known) & rows.keys()
    if method not in REPLAYING:
        if not fresh:
            raise TrainingRefused(
                [
                    f"{method} learns from new labels alone, and {parent} has learnt from all of {dataset.version}; "
                    f"choose the method {' or '.join([*REPLAYING, 'joint'])}"
                ]
            )
        return fresh, fresh
    old = rows.keys() - fresh
    labels = {sample_id: {box.label for box in rows[sample_id].annotation.boxes} for sample_id in old}
    kept = remember(labels, {sample_id: rows[sample_id].sample.domain for sample_id in old}, memory)
    logger.info("%s by %s: %d new samples and %d of %d that it knows", parent, method, len(fresh), len(kept), len(old))
    return fresh.union(kept), fresh


def _start(workspace: Workspace, job: Job, parent: str | None) -> Estimator:
    """What the training starts from, with an output for each class of the job."""
    if parent is not None:
        estimator = workspace.estimator(job.name, parent)
    elif job.initial_model is not None:
        estimator = load_model(ROOT / job.initial_model)
    else:
        return create(job.estimator.name, classes=job.classes, **job.estimator.parameters)
    known = estimator.parameters.get("classes", job.classes)
    if new := [name for name in job.classes if name not in known]:
        if not isinstance(estimator, Extendable):
            instead = "the method joint" if parent else "an initialModel that knows all classes, or none"
            raise TrainingRefused(
                [
                    f"{parent or job.initial_model} does not know the class {', '.join(new)}, and {job.estimator.name} "
                    f"has no extend(classes); choose {instead}"
                ]
            )
        estimator.extend([*known, *new])
    return estimator


@contextmanager
def _alive(workspace: Workspace, job: str, run_id: str) -> Iterator[Callable[[], None]]:
    """Say while the body runs that its training is alive; gives a function that raises once its claim was lost."""
    stopped = threading.Event()
    lost: list[TrainingLost] = []

    def beat() -> None:
        while not stopped.wait(HEARTBEAT_SECONDS):
            try:
                workspace.ledger.heartbeat(job, run_id)
            except TrainingLost as error:
                lost.append(error)
                return
            except SQLAlchemyError as error:  # the next beat may reach the ledger again
                logger.warning("the ledger was not reached: %s", error)

    def check() -> None:
        if lost:
            raise lost[0]

    thread = threading.Thread(target=beat, daemon=True)
    thread.start()
    try:
        yield check
    finally:
        stopped.set()
        thread.join()
