"""The report: golden figures of DeepPCB, and the laws that every gate relies on."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from data.sample import Box
from models.metrics import EvaluationReport, evaluate
from tests.models.strategies import CLASSES, pictures


def report_of(images: dict[str, tuple[list[Box], list[Box]]], threshold: float = 0.5) -> EvaluationReport:
    truth = {name: boxes for name, (boxes, _) in images.items()}
    predicted = {name: boxes for name, (_, boxes) in images.items()}
    return evaluate(truth, predicted, {name: name[0] for name in images}, CLASSES, threshold)


@given(pictures)
def test_perfect_predictions_are_perfect(images):
    perfect = {
        name: (distinct, [replace(box, score=1.0) for box in distinct])
        for name, (boxes, _) in images.items()
        for distinct in [boxes[:1]]
    }
    report = report_of(perfect)
    expected = 1.0 if any(boxes for boxes, _ in perfect.values()) else None
    assert report.metrics == dict.fromkeys(("ap", "precision", "recall", "f1", "ap50"), expected)


@given(pictures)
def test_a_report_survives_json(images):
    report = report_of(images)
    assert EvaluationReport.from_json(json.loads(json.dumps(report.to_json(), allow_nan=False))) == report


@given(pictures)
def test_the_counts_of_the_images_add_up_to_the_report(images):
    report = report_of(images)
    for label in CLASSES:
        counts = [classes[label] for classes in report.per_image.values() if label in classes]
        found, false = sum(count.tp for count in counts), sum(count.fp for count in counts)
        assert found + sum(count.fn for count in counts) == report.support[label]
        assert report.per_class["precision"][label] == (found / (found + false) if found + false else None)
        assert report.per_class["recall"][label] == (found / report.support[label] if report.support[label] else None)


@given(pictures)
def test_each_image_keeps_the_scores_of_all_its_detections(images):
    report = report_of(images)
    for name, (truth, found) in images.items():
        kept = [score for counts in report.per_image[name].values() for score in (*counts.right, *counts.wrong)]
        assert sorted(kept) == sorted(box.score for box in found)
        assert sum(counts.support for counts in report.per_image[name].values()) == len(truth)
        for counts in report.per_image[name].values():
            assert (counts.tp, counts.fp) == tuple(
                sum(score >= 0.5 for score in each) for each in (counts.right, counts.wrong)
            )
            assert counts.right == sorted(counts.right, reverse=True)


@given(pictures)
def test_every_value_is_a_share_or_none(images):
    report = report_of(images)
    tables = [report.metrics, *report.per_class.values(), *report.per_domain.values()]
    assert all(value is None or 0 <= value <= 1 for table in tables for value in table.values())


@given(pictures, st.randoms())
def test_the_order_of_the_images_changes_nothing(images, random):
    shuffled = list(images.items())
    random.shuffle(shuffled)
    assert report_of(dict(shuffled)) == report_of(images)


def test_a_class_that_is_never_predicted_has_no_precision():
    report = report_of({"a": ([Box(0, 0, 9, 9, "open")], [])})
    assert report.metric("precision[open]") is None
    assert report.metric("recall[open]") == report.metric("f1[open]") == report.metric("ap[open]") == 0.0


def test_a_class_that_never_occurs_has_no_recall_and_does_not_lower_the_mean():
    report = report_of({"a": ([Box(0, 0, 9, 9, "open")], [Box(0, 0, 9, 9, "open", 0.9)])})
    assert report.metric("recall[short]") is None
    assert report.metric("ap50[short]") is None
    assert report.metrics["ap50"] == 1.0


def test_the_truth_of_an_image_without_predictions_counts():
    box = Box(0, 0, 9, 9, "open")
    report = evaluate({"a": [box], "b": [box]}, {"a": [replace(box, score=0.9)]}, {"a": "x", "b": "x"}, CLASSES, 0.5)
    assert report.metrics["recall"] == report.metrics["ap"] == 0.5
    assert report.per_image["b"]["open"].fn == 1


def test_domains_are_judged_apart():
    box = Box(0, 0, 9, 9, "open")
    report = report_of({"a": ([box], [replace(box, score=0.9)]), "b": ([box], [])})
    assert (report.per_domain["a"]["ap"], report.per_domain["b"]["ap"]) == (1.0, 0.0)
    assert report.domain_support == {"a": 1, "b": 1}


@given(pictures, st.data())
def test_what_an_image_was_not_labelled_for_is_not_judged(images, data):
    labelled = {name: data.draw(st.none() | st.sets(st.sampled_from(CLASSES))) for name in images}
    asked = {
        name: (
            [box for box in boxes if labelled[name] is None or box.label in labelled[name]],
            [box for box in found if labelled[name] is None or box.label in labelled[name]],
        )
        for name, (boxes, found) in images.items()
    }
    truth = {name: boxes for name, (boxes, _) in asked.items()}
    predicted = {name: found for name, (_, found) in images.items()}
    domains = {name: name[0] for name in images}
    given_all = {name: classes for name, classes in labelled.items() if classes is not None}
    for classes in (labelled, given_all):
        assert evaluate(truth, predicted, domains, CLASSES, 0.5, classes) == report_of(asked)


def test_finding_what_nobody_was_asked_about_is_no_mistake():
    box = Box(0, 0, 9, 9, "open")
    found = [replace(box, score=0.6), replace(box, label="short", score=0.9)]
    report = evaluate({"a": [box]}, {"a": found}, {"a": "x"}, CLASSES, 0.5, {"a": {"open"}})
    assert report.metrics == dict.fromkeys(("ap", "precision", "recall", "f1", "ap50"), 1.0)
    assert evaluate({"a": [box]}, {"a": found}, {"a": "x"}, CLASSES, 0.5).metrics["f1"] == 0.0


def test_a_model_has_nothing_in_a_class_that_it_does_not_know():
    known, new = Box(0, 0, 9, 9, "open"), Box(20, 0, 29, 9, "spur")
    report = evaluate({"a": [known, new]}, {"a": [replace(known, score=0.9)]}, {"a": "x"}, ["open"], 0.5)
    assert [report.metric(f"{metric}[spur]") for metric in ("ap", "recall", "f1", "ap50")] == [0.0] * 4
    assert report.metric("precision[spur]") is None
    assert (report.metrics["recall"], report.metrics["ap"], report.metrics["ap50"]) == (0.5, 0.5, 0.5)
    assert report.per_image["a"]["spur"].fn == report.support["spur"] == 1


def test_an_unknown_metric_is_refused_with_the_known_ones():
    report = report_of({"a": ([], [])})
    with pytest.raises(KeyError, match=r"precision\[short\]"):
        report.metric("precision[spur]")


def test_strangers_are_refused_all_at_once():
    with pytest.raises(ValueError, match=r"without a domain: a.*without a truth: b.*labels spur"):
        evaluate({"a": []}, {"b": [Box(0, 0, 9, 9, "spur", 1.0)]}, {}, CLASSES, 0.5)
