"""Holdout: which images decide on promotions, and how much of their error budget is left.

A holdout begins after a dataset version and has every image held out since, until a tenth of its error budget is left.
Then it is closed: what is held out later decides nothing before it suffices for the next one, which begins where this
one was closed. So every image decides in one holdout only.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import lru_cache
from typing import Any

from data.dataset import version_number
from pipelines.job import Job
from pipelines.workspace import Workspace

DUE = 0.1


@dataclass(frozen=True)
class HoldoutState:
    """A job's `number`-th holdout: `images` held out since dataset version `since` (empty: all), and what they decided.

    `left` is the share of its error budget that is left. From `due` on it is closed, and `new_images` wait for the next
    one, which needs `refresh_images` and the classes `missing` among them. Under a rule without a bound there is no
    budget to spend (`bounded` is false).
    """

    number: int
    since: str
    images: int
    decided: int
    left: float
    due: bool
    new_images: int
    refresh_images: int
    missing: tuple[str, ...] = ()
    bounded: bool = True

    @property
    def sentence(self) -> str:
        """The state in words."""
        since = f"since {self.since}" if self.since else "from the start"
        images = f"{self.images} image{'' if self.images == 1 else 's'} {since}"
        if not self.bounded:
            return f"the holdout ({images}) decides as often as it is asked: the rule is point, without an error budget"
        decided = {0: "nothing yet", 1: "once", 2: "twice"}.get(self.decided, f"{self.decided} times")
        said = f"this holdout ({images}) has decided {decided}; {_percent(self.left)} % of its error budget is left"
        if not self.due:
            return said
        lacks = f", none of which shows {' or '.join(self.missing)}" if self.missing else ""
        return f"{said}; refresh due: {self.new_images} of {self.refresh_images} new images{lacks}"

    def to_json(self) -> dict[str, Any]:
        """A JSON object with every field and the sentence."""
        return {**asdict(self), "missing": list(self.missing), "sentence": self.sentence}


@dataclass(frozen=True)
class Claim:
    """The error probability `alpha` that one decision on `images`, by their ids, may have; None where it is none."""

    alpha: float | None
    images: frozenset[str]
    state: HoldoutState


def state(workspace: Workspace, job: Job) -> HoldoutState:
    """The holdout that decides on the newest dataset version."""
    versions = workspace.registry.datasets(job.name)
    newest = versions[-1].version if versions else None
    if job.deploy_spec.rule.name == "point":
        images = len(_held_out(workspace, job.name, newest)) if newest else 0
        return HoldoutState(1, "", images, 0, 1.0, False, 0, job.deploy_spec.rule.refresh_images, bounded=False)
    return _state(workspace, job, _generation(workspace, job, newest))


def claim(workspace: Workspace, job: Job, dataset_version: str, comparison: str) -> Claim:
    """Spend a part of the error budget on a comparison, which the same one later gets again, before it is judged.

    Nothing is spent where there are fewer than two images.
    """
    generation = _generation(workspace, job, dataset_version)
    if len(generation.images) < 2:
        return Claim(None, generation.images, _state(workspace, job, generation))
    rule = job.deploy_spec.rule
    spent = workspace.ledger.spend(job.name, generation.since, comparison, rule.error_budget, rule.decisions)
    newest = workspace.ledger.spending(job.name, generation.since)
    if generation.until is None and newest is not None and _is_due(newest.left / rule.error_budget):
        _close(workspace, job, generation)
        generation = _generation(workspace, job, dataset_version)
    return Claim(spent.alpha, generation.images, _state(workspace, job, generation))


@dataclass(frozen=True)
class _Generation:
    """The `number`-th holdout: after `since`, up to `until` if it is closed; its images and those for the next."""

    number: int
    since: str
    until: str | None
    images: frozenset[str]
    new_images: frozenset[str] = frozenset()
    missing: tuple[str, ...] = ()


def _generation(workspace: Workspace, job: Job, dataset_version: str | None) -> _Generation:
    """The holdout that decides on a dataset version: that of its newest images, if there are enough of them."""
    held_out = _held_out(workspace, job.name, dataset_version) if dataset_version else {}
    number, since, used = 1, "", frozenset[str]()
    while True:
        until = workspace.ledger.mark(job.name, _mark(number))
        if until is None:
            return _Generation(number, since, None, frozenset(held_out) - used)
        before = frozenset(_held_out(workspace, job.name, until))
        if dataset_version is None or version_number(dataset_version) <= version_number(until):
            return _Generation(number, since, until, frozenset(held_out) - used)
        images, new = (held_out.keys() & before) - used, frozenset(held_out) - used - before
        missing = tuple(sorted(_shown(held_out, images) - _shown(held_out, new)))
        if missing or len(new) < job.deploy_spec.rule.refresh_images:
            return _Generation(number, since, until, frozenset(images), new, missing)
        number, since, used = number + 1, until, used | before


def _state(workspace: Workspace, job: Job, generation: _Generation) -> HoldoutState:
    rule = job.deploy_spec.rule
    newest = workspace.ledger.spending(job.name, generation.since)
    left = 1.0 if newest is None else min(1.0, newest.left / rule.error_budget)
    return HoldoutState(
        number=generation.number,
        since=generation.since,
        images=len(generation.images),
        decided=0 if newest is None else newest.number,
        left=left,
        due=generation.until is not None or _is_due(left),
        new_images=len(generation.new_images),
        refresh_images=rule.refresh_images,
        missing=generation.missing if generation.new_images else (),
    )


def _close(workspace: Workspace, job: Job, generation: _Generation) -> None:
    """End a holdout with the newest dataset version there is, so that no later image has decided in it; once."""
    newest = workspace.registry.datasets(job.name)[-1].version
    with workspace.ledger.lease(f"holdout of {job.name}"):
        if workspace.ledger.mark(job.name, _mark(generation.number)) is None:
            workspace.ledger.set_mark(job.name, _mark(generation.number), newest)


def _mark(number: int) -> str:
    return f"holdout {number} ends with"


def _is_due(left: float) -> bool:
    return left <= DUE


@lru_cache(maxsize=32)
def _held_out(workspace: Workspace, job: str, dataset_version: str) -> Mapping[str, Counter[str]]:
    """The boxes of each class by image of the holdout of a dataset version; read once, for a version never changes."""
    rows = workspace.registry.dataset(job, dataset_version).rows("holdout")
    return {row.sample.id: Counter(box.label for box in row.annotation.boxes) for row in rows}


def _shown(held_out: Mapping[str, Counter[str]], images: frozenset[str] | set[str]) -> set[str]:
    return {label for image in images for label in held_out[image]}


def _percent(share: float) -> str:
    """A share in percent, to two digits where it is small."""
    percent = 100 * share
    digits = 0 if percent in (0, 100) else max(1, 1 - math.floor(math.log10(percent)))
    return f"{percent:.{digits}f}"
