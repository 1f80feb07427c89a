"""What a gate waits for: conditions on metrics and windows of time, combined."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Annotated, Literal, NamedTuple, get_args
from zoneinfo import ZoneInfo

from pydantic import AfterValidator, BeforeValidator, ConfigDict, Field, field_validator

from pipelines.specification import Specification

Operator = Literal[">", ">=", "<", "<=", "==", "!="]
OPERATOR_WORDS = {"gt": ">", "ge": ">=", "lt": "<", "le": "<=", "eq": "==", "ne": "!=", "=": "=="}
CLOCK_TIME = re.compile(r"([01]\d|2[0-3]):[0-5]\d")
METRIC = re.compile(r"[a-z][a-z0-9_]*(\[[^\[\]]+\])?(_delta)?")
NUM_OF_SAMPLES = "num_of_samples"
SECONDS_OF = {"hours_since_training": 3600.0, "days_since_training": 86400.0}
# What labels and time change, and so waiting; known at every gate.
LIVE_METRICS = (NUM_OF_SAMPLES, *SECONDS_OF)
EACH_CLASS = "*"


class Metric(NamedTuple):
    """A metric, taken apart: its name, of which class (or index of a list; None: the whole), whether a difference."""

    name: str
    part: str | None
    is_delta: bool

    @classmethod
    def parse(cls, text: str) -> Metric:
        """The metric written `name`, `name[class]`, `name_delta`, `name[class]_delta` or `name_delta[class]`."""
        name, _, rest = text.partition("[")
        part, _, suffix = rest.partition("]")
        stem = name.removesuffix("_delta")
        return cls(stem, part or None, stem != name or suffix == "_delta")

    @property
    def is_live(self) -> bool:
        """Whether labels and time change it, and so waiting may."""
        return self.name in LIVE_METRICS


class Condition(Specification):
    """`metric operator threshold`; a metric is `name`, `name[class]`, or `name[*]` for each class.

    With `_delta` it is what the candidate, or production, has more of it than the served model was promoted with.
    """

    model_config = ConfigDict(alias_generator=None, extra="forbid", frozen=True)

    metric: str = Field(pattern=rf"^{METRIC.pattern}$")
    operator: Annotated[Operator, BeforeValidator(lambda word: OPERATOR_WORDS.get(word, word))]
    threshold: float = Field(allow_inf_nan=False)

    @property
    def asked(self) -> Metric:
        """The metric, taken apart."""
        return Metric.parse(self.metric)

    def __str__(self) -> str:
        return f"{self.metric} {self.operator} {self.threshold:g}"


def _clock_text(value: object) -> object:
    # YAML 1.1 reads an unquoted 02:00 as the sexagesimal number 120.
    return f"{value // 60:02d}:{value % 60:02d}" if isinstance(value, int) and 0 <= value < 1440 else value


ClockTime = Annotated[str, BeforeValidator(_clock_text), Field(pattern=rf"^{CLOCK_TIME.pattern}$")]


def _known_zone(name: str) -> str:
    try:
        ZoneInfo(name)
    except (KeyError, ValueError, OSError):
        raise ValueError(f"{name!r} is not a time zone; use an IANA name such as Europe/Berlin") from None
    return name


TimeZone = Annotated[str, AfterValidator(_known_zone)]
Day = Literal["mon", "tue", "wed", "thu", "fri", "sat", "sun"]
DAYS: tuple[Day, ...] = get_args(Day)


class Timer(Specification):
    """A window from `start` up to, not including, `end` on each of `days`; across midnight if it starts after its end.

    One across midnight belongs to the day on which it starts.
    """

    start: ClockTime
    end: ClockTime
    timezone: TimeZone = "UTC"
    days: list[Day] = Field(default=list(DAYS), min_length=1)


class Rule(Specification):
    """What must hold: a condition, a window, `all` of several rules, `any` of several; of what is given, everything."""

    condition: Condition | None = None
    timer: Timer | None = None
    all: list[Rule] = Field(default=[])
    any: list[Rule] = Field(default=[])

    @field_validator("all", "any")
    @classmethod
    def _each_asks(cls, rules: list[Rule]) -> list[Rule]:
        empty = [str(number) for number, rule in enumerate(rules, 1) if not next(rule.parts(), None)]
        if empty:
            raise ValueError(
                f"number {', '.join(empty)} asks for nothing; give it a condition, a timer, all or any, or take it out"
            )
        return rules

    def parts(self) -> Iterator[Condition | Timer]:
        """Every condition and window of the rule, at whatever depth."""
        yield from (part for part in (self.condition, self.timer) if part is not None)
        for rule in (*self.all, *self.any):
            yield from rule.parts()


class Trigger(Rule):
    """What a gate waits for, checked every `checkPeriodSeconds` for at most `waitSeconds`."""

    check_period_seconds: int = Field(default=60, ge=1)
    wait_seconds: int = Field(default=3600, ge=0)


def metric_problems(
    trigger: object, place: str, *, gate: str, known: Sequence[str], classes: Sequence[str]
) -> Iterator[str]:
    """What is wrong with the metrics of a trigger as YAML has it at `place`, whatever else is wrong with it.

    The gate knows the metrics `known`, or all where none is named.
    """
    for where, text in _metrics(trigger, place, ()):
        if METRIC.fullmatch(text) and (problem := _metric_problem(gate, Metric.parse(text), known, classes)):
            yield f"{where} is {text!r}: {problem}"


def _metrics(rule: object, place: str, above: Sequence[int]) -> Iterator[tuple[str, str]]:
    if not isinstance(rule, dict) or id(rule) in above:  # an alias in YAML may lead back to where it stands
        return
    condition = rule.get("condition")
    if isinstance(condition, dict) and isinstance(condition.get("metric"), str):
        yield f"{place}.condition.metric", condition["metric"]
    for name in ("all", "any"):
        rules = rule.get(name)
        for number, part in enumerate(rules if isinstance(rules, list) else ()):
            yield from _metrics(part, f"{place}.{name}.{number}", (*above, id(rule)))


def _metric_problem(gate: str, metric: Metric, known: Sequence[str], classes: Sequence[str]) -> str:
    if known and metric.name not in known:
        return f"{metric.name} is not known before {gate}; there are {', '.join(known)}"
    if metric.is_live and metric.is_delta:
        return f"{metric.name} has no _delta; there is nothing to compare it with"
    if metric.name in SECONDS_OF and metric.part is not None:
        return f"{metric.name} is one number for the job; take out [{metric.part}]"
    if metric.part not in (None, EACH_CLASS, *classes):
        return f"{metric.part} is no class of the job; there are {', '.join(classes)}, or {EACH_CLASS} for each of them"
    return ""
