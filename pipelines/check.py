"""Check: ledger, store, registry, Label Studio and pointer agree; whatever does not is said in words."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator

import httpx

from data.registry import RegistryDamaged, UnknownVersion
from data.sample import Sample, sha256
from data.store import ObjectMissing
from pipelines.deploy import pointer, pointer_key
from pipelines.job import Job
from pipelines.labelling import tasks
from pipelines.labelling.project import LabellingProject, connect, find_project
from pipelines.workspace import Workspace, sample_key


def check(workspace: Workspace, job: Job) -> list[str]:
    """Everything that is missing, doubled, damaged or orphaned; empty where all agree.

    Walks from every promotion to its model, its dataset version, its annotations and its parent, and reads every byte
    that they name.
    """
    problems = workspace.registry.check(job.name)
    for part in (_datasets, _samples, _orphans, _decisions, _pointer, _tasks):
        try:
            problems += part(workspace, job)
        except (RegistryDamaged, UnknownVersion) as damage:
            problems.append(str(damage))
    return list(dict.fromkeys(problems))


def _datasets(workspace: Workspace, job: Job) -> Iterator[str]:
    """The newest dataset version has exactly the labels that trainings used, as the ledger knows them."""
    versions = workspace.registry.datasets(job.name)
    if not versions:
        return
    newest = workspace.registry.dataset(job.name, versions[-1].version)
    rows = {row.sample.id: row for row in newest.rows()}
    for sample_id, row in rows.items():
        known = workspace.ledger.sample(job.name, sample_id)
        if known is None:
            yield f"sample {sample_id} is in dataset {newest.version} but not in the ledger"
        elif known.split != row.sample.split:
            yield f"sample {sample_id} is {row.sample.split} in {newest.version} but {known.split} in the ledger"
    finished = [training for training in workspace.ledger.trainings(job.name) if training.state == "finished"]
    for training in finished:
        for sample, annotation in workspace.ledger.claimed(job.name, training.run_id):
            current = workspace.ledger.annotation(job.name, sample.id)
            if sample.id not in rows and current is not None and current.id == annotation.id:
                yield f"sample {sample.id} was used by training {training.id} but is not in dataset {newest.version}"


def _samples(workspace: Workspace, job: Job) -> Iterator[str]:
    """The bytes of every sample and template are there and are what their name says."""
    for name in {name: None for sample in workspace.ledger.samples(job.name) for name in _images(sample)}:
        try:
            content = workspace.sample_bytes(name)
        except ObjectMissing:
            yield f"the bytes of sample {name} are missing from the store ({sample_key(name)})"
            continue
        if sha256(content) != name:
            yield f"the bytes of sample {name} in the store are not the ones of that hash ({sample_key(name)})"


def _orphans(workspace: Workspace, _: Job) -> Iterator[str]:
    """Every object among the samples belongs to a sample of some job."""
    jobs = [path.stem for path in workspace.settings.jobs.glob("*.yaml")]
    known = {sample_key(name) for job in jobs for sample in workspace.ledger.samples(job) for name in _images(sample)}
    for stored in workspace.store.list("samples/"):
        if stored.key not in known:
            yield f"{stored.key} in the store belongs to no sample of any job"


def _decisions(workspace: Workspace, job: Job) -> Iterator[str]:
    """Every promotion has one decision, and every decision to promote its promotion."""
    promotions = workspace.registry.promotions(job.name)
    promoted = Counter(
        (decision.run_id, decision.candidate)
        for decision in workspace.ledger.decisions(job.name)
        if decision.verdict == "promoted"
    )
    for promotion in promotions:
        if promoted[(promotion.decision["run_id"], promotion.version)] != 1:
            yield f"promotion {promotion.number} ({promotion.version}) has no decision in the ledger"
    if sum(promoted.values()) > len(promotions):
        yield f"the ledger knows {sum(promoted.values())} promotions, the registry {len(promotions)}"


def _pointer(workspace: Workspace, job: Job) -> Iterator[str]:
    """The pointer says what the newest promotion says."""
    newest = workspace.served(job.name)
    try:
        found = json.loads(workspace.store.get(pointer_key(job.name)))
    except ObjectMissing:
        found = None
    except ValueError:
        found = "something that is not JSON"
    wanted = pointer(newest, workspace.registry.model(job.name, newest.version)) if newest else None
    if found != wanted:
        yield f"the pointer {pointer_key(job.name)} says {found}, the registry says {wanted}; deploy again"


def _tasks(workspace: Workspace, job: Job) -> Iterator[str]:
    """Every sample that was pushed has one task, and every task is about a sample that was pushed."""
    client = connect(workspace.settings)
    try:
        found = find_project(client, job.name)
    except httpx.TransportError as error:
        yield f"Label Studio at {workspace.settings.label_studio_url} does not answer, its tasks are unknown: {error}"
        return
    if found is None:
        if pushed := workspace.ledger.counts(job.name).get("pushed"):
            yield f"{pushed} samples wait in Label Studio, which has no project of {job.name}"
        return
    seen: set[str] = set()
    for task in tasks.read(LabellingProject(client, found.id)):
        sample_id = task["data"].get("sample_id", "")
        recorded = workspace.ledger.task_of(job.name, sample_id)
        if sample_id in seen:
            yield f"sample {sample_id} has a second task, {task['id']}"
        elif recorded != task["id"]:
            yield f"task {task['id']} is about sample {sample_id}, for which the ledger knows task {recorded}"
        seen.add(sample_id)
    for sample in workspace.ledger.samples(job.name, state="pushed"):
        if sample.id not in seen:
            yield f"sample {sample.id} waits for a label, but Label Studio has no task for it"


def _images(sample: Sample) -> list[str]:
    """The names of a sample's bytes: its own and its template's."""
    return [sample.id, *([sample.template_id] if sample.template_id else [])]
