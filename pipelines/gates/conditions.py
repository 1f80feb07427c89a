"""Conditions: `metric operator threshold` over what was measured, with an answer in words."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

from pipelines.job import Condition, Operator

METRIC = re.compile(r"(?P<name>[a-z][a-z0-9_]*?)(?P<first>_delta)?(\[(?P<part>[^\[\]]+)\])?(?P<last>_delta)?")
EQUAL_WITHIN = Fraction(1, 1_000_000)
NUM_OF_SAMPLES = "num_of_samples"

Metrics = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Verdict:
    """Whether something holds, None where that cannot be decided, and why in words; true only when it holds."""

    met: bool | None
    sentence: str

    def __bool__(self) -> bool:
        return self.met is True


class _Unmeasured(Exception):
    """There is no number to compare; the message says why not and what there is."""


def evaluate(condition: Condition, metrics: Metrics, served: Metrics | None = None) -> Verdict:
    """Compare what was measured of a candidate, and for `_delta` what it adds to the served model, with the threshold.

    A metric is a number, a number for each class (a mapping, or names like `ap[open]`), or a list asked for by index
    (`precision[0]`). Numbers are compared as they are written, so that 0.8 is not more than 0.1 above 0.7; `==` and
    `!=` allow 1e-6. Where nothing serves (`served` is None) there is nothing to be better than: every `_delta` is met.
    A number that is missing or undefined leaves the condition undecided.
    """
    parsed = METRIC.fullmatch(condition.metric)
    if parsed is None:
        raise ValueError(
            f"{condition.metric!r} is not a metric; write name, name[class], name_delta or name[class]_delta"
        )
    name, part = parsed["name"], parsed["part"]
    is_delta = bool(parsed["first"] or parsed["last"])
    try:
        value = _number(metrics, name, part, "the candidate" if is_delta else "what was measured")
        if not is_delta:
            return _compared(condition, value, "")
        if served is None:
            return Verdict(True, "nothing serves yet, so there is nothing to be better than")
        before = _number(served, name, part, "the served model")
    except _Unmeasured as reason:
        return Verdict(None, f"{condition} cannot be decided: {reason}")
    return _compared(condition, value - before, f", {float(value):.4g} against {float(before):.4g}")


def as_written(value: float) -> Fraction:
    """The number that a float is written as, exactly: 0.1 is a tenth."""
    return Fraction(repr(float(value)))


def _number(metrics: Metrics, name: str, part: str | None, owner: str) -> Fraction:
    asked = name if part is None else f"{name}[{part}]"
    known = asked in metrics
    value = metrics[asked] if known else None if part is None else _part(metrics.get(name), part)
    if value is None and not known:
        raise _Unmeasured(f"{owner} has no {asked}; it has {', '.join(sorted(metrics)) or 'no metric at all'}")
    if isinstance(value, Mapping):
        raise _Unmeasured(f"{asked} of {owner} is one number for each of {', '.join(value)}; ask for one, {name}[…]")
    if isinstance(value, Sequence) and not isinstance(value, str):
        raise _Unmeasured(f"{asked} of {owner} is a list of {len(value)}; ask for one of them, {name}[0] for the first")
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


def _close(value: Fraction, threshold: Fraction) -> bool:
    return abs(value - threshold) < EQUAL_WITHIN


OPERATORS: dict[Operator, Callable[[Fraction, Fraction], bool]] = {
    ">": lambda value, threshold: value > threshold,
    ">=": lambda value, threshold: value >= threshold,
    "<": lambda value, threshold: value < threshold,
    "<=": lambda value, threshold: value <= threshold,
    "==": _close,
    "!=": lambda value, threshold: not _close(value, threshold),
}


def _compared(condition: Condition, value: Fraction, origin: str) -> Verdict:
    threshold = as_written(condition.threshold)
    met = OPERATORS[condition.operator](value, threshold)
    if condition.metric == NUM_OF_SAMPLES:
        return Verdict(met, _labels(condition, value))
    shown, limit = _shown(float(value), condition.threshold)
    is_met = f"({condition.operator} {limit})" if met else f"but must be {condition.operator} {limit}"
    return Verdict(met, f"{condition.metric} is {shown}{origin}{' ' if met else ', '}{is_met}")


def _labels(condition: Condition, value: Fraction) -> str:
    """`312 of 500 labels`: how many there are of the fewest that meet the condition."""
    count = f"{float(value):g}"
    if condition.operator == ">":
        return f"{count} of {math.floor(condition.threshold) + 1} labels"
    if condition.operator == ">=":
        return f"{count} of {math.ceil(condition.threshold)} labels"
    return f"{count} labels, the condition is {condition.operator} {condition.threshold:g}"


def _shown(value: float, threshold: float) -> tuple[str, str]:
    """Both numbers, short unless that would make different ones look the same."""
    shown, limit = f"{value:.4g}", f"{threshold:.4g}"
    return (shown, limit) if shown != limit or value == threshold else (repr(value), repr(threshold))
