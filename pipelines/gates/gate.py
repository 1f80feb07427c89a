"""A gate: what a step waits for, judged from the state of things alone and said in one sentence."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from zoneinfo import ZoneInfo

from pipelines.gates.conditions import NUM_OF_SAMPLES, Metrics, Verdict, evaluate
from pipelines.gates.windows import next_closing, next_opening, open_at
from pipelines.job import Timer, Trigger


@dataclass(frozen=True)
class Facts:
    """What a gate judges by; what does not bear on it is left out.

    `num_of_samples`: labels that wait for a training. `metrics`: what was measured of the candidate, or, before a
    training, of the served model in production. `served`: the same of the served model, None if nothing serves.
    `holdout_support`: boxes of each class in the holdout, of which `min_support` are needed.
    """

    num_of_samples: int | None = None
    metrics: Metrics = field(default_factory=dict)
    served: Metrics | None = None
    holdout_support: Mapping[str, int] | None = None
    min_support: int = 0


def check(trigger: Trigger, facts: Facts, now: datetime) -> Verdict:
    """Whether the trigger's condition holds, the holdout suffices and its window is open at `now`, all of them.

    One that fails decides; otherwise one that is undecided leaves it undecided. A trigger that asks nothing is met.

    Raises:
        ValueError: `now` has no offset from UTC.
    """
    verdicts = []
    if trigger.condition is not None:
        counted = {} if facts.num_of_samples is None else {NUM_OF_SAMPLES: facts.num_of_samples}
        verdicts.append(evaluate(trigger.condition, {**facts.metrics, **counted}, facts.served))
    if facts.holdout_support is not None:
        verdicts.append(_support(facts.holdout_support, facts.min_support))
    if trigger.timer is not None:
        verdicts.append(_window(trigger.timer, now))
    answers = [verdict.met for verdict in verdicts]
    met = False if False in answers else None if None in answers else True
    return Verdict(met, "; ".join(verdict.sentence for verdict in verdicts) or "nothing to wait for")


def _support(support: Mapping[str, int], min_support: int) -> Verdict:
    missing = [f"{count} of {min_support} boxes of {name}" for name, count in support.items() if count < min_support]
    if missing:
        return Verdict(False, f"the holdout has {', '.join(missing)}")
    return Verdict(True, f"the holdout has at least {min_support} boxes of every class")


def _window(timer: Timer, now: datetime) -> Verdict:
    if open_at(timer, now):
        closing = next_closing(timer, now)
        until = "" if closing is None else f" until {_shown(closing, timer)}"
        return Verdict(True, f"window is open{until}")
    opening = next_opening(timer, now)
    return Verdict(False, f"window opens {_shown(opening, timer)} in {_duration((opening - now).total_seconds())}")


def _shown(instant: datetime, timer: Timer) -> str:
    return f"{instant.astimezone(ZoneInfo(timer.timezone)):%H:%M} {timer.timezone}"


def _duration(seconds: float) -> str:
    hours, minutes = divmod(math.ceil(seconds / 60), 60)
    return " ".join(f"{count} {unit}" for count, unit in ((hours, "h"), (minutes, "min")) if count)
