"""COCO's average precision agrees with pycocotools."""

from __future__ import annotations

import contextlib
import io

import numpy as np
import pytest
from hypothesis import given, settings
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from data.sample import Box
from models.coco import coco, mean
from tests.models.strategies import CLASSES, pictures


def reference(truth, predicted, classes) -> dict[str, dict[str, float | None]]:
    """What pycocotools says."""
    images = {name: index + 1 for index, name in enumerate(truth)}

    def record(name: str, box: Box) -> dict:
        corner = [box.x1, box.y1, box.width, box.height]
        return {
            "image_id": images[name],
            "category_id": classes.index(box.label) + 1,
            "bbox": corner,
            "area": box.width * box.height,
        }

    boxes = [record(name, box) for name in truth for box in truth[name]]
    found = [{**record(name, box), "score": box.score} for name in truth for box in predicted.get(name, ())]
    with contextlib.redirect_stdout(io.StringIO()):
        api = COCO()
        api.dataset = {
            "images": [{"id": index} for index in images.values()],
            "annotations": [{**box, "id": index + 1, "iscrowd": 0} for index, box in enumerate(boxes)],
            "categories": [{"id": index + 1} for index in range(len(classes))],
        }
        api.createIndex()
        detections = api.loadRes(found) if found else COCO()
        if not found:
            detections.dataset = {**api.dataset, "annotations": []}
            detections.createIndex()
        evaluation = COCOeval(api, detections, "bbox")
        evaluation.evaluate()
        evaluation.accumulate()
    precision = evaluation.eval["precision"][:, :, :, 0, 2]

    def value(table: np.ndarray) -> float | None:
        return None if (table < 0).any() else float(table.mean())

    return {
        "ap": {label: value(precision[:, :, k]) for k, label in enumerate(classes)},
        "ap50": {label: value(precision[0, :, k]) for k, label in enumerate(classes)},
        "ap75": {label: value(precision[5, :, k]) for k, label in enumerate(classes)},
    }


def assert_agree(truth, predicted, classes):
    ours, theirs = coco(truth, predicted, classes), reference(truth, predicted, classes)
    for metric in theirs:
        assert ours[metric] == pytest.approx(theirs[metric], abs=1e-9)


@settings(max_examples=150, deadline=None)
@given(pictures)
def test_agrees_with_pycocotools(images):
    truth = {name: boxes for name, (boxes, _) in images.items()}
    predicted = {name: boxes for name, (_, boxes) in images.items()}
    assert_agree(truth, predicted, CLASSES)


def test_golden_figures(golden):
    expected, images = golden
    labels = list(expected["coco_ap50_per_class"])
    truth = {name: boxes for name, (boxes, _) in images.items()}
    predicted = {name: boxes for name, (_, boxes) in images.items()}
    assert_agree(truth, predicted, labels)
    figures = coco(truth, predicted, labels)
    assert figures["ap50"] == pytest.approx(expected["coco_ap50_per_class"], abs=5e-5)
    assert mean(figures["ap50"]) == pytest.approx(expected["coco_ap50"], abs=5e-5)


def test_only_the_best_hundred_detections_of_an_image_count():
    truth = {"a": [Box(0, 0, 10, 10, "open")]}
    found = {"a": [Box(50, 0, 60, 10, "open", 0.9)] * 100 + [Box(0, 0, 10, 10, "open", 0.1)]}
    assert coco(truth, found, ["open"])["ap50"] == {"open": 0.0}
