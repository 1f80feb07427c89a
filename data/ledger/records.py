"""What the ledger gives back and what it refuses with."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Literal

from data.sample import Annotation, Prediction, Sample

SampleState = Literal["arrived", "passed", "selected", "pushed", "labelled", "quarantined", "skipped"]
TrainingState = Literal["active", "finished", "failed"]


@dataclass(frozen=True, slots=True)
class Selected:
    """A sample that waits to be pushed: which miner chose it, with what probability, how hard the model finds it."""

    sample: Sample
    miner: str
    probability: float
    hardness: float


@dataclass(frozen=True, slots=True)
class Drawn:
    """A sample that lot drew with `probability`, what the model that served had found in it, and what people said."""

    sample: Sample
    annotation: Annotation
    prediction: Prediction
    probability: float


@dataclass(frozen=True, slots=True)
class Chosen:
    """A sample that a miner chose, as the `number`-th change of its job, and what became of it.

    `prediction` is the one it was chosen by, None where nothing served; `annotation` is what people said, if it is
    valid.
    """

    number: int
    sample: Sample
    state: SampleState
    miner: str
    probability: float
    hardness: float
    prediction: Prediction | None
    annotation: Annotation | None


@dataclass(frozen=True, slots=True)
class Look:
    """What tells a sample from others without its pixels: its domain, and its 64-bit difference hash."""

    sample_id: str
    domain: str
    difference_hash: int


@dataclass(frozen=True, slots=True)
class Quarantined:
    """A sample whose newest annotation cannot be learnt from, and why."""

    sample: Sample
    annotation: Annotation
    problems: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Refusal:
    """An object that was not taken as a sample, and everything that is wrong with it."""

    source: str
    sha256: str
    problems: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Training:
    """One attempt of one run to learn from `samples` samples that it claimed.

    `heartbeat` is in seconds since 1970, the other times are ISO 8601 in UTC; an active training that was silent for
    `silence_seconds` has failed.
    """

    job: str
    id: int
    run_id: str
    state: TrainingState
    samples: int
    claimed_at: str
    ended_at: str | None
    silence_seconds: float
    heartbeat: float
    dataset_version: str | None
    candidate: str | None
    reason: str | None


@dataclass(frozen=True, slots=True)
class Decision:
    """What was decided in one run, by whom, on which grounds; `at` is ISO 8601 in UTC."""

    kind: Literal["train", "evaluate", "promote", "rollback"]
    run_id: str
    verdict: str
    reasons: list[str]
    actor: str
    candidate: str | None = None
    served: str | None = None
    dataset_version: str | None = None
    metrics: dict[str, Any] = field(default_factory=dict)
    at: str = field(default_factory=lambda: datetime.now(UTC).isoformat())


@dataclass(frozen=True, slots=True)
class Request:
    """What a person asked of one run, with which gates bypassed and why; `at` is ISO 8601 in UTC."""

    run_id: str
    actor: str
    verb: str
    bypass: list[str] = field(default_factory=list)
    reason: str = ""
    parameters: dict[str, Any] = field(default_factory=dict)
    at: str = field(default_factory=lambda: datetime.now(UTC).isoformat())


@dataclass(frozen=True, slots=True)
class Spending:
    """The `number`-th decision on a holdout: the error probability `alpha` it may have, and what is `left` after it."""

    number: int
    alpha: float
    left: float


class LedgerRefused(ValueError):
    """The ledger does not take this; nothing was stored."""


class SampleUnknown(LedgerRefused):
    """A step for a sample that never arrived."""

    def __init__(self, job: str, sample_id: str):
        super().__init__(f"job {job!r} has no sample {sample_id!r}; add it with add_sample first")


class TrainingActive(LedgerRefused):
    """Another run is training this job; `other` is its training."""

    def __init__(self, other: Training):
        self.other = other
        super().__init__(
            f"run {other.run_id!r} is training job {other.job!r} with {other.samples} samples since "
            f"{other.claimed_at} (training {other.id}); wait until it ends, or until it was silent for "
            f"{other.silence_seconds:g} s"
        )


class TrainingLost(LedgerRefused):
    """A training acts although its claim ended."""

    def __init__(self, training: Training):
        self.training = training
        super().__init__(
            f"training {training.id} of job {training.job!r} is {training.state} since {training.ended_at} "
            f"({training.reason or 'no reason given'}); its samples are no longer its own, so stop and claim again"
        )


class LeaseBusy(TimeoutError):
    """Someone else held the lease for the whole time one was ready to wait."""


class LeaseLost(RuntimeError):
    """The lease expired and someone else took it, so that what was done under it may not have been alone."""
