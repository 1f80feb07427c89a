"""Promotions: who serves since when, by whose word and why. They are only ever added; a rollback is one too."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from data.registry import models
from data.registry.repository import Repository

STAGE = "production"


@dataclass(frozen=True)
class Promotion:
    """From `at` (ISO 8601, UTC) on, `version` serves; `number` counts the job's promotions from 1."""

    job: str
    number: int
    version: str
    at: str
    actor: str
    reason: str
    decision: dict[str, Any]


class Overtaken(RuntimeError):
    """Another promotion came first; what was decided was decided against a model that serves no longer."""


def promote(
    repository: Repository,
    job: str,
    version: str,
    instead_of: str | None,
    actor: str,
    reason: str,
    decision: Mapping[str, Any],
) -> Promotion:
    """Let a model version serve; the promotion that the run `decision["run_id"]` has made before, if it has made one.

    Raises:
        UnknownVersion: there is no such model version.
        Overtaken: `instead_of` is not what serves now.
    """

    def attempt() -> Promotion:
        earlier = promotions(repository, job)
        for promotion in earlier:
            if promotion.decision["run_id"] == decision["run_id"]:
                return promotion
        serving = earlier[-1].version if earlier else None
        if serving != instead_of:
            raise Overtaken(
                f"{version} of {job} was to serve instead of {instead_of or 'nothing'}, but {serving or 'nothing'} "
                "serves now; compare it with that first"
            )
        number = int(models.version(repository, job, version).version.removeprefix("v"))
        # GTO orders promotions by their time in whole seconds, and the clocks of two machines differ.
        at = datetime.now(UTC).replace(microsecond=0)
        if earlier:
            at = max(at, datetime.fromisoformat(earlier[-1].at) + timedelta(seconds=1))
        promotion = Promotion(job, len(earlier) + 1, version, at.isoformat(), actor, reason, dict(decision))
        message = json.dumps(asdict(promotion), sort_keys=True)
        repository.tag(tag_name(job, promotion.number), models.tag_name(job, number), message, at)
        return promotion

    return repository.change(attempt)


def promotions(repository: Repository, job: str) -> list[Promotion]:
    """Every promotion that is fetched, the newest last."""
    return [Promotion(**json.loads(tag.message)) for tag in repository.tags(tag_name(job, "*"))]


def tag_name(job: str, number: int | str) -> str:
    """The tag of a promotion."""
    return f"{job}#{STAGE}#{number}"
