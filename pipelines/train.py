"""Train: a candidate from the served model and a dataset version, stored as a model version of its own."""

from __future__ import annotations

import hashlib
import json
import logging
import shutil
import subprocess
import tempfile
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

from sqlalchemy.exc import SQLAlchemyError

from data.dataset import Dataset
from data.ledger import TrainingLost
from data.registry import ModelVersion
from models.estimator import Estimator, create
from models.version import load_model, save_model
from pipelines.job import Job
from pipelines.settings import ROOT
from pipelines.workspace import Workspace

logger = logging.getLogger(__name__)

HEARTBEAT_SECONDS = 15


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

    A run trains once, and the same data, parent, recipe and seed give the model version that was trained from them. A
    training that was killed goes on from its last checkpoint.

    Raises:
        TrainingActive: another run is training now.
        TrainingLost: this run was silent for so long that its claim ended; the candidate is not stored.
    """
    training = workspace.ledger.claim_training(job.name, run_id, with_samples=False)
    if training.candidate is not None:
        return workspace.registry.model(job.name, training.candidate)
    served = workspace.served(job.name)
    parent = parent or (served.version if served else None)
    dataset = workspace.registry.dataset(job.name, dataset_version)
    update = job.train_spec.update_parameters if parent else {}
    recipe = {**job.train_spec.parameters, **update, **(parameters or {})}
    seed = int(recipe.pop("seed", job.train_spec.seed))
    origin = {
        "dataset_version": dataset.version,
        "dataset_hash": dataset.hash,
        "parent": parent,
        "initial_model": None if parent else job.initial_model,
        "estimator": job.estimator.model_dump(mode="json"),
        "classes": job.classes,
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
            estimator = _start(workspace, job, parent)
            fresh = _fresh(workspace, job, dataset, parent) if parent else frozenset()
            report = estimator.train(
                dataset.examples("train"), checkpoint_dir=work, seed=seed, fresh_ids=fresh, **recipe
            )
            check_claim()
            with tempfile.TemporaryDirectory() as folder:
                saved = Path(folder) / "model"
                save_model(estimator, saved)
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


def code_version() -> str:
    """The commit of the project's own code, or `unknown` outside a git checkout."""
    result = subprocess.run(
        ["git", "-C", str(ROOT), "describe", "--always", "--dirty"], capture_output=True, text=True, check=False
    )
    return result.stdout.strip() or "unknown"


def _fresh(workspace: Workspace, job: Job, dataset: Dataset, parent: str) -> frozenset[str]:
    """The samples to train on that `parent` has not learnt from as they are labelled now."""
    taught: str | None = workspace.registry.model(job.name, parent).metadata["dataset_version"]
    return dataset.changed_since(taught) & {row.sample.id for row in dataset.rows("train")}


def _start(workspace: Workspace, job: Job, parent: str | None) -> Estimator:
    if parent is not None:
        return workspace.estimator(job.name, parent)
    if job.initial_model is not None:
        return load_model(ROOT / job.initial_model)
    return create(job.estimator.name, classes=job.classes, **job.estimator.parameters)


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
