"""A gate: what a step waits for, judged from the state of things alone and said in one sentence."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import NamedTuple, TypeGuard
from zoneinfo import ZoneInfo

from pipelines.gates.conditions import Metrics, Verdict, evaluate
from pipelines.gates.rule import DAYS, Condition, Rule, Timer
from pipelines.gates.windows import next_closing, next_opening, open_at

DAY = timedelta(days=1)


@dataclass(frozen=True)
class Facts:
    """What a gate judges by; what does not bear on it is left out.

    `metrics`: the labels that wait, the time that passed, and what was measured of the candidate or of production.
    `served`: what a `_delta` is measured against, None if nothing serves. `classes`: the job's, for `[*]`. `frozen`:
    what was measured is an evaluation, which never changes. `absent`: why something was not measured.
    `holdout_support`: boxes of each class in the holdout, of which `min_support` are needed.
    """

    metrics: Metrics = field(default_factory=dict)
    served: Metrics | None = None
    classes: Sequence[str] = ()
    frozen: bool = False
    absent: str = ""
    holdout_support: Mapping[str, int] | None = None
    min_support: int = 0


class _Part(NamedTuple):
    """One of several verdicts, and whether its sentence joins several."""

    verdict: Verdict
    is_joined: bool = False


Judge = Callable[[Condition | Timer], Verdict]


def check(rule: Rule, facts: Facts, now: datetime) -> Verdict:
    """Whether at `now` the rule holds and the holdout suffices: of what is given, everything must.

    The logic is Kleene's: one of `all` that fails decides, and so does one of `any` that holds; otherwise one that is
    undecided leaves it undecided. A rule that asks nothing is met.

    Raises:
        ValueError: `now` has no offset from UTC.
    """
    support = [] if facts.holdout_support is None else [_Part(_support(facts.holdout_support, facts.min_support))]
    return _said([*support, *_parts(rule, lambda part: _judged(part, facts, now))], "nothing to wait for")


def check_live(rule: Rule, facts: Facts, now: datetime) -> Verdict:
    """The verdict of `check`, whose sentence tells only of what time and labels decide; empty if there is nothing."""

    def judged(part: Condition | Timer) -> Verdict:
        verdict = _judged(part, facts, now)
        return replace(verdict, sentence="") if _is_frozen(part) else verdict

    return _said(_parts(rule, judged))


def judge_frozen(rule: Rule, metrics: Metrics, served: Metrics | None, classes: Sequence[str]) -> Verdict:
    """What the rule says of an evaluation, with all that time and labels decide taken as met: a no is for ever.

    `served` is the same evaluation of the served model, None if nothing serves.
    """
    facts = Facts(metrics, served, classes, frozen=True)
    granted = Verdict(True, "", final=True, progress=1.0)

    def judged(part: Condition | Timer) -> Verdict:
        return _asked(part, facts) if _is_frozen(part) else granted

    return _said(_parts(rule, judged), "nothing is asked of the evaluation")


def _is_frozen(part: Condition | Timer) -> TypeGuard[Condition]:
    """Whether it asks for what an evaluation measured, and not for labels or time."""
    return isinstance(part, Condition) and not part.asked.is_live


def _judged(part: Condition | Timer, facts: Facts, now: datetime) -> Verdict:
    return _window(part, now) if isinstance(part, Timer) else _asked(part, facts)


def _asked(condition: Condition, facts: Facts) -> Verdict:
    verdict = evaluate(condition, facts.metrics, facts.served, facts.classes, facts.absent)
    return replace(verdict, final=facts.frozen and _is_frozen(condition))


def _parts(rule: Rule, judge: Judge) -> list[_Part]:
    """What must be met, everything of it: the rule's own, all that `all` holds, and one for the whole of `any`."""
    parts = [] if rule.condition is None else [_Part(judge(rule.condition))]
    for nested in rule.all:
        parts += _parts(nested, judge)
    if rule.any:
        parts.append(_any([_all(_parts(option, judge)) for option in rule.any]))
    return parts if rule.timer is None else [*parts, _Part(judge(rule.timer))]


def _said(parts: Sequence[_Part], nothing: str = "") -> Verdict:
    """The verdict of all parts, for a person to read; `nothing` where none has anything to say."""
    spoken = "; ".join(part.verdict.sentence for part in parts if part.verdict.sentence)
    return replace(_all(parts).verdict, sentence=spoken or nothing)


def _all(parts: Sequence[_Part]) -> _Part:
    verdicts = [part.verdict for part in parts]
    lacking = [verdict for verdict in verdicts if not verdict.met]
    met = False if any(verdict.met is False for verdict in lacking) else None if lacking else True
    final = any(verdict.final for verdict in lacking) if lacking else all(verdict.final for verdict in verdicts)
    shares = [verdict.progress for verdict in lacking if verdict.progress is not None]
    progress = None if len(shares) < len(lacking) else min(shares, default=1.0)
    return _joined(parts, " and ", Verdict(met, "", final, progress))


def _any(parts: Sequence[_Part]) -> _Part:
    """Its sentence tells of the parts that are met, or of all where none is."""
    verdicts = [part.verdict for part in parts]
    holding = [part for part in parts if part.verdict.met]
    met = True if holding else None if any(verdict.met is None for verdict in verdicts) else False
    final = any(part.verdict.final for part in holding) if holding else all(verdict.final for verdict in verdicts)
    progress = max((verdict.progress for verdict in verdicts if verdict.progress is not None), default=None)
    return _joined(holding or parts, ", or ", Verdict(met, "", final, progress))


def _joined(parts: Sequence[_Part], separator: str, verdict: Verdict) -> _Part:
    spoken = [part for part in parts if part.verdict.sentence]
    if len(spoken) == 1:
        return _Part(replace(verdict, sentence=spoken[0].verdict.sentence), spoken[0].is_joined)
    sentences = (f"({part.verdict.sentence})" if part.is_joined else part.verdict.sentence for part in spoken)
    return _Part(replace(verdict, sentence=separator.join(sentences)), len(spoken) > 1)


def _support(support: Mapping[str, int], min_support: int) -> Verdict:
    missing = [f"{count} of {min_support} boxes of {name}" for name, count in support.items() if count < min_support]
    if missing:
        progress = min(support.values()) / min_support
        return Verdict(False, f"the holdout has {', '.join(missing)}", final=True, progress=progress)
    return Verdict(True, f"the holdout has at least {min_support} boxes of every class", final=True, progress=1.0)


def _window(timer: Timer, now: datetime) -> Verdict:
    if open_at(timer, now):
        closing = next_closing(timer, now)
        until = "" if closing is None else f" until {_shown(closing, timer, now)}"
        return Verdict(True, f"window is open{until}", progress=1.0)
    opening = next_opening(timer, now)
    return Verdict(False, f"window opens {_shown(opening, timer, now)} in {_duration(opening - now)}", progress=0.0)


def _shown(instant: datetime, timer: Timer, now: datetime) -> str:
    """The time at which it is then there, with the day of the week unless it comes within 24 hours."""
    local = instant.astimezone(ZoneInfo(timer.timezone))
    day = f"{DAYS[local.weekday()].title()} " if instant - now >= DAY else ""
    return f"{day}{local:%H:%M} {timer.timezone}"


def _duration(wait: timedelta) -> str:
    """Rounded up, to minutes, or to hours from a day on."""
    minutes = math.ceil(wait / timedelta(minutes=1))
    if wait >= DAY:
        days, hours = divmod(math.ceil(wait / timedelta(hours=1)), 24)
        return f"{days} d {hours} h" if hours else f"{days} d"
    return " ".join(f"{count} {unit}" for count, unit in zip(divmod(minutes, 60), ("h", "min"), strict=True) if count)
