"""Checks of labelled samples before anything learns from them, by great_expectations."""

from __future__ import annotations

import os
import warnings
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import TYPE_CHECKING, Any

from data.images import Limits
from data.sample import Annotation, Sample

if TYPE_CHECKING:
    import pandas
    from great_expectations.expectations import Expectation

EXAMPLES = 3
LIMITS = Limits()
# As in `box_problems`: Label Studio keeps percentages, which come back as pixels a little off.
TOLERANCE = 0.5


@dataclass(frozen=True)
class CheckReport:
    """What the checks found: each failed rule in words, and what was counted (a JSON object)."""

    failures: list[str]
    statistics: dict[str, Any]

    @property
    def success(self) -> bool:
        return not self.failures


def check_labels(
    rows: Iterable[tuple[Sample, Annotation]],
    classes: Sequence[str],
    limits: Limits = LIMITS,
    earlier: Iterable[Collection[str] | None] = (),
) -> CheckReport:
    """Check samples with their labels against the job's `classes` and the `limits` of its images.

    Each sample must be given once, in one split, within the limits; each box must be of a known class, one that its
    annotator was asked about, have corners that are numbers, sides of at least 1 px, and lie in its image. A class
    without a box is counted, not refused: few new samples rarely have every class. But some image must have been
    labelled for it, one of these or of the dataset's others; `earlier` has what each of those was labelled for (None:
    all classes), and is read only as far as needed.
    """
    import pandas

    pairs = list(rows)
    samples = pandas.DataFrame(_sample_records(pairs))
    boxes = pandas.DataFrame(_box_records(pairs))
    failures = [*_failures("samples", samples, _sample_rules(limits)), *_failures("boxes", boxes, _box_rules(classes))]
    failures += _never_asked(chain((annotation.classes for _, annotation in pairs), earlier), classes)
    return CheckReport(failures, _statistics(pairs, classes))


def _sample_records(pairs: Sequence[tuple[Sample, Annotation]]) -> list[dict[str, Any]]:
    splits: dict[str, set[str]] = {}
    for sample, _ in pairs:
        splits.setdefault(sample.id, set()).add(sample.split)
    return [
        {
            "sample_id": sample.id,
            "split": sample.split,
            "splits": " and ".join(sorted(splits[sample.id])),
            "side": min(sample.width, sample.height),
            "pixels": sample.width * sample.height,
        }
        for sample, _ in pairs
    ]


def _box_records(pairs: Sequence[tuple[Sample, Annotation]]) -> list[dict[str, Any]]:
    return [
        {
            "sample_id": sample.id,
            "label": box.label,
            "corners": str((box.x1, box.y1, box.x2, box.y2)),
            "side": min(box.width, box.height),
            "outside": max(-box.x1, -box.y1, box.x2 - sample.width, box.y2 - sample.height),
            "not_asked": "" if annotation.classes is None or box.label in annotation.classes else box.label,
        }
        for sample, annotation in pairs
        for box in annotation.boxes
    ]


def _sample_rules(limits: Limits) -> dict[str, Expectation]:
    """What is expected of the samples, by what is said of one that breaks it."""
    from great_expectations import expectations as expect

    return {
        "given more than once; give each sample once": expect.ExpectColumnValuesToBeUnique(column="sample_id"),
        "whose id is not a SHA-256 in hexadecimal": expect.ExpectColumnValuesToMatchRegex(
            column="sample_id", regex="^[0-9a-f]{64}$"
        ),
        "in another split than train or holdout": expect.ExpectColumnValuesToBeInSet(
            column="split", value_set=["train", "holdout"]
        ),
        "in more than one split; a split is for ever": expect.ExpectColumnValuesToNotMatchRegex(
            column="splits", regex=" and "
        ),
        f"with a side of less than {limits.min_side} px": expect.ExpectColumnValuesToBeBetween(
            column="side", min_value=limits.min_side
        ),
        f"with more than {limits.max_pixels} pixels": expect.ExpectColumnValuesToBeBetween(
            column="pixels", max_value=limits.max_pixels
        ),
    }


def _box_rules(classes: Sequence[str]) -> dict[str, Expectation]:
    """What is expected of the boxes, by what is said of one that breaks it."""
    from great_expectations import expectations as expect

    return {
        f"of an unknown class; the job's classes are {', '.join(classes)}": expect.ExpectColumnValuesToBeInSet(
            column="label", value_set=list(classes)
        ),
        "with a corner that is not a finite number": expect.ExpectColumnValuesToNotMatchRegex(
            column="corners", regex="nan|inf"
        ),
        "with a side of less than 1 px": expect.ExpectColumnValuesToBeBetween(column="side", min_value=1),
        f"more than {TOLERANCE:g} px outside their image": expect.ExpectColumnValuesToBeBetween(
            column="outside", max_value=TOLERANCE
        ),
        "of a class that their annotator was not asked about": expect.ExpectColumnValuesToBeInSet(
            column="not_asked", value_set=[""]
        ),
    }


def _never_asked(labelled_for: Iterable[Collection[str] | None], classes: Sequence[str]) -> list[str]:
    """What is said of the classes that no image was labelled for; nothing where there is no image."""
    missing: set[str] | None = None
    for asked in labelled_for:
        missing = set() if asked is None else (set(classes) if missing is None else missing).difference(asked)
        if not missing:
            return []
    if missing is None:
        return []
    listed = ", ".join(name for name in classes if name in missing)
    return [f"no image was labelled for {listed}; label images for that, or take it from the job's classes"]


def _failures(kind: str, table: pandas.DataFrame, rules: Mapping[str, Expectation]) -> list[str]:
    """Each rule that rows of `table` break: how many of them, which rule, and a few of the values and samples."""
    if table.empty:
        return []
    failures = []
    for rule, result in _validate(table, rules):
        if "unexpected_count" not in result:
            failures.append(f"whether there are {kind} {rule} could not be checked: {result}")
            continue
        broken = result["partial_unexpected_index_list"][:EXAMPLES]
        examples = [_example(record) for record in broken]
        more = ", ..." if result["unexpected_count"] > len(examples) else ""
        failures.append(
            f"{result['unexpected_count']} of {result['element_count']} {kind} {rule}: {', '.join(examples)}{more}"
        )
    return failures


def _example(record: Mapping[str, Any]) -> str:
    """The value that broke a rule and its sample; GX gives no value where it is the sample's id itself."""
    values = [f"{value} in " for column, value in record.items() if column != "sample_id"]
    return f"{''.join(values)}sample {record['sample_id']}"


def _validate(table: pandas.DataFrame, rules: Mapping[str, Expectation]) -> list[tuple[str, dict[str, Any]]]:
    """GX's result for each rule that does not hold; where it could not be checked, what stopped it."""
    # GX reads it when a context is made, and would otherwise report to its makers.
    os.environ["GX_ANALYTICS_ENABLED"] = "false"
    import great_expectations

    for rule, expectation in rules.items():
        expectation.meta = {"rule": rule}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        context = great_expectations.get_context(mode="ephemeral")
        context.variables.progress_bars = {"globally": False}
        asset = context.data_sources.add_pandas("labels").add_dataframe_asset("new")
        batch = asset.add_batch_definition_whole_dataframe("all").get_batch({"dataframe": table})
        validation = batch.validate(
            great_expectations.ExpectationSuite(name="labels", expectations=list(rules.values())),
            result_format={
                "result_format": "SUMMARY",
                "unexpected_index_column_names": ["sample_id"],
                "partial_unexpected_count": EXAMPLES,
            },
        )
    broken = {
        result.expectation_config.meta["rule"]: result.result or result.exception_info
        for result in validation.results
        if not result.success
    }
    return [(rule, broken[rule]) for rule in rules if rule in broken]


def _statistics(pairs: Sequence[tuple[Sample, Annotation]], classes: Sequence[str]) -> dict[str, Any]:
    boxes = Counter(box.label for _, annotation in pairs for box in annotation.boxes)
    return {
        "samples": len(pairs),
        "samples_per_split": dict(Counter(sample.split for sample, _ in pairs)),
        "samples_per_domain": dict(Counter(sample.domain for sample, _ in pairs)),
        "samples_without_box": sum(not annotation.boxes for _, annotation in pairs),
        "samples_labelled_for_some_classes": sum(
            not set(classes).issubset(annotation.classes) for _, annotation in pairs if annotation.classes is not None
        ),
        "boxes_per_class": {name: boxes[name] for name in classes},
        "absent_classes": [name for name in classes if not boxes[name]],
    }
