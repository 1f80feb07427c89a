"""Conditions: `metric operator threshold` over what was measured, with an answer in words."""

from __future__ import annotations

import math
import operator
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any, TypeAlias

from pipelines.gates.rule import EACH_CLASS, NUM_OF_SAMPLES, SECONDS_OF, Condition, Operator

EQUAL_WITHIN = Fraction(1, 1_000_000)
NOTHING_SERVES = "nothing serves yet, so there is nothing to be better than"

Metrics = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Estimate:
    """A measurement from `images` pictures, with the ends of its 95 % confidence interval."""

    value: float
    low: float
    high: float
    images: int


@dataclass(frozen=True, slots=True)
class Verdict:
    """Whether something holds, None where that cannot be decided, and why in words; true only when it holds.

    `final`: waiting cannot change whether it is met. `progress` towards being met is in [0, 1], and 1 where it is; None
    where a share has no meaning.
    """

    met: bool | None
    sentence: str
    final: bool = False
    progress: float | None = None

    def __bool__(self) -> bool:
        return self.met is True


class _Unmeasured(Exception):
    """There is no number to compare; the message says why not and what there is."""


Number: TypeAlias = Fraction | float  # a float only where it is infinite


@dataclass(frozen=True, slots=True)
class _Measured:
    """A number and where it may lie; of one that is known exactly, `images` is None and both ends are the number."""

    value: Number
    low: Number
    high: Number
    images: int | None = None
    origin: str = ""

    def more_than(self, other: _Measured) -> _Measured:
        origin = f", {float(self.value):.4g} against {float(other.value):.4g}"
        return _Measured(
            self.value - other.value, self.low - other.high, self.high - other.low, self.images or other.images, origin
        )


def evaluate(
    condition: Condition,
    metrics: Metrics,
    served: Metrics | None = None,
    classes: Sequence[str] = (),
    absent: str = "",
) -> Verdict:
    """Compare what was measured, and for `_delta` what it has more than the served model, with the threshold.

    A metric is a number or an `Estimate`, one for each class (a mapping, or names like `ap[open]`), or a list asked for
    by index (`precision[0]`); `[*]` asks for each of `classes`. Numbers are compared as they are written, so that 0.8
    is not more than 0.1 above 0.7; `==` and `!=` allow 1e-6. An estimate meets a condition if all of its interval does,
    and fails it if none does. Where nothing serves (`served` is None) there is nothing to be better than: every
    `_delta` is met. A number that is missing or undefined leaves the condition undecided; `absent` says why some are.
    """
    if condition.asked.part == EACH_CLASS:
        return _in_each_class(condition, metrics, served, classes, absent)
    try:
        measured = _measured(condition, condition.asked.part, metrics, served, absent)
    except _Unmeasured as reason:
        return Verdict(None, f"{condition} cannot be decided: {reason}")
    if measured is None:
        return Verdict(True, NOTHING_SERVES, progress=1.0)
    met = _answer(condition, measured)
    return Verdict(met, _sentence(condition, measured, met), progress=_progress(condition, measured, met))


def as_written(value: float) -> Fraction:
    """The number that a float is written as, exactly: 0.1 is a tenth."""
    return Fraction(repr(float(value)))


def _in_each_class(
    condition: Condition, metrics: Metrics, served: Metrics | None, classes: Sequence[str], absent: str
) -> Verdict:
    """Whether the condition holds in every class; the sentence names those in which it does not."""
    failed, shares = [], []
    undecided: dict[str, str] = {}
    for name in classes:
        one = condition.model_copy(update={"metric": condition.metric.replace(f"[{EACH_CLASS}]", f"[{name}]")})
        try:
            measured = _measured(one, name, metrics, served, absent)
        except _Unmeasured as reason:
            undecided[name] = str(reason)
            continue
        if measured is None:
            continue
        met = _answer(one, measured)
        shares.append(_progress(one, measured, met))
        if met is None:
            undecided[name] = _sentence(one, measured, met)
        elif not met and _is_share(one):
            failed.append(_sentence(one, measured, met))
        elif not met:
            failed.append(f"{_shown(float(measured.value), condition.threshold)[0]} in {name}")
    whole = condition.model_copy(update={"metric": condition.metric.replace(f"[{EACH_CLASS}]", "")})
    progress = None if undecided or None in shares else min((share for share in shares if share is not None), default=1)
    if failed and _is_share(condition):
        return Verdict(False, " and ".join(failed), progress=progress)
    if failed:
        rule = f"{whole.metric} must be {condition.operator} {condition.threshold:g} in every class"
        return Verdict(False, f"{rule}, but is {', '.join(failed)}")
    if undecided or not classes:
        first = next(iter(undecided.values()), "no class is known")
        return Verdict(None, f"{condition} cannot be decided for {', '.join(undecided) or 'any class'}: {first}")
    if served is None and condition.asked.is_delta:
        return Verdict(True, NOTHING_SERVES, progress=1.0)
    return Verdict(True, f"{whole} in every class", progress=1.0)


def _measured(
    condition: Condition, part: str | None, metrics: Metrics, served: Metrics | None, absent: str
) -> _Measured | None:
    """What the condition's threshold is compared with; None for a difference where nothing serves."""
    name, is_delta = condition.asked.name, condition.asked.is_delta
    value = _looked_up(metrics, name, part, "the candidate" if is_delta else "what was measured", absent)
    if not is_delta:
        return value
    return None if served is None else value.more_than(_looked_up(served, name, part, "the served model"))


def _looked_up(metrics: Metrics, name: str, part: str | None, owner: str, absent: str = "") -> _Measured:
    asked = name if part is None else f"{name}[{part}]"
    known = asked in metrics
    value = metrics[asked] if known else None if part is None else _part(metrics.get(name), part)
    if value is None and not known:
        raise _Unmeasured(
            absent or f"{owner} has no {asked}; it has {', '.join(sorted(metrics)) or 'no metric at all'}"
        )
    if isinstance(value, Mapping):
        raise _Unmeasured(f"{asked} of {owner} is one number for each of {', '.join(value)}; ask for one, {name}[…]")
    if isinstance(value, Sequence) and not isinstance(value, str):
        raise _Unmeasured(f"{asked} of {owner} is a list of {len(value)}; ask for one of them, {name}[0] for the first")
    if isinstance(value, Estimate):
        middle, low, high = (_finite(number, asked, owner) for number in (value.value, value.low, value.high))
        return _Measured(middle, low, high, value.images)
    if value == math.inf and name in SECONDS_OF:
        return _Measured(math.inf, math.inf, math.inf)
    number = _finite(value, asked, owner)
    return _Measured(number, number, number)


def _finite(value: Any, asked: str, owner: str) -> Fraction:
    if value is None or isinstance(value, bool | str) or not math.isfinite(value):
        raise _Unmeasured(f"{asked} of {owner} is {value!r}, which is not a finite number")
    return as_written(value)


def _part(value: Any, part: str) -> Any:
    """The number of one class of a mapping or at one index of a list; None where there is none."""
    if isinstance(value, Mapping):
        return value.get(part)
    if isinstance(value, Sequence) and part.isdecimal() and int(part) < len(value):
        return value[int(part)]
    return None


def _close(value: Number, threshold: Fraction) -> bool:
    return threshold - EQUAL_WITHIN < value < threshold + EQUAL_WITHIN


OPERATORS: dict[Operator, Callable[[Number, Fraction], bool]] = {
    ">": operator.gt,
    ">=": operator.ge,
    "<": operator.lt,
    "<=": operator.le,
    "==": _close,
    "!=": lambda value, threshold: not _close(value, threshold),
}


def _answer(condition: Condition, measured: _Measured) -> bool | None:
    """Whether all that the number may be meets the condition; None if only some of it does."""
    threshold = as_written(condition.threshold)
    low, high = (OPERATORS[condition.operator](end, threshold) for end in (measured.low, measured.high))
    inside = OPERATORS["<"](measured.low, threshold) and OPERATORS[">"](measured.high, threshold)
    return None if low is not high or (inside and not _close(measured.low, threshold)) else low


def _is_share(condition: Condition) -> bool:
    """Whether it asks for at least so many labels, or so much time, so that there is a way to go."""
    return condition.asked.is_live and condition.operator in (">", ">=")


def _needed(condition: Condition) -> float:
    """The least that meets a condition that `_is_share`; of time, of which there is no next number, its threshold."""
    if condition.asked.name != NUM_OF_SAMPLES:
        return condition.threshold
    return math.floor(condition.threshold) + 1 if condition.operator == ">" else math.ceil(condition.threshold)


def _progress(condition: Condition, measured: _Measured, met: bool | None) -> float | None:
    if met:
        return 1.0
    if not _is_share(condition):
        return None
    needed = _needed(condition)
    return min(1.0, max(0.0, float(measured.value) / needed)) if needed > 0 else 1.0


def _sentence(condition: Condition, measured: _Measured, met: bool | None) -> str:
    if condition.asked.name in SECONDS_OF:
        return _time(condition, float(measured.value), met)
    if condition.asked.name == NUM_OF_SAMPLES:
        return _labels(condition, float(measured.value))
    rule, value, limit = condition.operator, *_shown(float(measured.value), condition.threshold)
    origin = measured.origin
    if measured.images is not None:
        ends = f"{float(measured.low):.2f} to {float(measured.high):.2f}"
        origin += f", 95 % interval {ends} from {measured.images} images"
    if met is None:
        return f"{condition.metric} is {value}{origin}, which does not tell whether it is {rule} {limit}"
    return f"{condition.metric} is {value}{origin}{f' ({rule} {limit})' if met else f', but must be {rule} {limit}'}"


def _labels(condition: Condition, count: float) -> str:
    """`312 of 500 labels`: how many there are of the fewest that meet the condition."""
    part = condition.asked.part
    labels = "labels" if part is None else f"labels with {part}"
    if _is_share(condition):
        return f"{count:g} of {_needed(condition):g} {labels}"
    return f"{count:g} {labels}, the condition is {condition.operator} {condition.threshold:g}"


def _time(condition: Condition, elapsed: float, met: bool | None) -> str:
    """`9 of 14 days since the last training`: rounded down, so that it is never said to be over before it is."""
    unit = condition.asked.name.partition("_")[0]
    if elapsed == math.inf:
        return "no training has finished yet" if met else f"no training has finished yet, but {condition} is asked for"
    passed = f"{math.floor(elapsed * 10) / 10:g}"
    if not _is_share(condition):
        limit = f"{condition.operator} {condition.threshold:g}"
        return f"{passed} {unit} since the last training, the condition is {limit}"
    more = "more than " if condition.operator == ">" else ""
    return f"{passed} of {more}{condition.threshold:g} {unit} since the last training"


def _shown(value: float, threshold: float) -> tuple[str, str]:
    """Both numbers, short unless that would make different ones look the same."""
    shown, limit = f"{value:.4g}", f"{threshold:.4g}"
    return (shown, limit) if shown != limit or value == threshold else (repr(value), repr(threshold))
