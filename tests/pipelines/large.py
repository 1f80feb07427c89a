"""A job that has been running for a year: a hundred thousand images, two hundred versions; written in bulk."""

from __future__ import annotations

import json
import random
import subprocess
from collections import Counter
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from data.dataset import DatasetVersion, Part
from data.ledger import Decision, tables
from data.manifest import Row, write_manifest
from data.registry.models import ModelVersion
from data.registry.promotions import Promotion
from data.registry.storage import blob_of
from data.sample import Annotation, Box, Sample, sha256
from models.metrics import evaluate
from pipelines.evaluate import evaluation_key
from pipelines.workspace import Workspace

JOB = "boards"
CLASSES = ("open", "short", "mousebite", "spur", "copper", "pin-hole")
SAMPLES, VERSIONS = 100_000, 200
PENDING = 200
WHO = "Ratchet <ratchet@localhost>"
DAY = 86400


def grow(workspace: Workspace, folder: Path) -> None:
    """Fill an empty deployment: every third image is labelled, a fifth of those held out, every fifth version fails."""
    chance = random.Random(0)
    labelled = _fill_ledger(workspace, chance)
    decisions = _decide(workspace, chance)
    _fill_registry(workspace, folder, labelled, decisions)


def _boxes(chance: random.Random, count: int) -> tuple[Box, ...]:
    corners = [(chance.randint(0, 600), chance.randint(0, 600)) for _ in range(count)]
    return tuple(Box(x, y, x + 30, y + 30, chance.choice(CLASSES)) for x, y in corners)


def _version(number: int) -> int:
    return 1 + number * VERSIONS // SAMPLES


def _fill_ledger(workspace: Workspace, chance: random.Random) -> list[tuple[Sample, Annotation]]:
    """Enter the images; those that are labelled."""
    rows: list[dict[str, Any]] = []
    said: list[dict[str, Any]] = []
    predicted: list[dict[str, Any]] = []
    pairs, tallied = [], Counter[tuple[str, str, str]]()
    for number in range(SAMPLES):
        state = "labelled" if number % 3 == 0 else "pushed" if number % 100 == 1 else "passed"
        sample = Sample(
            id=sha256(str(number).encode()),
            width=640,
            height=640,
            domain="line",
            source=f"inbox/{JOB}/line/{number}_test.png",
            split="holdout" if number % 5 == 0 else "train",
            template_id=sha256(f"template {number}".encode()),
        )
        miner = None if state == "passed" else "random" if number % 2 else "IBT"
        version = f"v{_version(number)}" if miner else None
        annotation_id = None
        if state == "labelled":
            annotation = Annotation(sample.id, _boxes(chance, 6), "ada", "2026-01-01T00:00:00+00:00")
            annotation_id = annotation.id
            boxes = [box.to_json() for box in annotation.boxes]
            words: dict[str, Any] = {
                "annotator": "ada",
                "updated_at": annotation.updated_at,
                "reference": "",
                "boxes": boxes,
            }
            said.append({"job": JOB, "id": annotation.id, "sample_id": sample.id, **words, "problems": []})
            pairs.append((sample, annotation))
            tallied.update(("class", box.label, sample.split) for box in annotation.boxes)
        if miner:
            tallied["miner", miner, sample.split] += 1
            found = [{**box.to_json(), "score": 0.8} for box in _boxes(chance, 6)]
            made = {"model_version": version, "number": number + 1, "boxes": found, "hardness": 0.5}
            predicted.append({"job": JOB, "sample_id": sample.id, **made})
        tallied["state", state, sample.split] += 1
        tallied["domain", "line", sample.split] += 1
        band = {"difference_hash": number, "band_0": number, "band_1": number, "band_2": number}
        stage = "passed" if state == "passed" else "pushed"
        mined = {"miner": miner, "probability": 0.1 if miner else None, "hardness": 0.5, "model_version": version}
        task = {"task_id": number if miner else None, "chosen": number + 1 if miner else None}
        known = {"annotation_id": annotation_id, "versioned_id": annotation_id, "unversioned": False}
        pending = state == "labelled" and sample.split == "train" and number > SAMPLES - PENDING
        rows.append(
            {"job": JOB, "arrived": number + 1, **asdict(sample), **band, "stage": stage, "state": state}
            | {**mined, **task, **known, "pending": pending}
        )
        if pending:
            tallied["pending", "", sample.split] += 1
    counts: list[dict[str, Any]] = [
        {"job": JOB, "kind": kind, "name": name, "split": split, "count": count}
        for (kind, name, split), count in tallied.items()
    ]
    workspace.ledger.counts(JOB)
    with sa.create_engine(workspace.settings.ledger_url).begin() as connection:
        connection.execute(sa.insert(tables.jobs), [{"name": JOB, "sequence": SAMPLES + 1}])
        for table, content in (
            (tables.samples, rows),
            (tables.annotations, said),
            (tables.predictions, predicted),
            (tables.tallies, counts),
        ):
            connection.execute(sa.insert(table), content)
    return pairs


def _decide(workspace: Workspace, chance: random.Random) -> list[Decision]:
    decisions = []
    serving = None
    for number in range(1, VERSIONS + 1):
        promoted = number % 5 != 3
        metrics = {
            name: {metric: chance.uniform(0.8, 0.9) for metric in ("ap", "precision", "recall", "f1", "ap50")}
            for name in ("candidate", *(("served",) if serving else ()))
        }
        keys = {"candidate": evaluation_key(JOB, f"v{number}", f"d{number}")}
        if serving:
            keys["served"] = evaluation_key(JOB, serving, f"d{number}")
        rule = {"name": "bound", "metric": "ap", "alpha": 0.001, "bound": 0.01}
        decision = Decision(
            kind="promote",
            run_id=f"scheduled__{number}",
            verdict="promoted" if promoted else "rejected",
            reasons=["ap_delta is 0.01, 0.86 against 0.85 (> 0)", "nothing fell below its floor in ap"],
            actor="schedule",
            candidate=f"v{number}",
            served=serving,
            dataset_version=f"d{number}",
            metrics={**metrics, "rule": rule, "evaluations": keys},
        )
        workspace.ledger.record_decision(JOB, decision)
        decisions.append(decision)
        serving = f"v{number}" if promoted else serving
    truth = {str(image): _boxes(chance, 6) for image in range(200)}
    report = evaluate(truth, truth, dict.fromkeys(truth, "line"), CLASSES, threshold=0.5)
    content = json.dumps(report.to_json()).encode()
    for decision in decisions:
        for key in decision.metrics["evaluations"].values():
            workspace.store.put(key, content)
    return decisions


def _fill_registry(
    workspace: Workspace, folder: Path, labelled: list[tuple[Sample, Annotation]], decisions: list[Decision]
) -> None:
    """The tags of every version as one stream for `git fast-import`, their manifests straight into the store."""
    by_version: dict[int, list[Row]] = {number: [] for number in range(1, VERSIONS + 1)}
    for place, (sample, annotation) in enumerate(labelled):
        version = 1 + place * VERSIONS // len(labelled)
        by_version[version].append(Row(sample, annotation, version, version, version))
    stream: list[bytes] = []
    parts: tuple[Part, ...] = ()
    held_out = 0
    promoted = 0
    for number, decision in enumerate(decisions, start=1):
        rows, path = by_version[number], folder / f"{number}.parquet"
        write_manifest(path, rows)
        manifest = blob_of(path)
        workspace.store.put(manifest.key, path.read_bytes())
        parts = (*parts, Part(number, manifest, None))
        held_out += sum(row.sample.split == "holdout" for row in rows)
        total = sum(len(by_version[each]) for each in range(1, number + 1))
        parent = f"d{number - 1}" if number > 1 else None
        dataset = DatasetVersion(JOB, f"d{number}", parent, total - held_out, held_out, parts)
        origin = {"run_key": str(number), "parent": decision.served, "dataset_version": f"d{number}"}
        model = ModelVersion(JOB, f"v{number}", manifest, {**origin, "classes": CLASSES, "recipe": {"steps": 500}})
        at = int(datetime(2026, 1, 1, tzinfo=UTC).timestamp()) + number * DAY
        stream += _commit(2 * number - 1, at, f"data/{JOB}/dataset.json", dataset.to_json())
        stream += _tag(f"{JOB}-data@v{number}.0.0", 2 * number - 1, at, f"Dataset d{number}")
        stream += _commit(2 * number, at, f"models/{JOB}/model.json", asdict(model))
        stream += _tag(f"{JOB}@v{number}.0.0", 2 * number, at, f"Model v{number}")
        if decision.verdict == "promoted":
            promoted += 1
            when = datetime.fromtimestamp(at, UTC).isoformat()
            made: dict[str, Any] = {"run_id": decision.run_id, "kind": "promote", "served": decision.served}
            made |= {"dataset_version": f"d{number}", "reasons": decision.reasons, "metrics": decision.metrics}
            promotion = Promotion(JOB, promoted, f"v{number}", when, "schedule", "; ".join(decision.reasons), made)
            stream += _tag(f"{JOB}#production#{promoted}", 2 * number, at, json.dumps(asdict(promotion)))
    bare = Path(workspace.settings.registry_url)
    subprocess.run(["git", "init", "--quiet", "--bare", "--initial-branch=main", bare], check=True)
    subprocess.run(["git", "-C", bare, "fast-import", "--quiet"], input=b"".join(stream), check=True)


def _commit(mark: int, at: int, path: str, content: dict[str, Any]) -> list[bytes]:
    head = f"commit refs/heads/main\nmark :{mark}\ncommitter {WHO} {at} +0000\n"
    return [head.encode(), _data(path), f"M 100644 inline {path}\n".encode(), _data(json.dumps(content, indent=2))]


def _tag(name: str, mark: int, at: int, message: str) -> list[bytes]:
    return [f"tag {name}\nfrom :{mark}\ntagger {WHO} {at} +0000\n".encode(), _data(message)]


def _data(text: str) -> bytes:
    content = text.encode()
    return b"data %d\n%s\n" % (len(content), content)
