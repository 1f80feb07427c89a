"""A ledger of any size in minutes: the rows that its own methods would have written, put in by thousands.

Of a thousand samples 900 are passed over, 50 have taught a finished training, 20 are labelled in the holdout, 10 wait
for a training, and each thousand ends with a training and its decision. A test tells the same stories to the ledger's
own methods and compares every row.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, fields
from datetime import UTC, datetime, timedelta
from itertools import groupby
from typing import Any, Literal

import sqlalchemy as sa

from data.ledger import Decision
from data.ledger import tables as ledger
from data.ledger.choices import LOT
from data.ledger.rows import PENDING, PENDING_CLASS
from data.sample import Annotation, Box, Prediction, Sample

Fate = Literal["passed", "used", "holdout", "pending", "arrived", "selected", "pushed", "quarantined", "skipped"]

BLOCK = 1000
SHARES: dict[Fate, int] = {
    "passed": 900,
    "used": 50,
    "holdout": 20,
    "pending": 10,
    "arrived": 10,
    "selected": 4,
    "pushed": 4,
    "quarantined": 1,
    "skipped": 1,
}
FATES = [fate for fate, share in SHARES.items() for _ in range(share)]
# Has no divisor in common with BLOCK, so that each fate is spread over it.
STRIDE = 7919
BEGAN = datetime(2026, 1, 1, tzinfo=UTC)
CLASSES = ("open", "short", "mousebite", "spur", "copper", "pin-hole")
ANNOTATED: frozenset[Fate] = frozenset({"used", "holdout", "pending", "quarantined"})
PROBLEMS = ["class 'scratch' is unknown"]
SAMPLE_FIELDS = tuple(field.name for field in fields(Sample))
SQLITE_CACHE_KIB = 1 << 20


@dataclass(frozen=True, slots=True)
class Story:
    """What becomes of one sample of a job."""

    index: int
    fate: Fate
    sample: Sample
    difference_hash: int
    model_version: str
    hardness: float

    @property
    def block(self) -> int:
        return self.index // BLOCK

    @property
    def miner(self) -> str | None:
        """What chose it: the lot for the whole holdout and for every fifth of the others."""
        if self.fate in ("arrived", "passed"):
            return None
        return LOT if self.sample.split == "holdout" or self.index % 5 == 0 else "IBT"

    @property
    def probability(self) -> float:
        return 0.1 if self.miner == LOT else 1.0

    @property
    def at(self) -> str:
        """When people spoke about it, as the ledger keeps it."""
        return (BEGAN + timedelta(seconds=10 * self.index)).isoformat(timespec="microseconds")

    @property
    def task_id(self) -> int | None:
        return None if self.fate in ("arrived", "passed", "selected") else self.index + 1

    @property
    def boxes(self) -> tuple[Box, ...]:
        """What is there: one object or two."""
        return tuple(
            Box(20.0 * part, 10.0, 20.0 * part + 12, 24.0, CLASSES[(self.index + part) % len(CLASSES)])
            for part in range(1 + self.index % 2)
        )

    @property
    def prediction(self) -> Prediction | None:
        """What the model found: what is there, and in every third image something else."""
        if self.fate == "arrived":
            return None
        wrong = (Box(80.0, 80.0, 92.0, 94.0, CLASSES[self.index % len(CLASSES)], 0.5),) if self.index % 3 == 0 else ()
        found = tuple(Box(box.x1, box.y1, box.x2, box.y2, box.label, 0.9) for box in self.boxes)
        return Prediction(self.sample.id, self.model_version, found + wrong)

    @property
    def annotation(self) -> Annotation | None:
        if self.fate not in ANNOTATED:
            return None
        return Annotation(self.sample.id, self.boxes, "annotator@example.org", self.at, f"annotation {self.index}")


def story(index: int, total: int) -> Story:
    """The story of one of `total` samples; the second half of them met the second model version."""
    fate = FATES[index * STRIDE % BLOCK]
    digest = hashlib.sha256(str(index).encode()).digest()
    split: Literal["train", "holdout"] = "holdout" if fate == "holdout" else "train"
    name = f"{index:07d}.png"
    return Story(
        index=index,
        fate=fate,
        sample=Sample(digest.hex(), 640, 640, f"line{index % 4}", f"inbox/boards/line{index % 4}/{name}", split),
        difference_hash=int.from_bytes(digest[:8]),
        model_version="v1" if index < total / 2 else "v2",
        hardness=digest[8] / 255,
    )


def decision_of(block: int) -> Decision:
    """What was decided about the model of a training."""
    return Decision(
        kind="promote",
        run_id=f"run {block}",
        verdict="rejected",
        reasons=["ap_delta is -0.01, but must be > 0"],
        actor="schedule",
        candidate=f"v{block + 1}",
        dataset_version=f"d{block + 1}",
        metrics={"candidate": {"ap": 0.9}, "delta": {"ap": -0.01}},
        at=(BEGAN + timedelta(seconds=10 * BLOCK * (block + 1))).isoformat(),
    )


def training_of(job: str, block: int, samples: int) -> dict[str, Any]:
    """The row of the training that ends a block."""
    at = BEGAN + timedelta(seconds=10 * BLOCK * (block + 1))
    return {
        "job": job,
        "id": block + 1,
        "run_id": f"run {block}",
        "state": "finished",
        "samples": samples,
        "claimed_at": at.isoformat(timespec="seconds"),
        "ended_at": at.isoformat(timespec="seconds"),
        "silence_seconds": 900.0,
        "heartbeat": at.timestamp(),
        "dataset_version": f"d{block + 1}",
        "candidate": f"v{block + 1}",
        "reason": None,
    }


def fill(url: str, job: str, stories: Iterable[Story]) -> None:
    """Put the rows of `stories`, in their order, into the upgraded and otherwise empty ledger at `url`."""
    engine = sa.create_engine(url)
    tallies: Counter[tuple[str, str, str]] = Counter()
    sequence = 0
    with engine.connect() as connection:
        if connection.dialect.name == "sqlite":
            connection.exec_driver_sql(f"PRAGMA cache_size = -{SQLITE_CACHE_KIB}")
            connection.exec_driver_sql("PRAGMA synchronous = OFF")
        for block, told in groupby(stories, key=lambda each: each.block):
            rows: dict[sa.Table, list[dict[str, Any]]] = {table: [] for table in ledger.metadata.sorted_tables}
            for each in told:
                for table, row in _rows(job, each, sequence):
                    rows[table].append(row)
                sequence += 3
                tallies.update(_counted(each))
            used = sum(row["training_id"] is not None for row in rows[ledger.annotations])
            rows[ledger.trainings].append(training_of(job, block, used))
            sequence += 1
            rows[ledger.decisions].append({**asdict(decision_of(block)), "job": job, "number": sequence})
            for table, added in rows.items():
                if added:
                    connection.execute(sa.insert(table), added)
        connection.execute(sa.insert(ledger.jobs), {"name": job, "sequence": sequence})
        keys = ("kind", "name", "split")
        counts = [{"job": job, **dict(zip(keys, key, strict=True)), "count": tallies[key]} for key in tallies]
        connection.execute(sa.insert(ledger.tallies), counts)
        connection.commit()
    if engine.dialect.name == "postgresql":
        # What autovacuum does by itself after a while.
        with engine.execution_options(isolation_level="AUTOCOMMIT").connect() as connection:
            connection.exec_driver_sql("VACUUM ANALYZE")
    engine.dispose()


def _rows(job: str, each: Story, sequence: int) -> Iterator[tuple[sa.Table, dict[str, Any]]]:
    """The rows about one sample; those that others refer to first."""
    said, found = each.annotation, each.prediction
    stage = each.fate if each.fate in ("arrived", "passed", "selected") else "pushed"
    state = "labelled" if each.fate in ("used", "holdout", "pending") else each.fate
    versioned = said is not None and each.fate in ("used", "holdout")
    yield (
        ledger.samples,
        {
            **{name: getattr(each.sample, name) for name in SAMPLE_FIELDS},
            "job": job,
            "arrived": sequence + 1,
            "difference_hash": each.difference_hash - (1 << 64 if each.difference_hash >> 63 else 0),
            "band_0": each.difference_hash & (1 << 22) - 1,
            "band_1": each.difference_hash >> 22 & (1 << 21) - 1,
            "band_2": each.difference_hash >> 43,
            "stage": stage,
            "state": state,
            "miner": each.miner,
            "probability": each.probability if each.miner else None,
            "hardness": None if found is None else each.hardness,
            "chosen": sequence + 3 if each.miner else None,
            "model_version": each.model_version if each.miner else None,
            "task_id": each.task_id,
            "annotation_id": None if said is None else said.id,
            "pending": each.fate == "pending",
            "versioned_id": said.id if said is not None and versioned else None,
            "unversioned": each.fate == "pending",
        },
    )
    if found is not None:
        yield (
            ledger.predictions,
            {
                "job": job,
                "sample_id": each.sample.id,
                "model_version": found.model_version,
                "number": sequence + 2,
                "boxes": [box.to_json() for box in found.boxes],
                "hardness": each.hardness,
            },
        )
    if said is not None:
        yield (
            ledger.annotations,
            {
                "job": job,
                "id": said.id,
                "sample_id": each.sample.id,
                "annotator": said.annotator,
                "updated_at": said.updated_at,
                "reference": said.reference,
                "boxes": [box.to_json() for box in said.boxes],
                "problems": PROBLEMS if each.fate == "quarantined" else [],
                "training_id": each.block + 1 if each.fate == "used" else None,
            },
        )
    if said is not None or each.fate == "skipped":
        yield (
            ledger.words,
            {
                "job": job,
                "sample_id": each.sample.id,
                "reference": f"annotation {each.index}",
                "at": each.at,
                "annotation_id": None if said is None else said.id,
                "withdrawn": False,
            },
        )


def _counted(each: Story) -> Iterator[tuple[str, str, str]]:
    """The tallies that count a sample: kind, name, split."""
    split = each.sample.split
    labelled = each.fate in ("used", "holdout", "pending")
    yield "state", "labelled" if labelled else each.fate, split
    yield "domain", each.sample.domain, split
    if labelled:
        yield from (("class", box.label, split) for box in each.boxes)
    if each.fate == "pending":
        yield PENDING, "", split
        yield from ((PENDING_CLASS, label, split) for label in {box.label for box in each.boxes})
    if each.miner:
        yield "miner", each.miner, split
