from __future__ import annotations

from pathlib import Path

from data.boards import FAMILIES, write_boards
from data.formats.deeppcb import read
from data.images import decode
from data.sample import Example
from demo.rehearsal import StandIn
from models.estimator import create


def boards(folder: Path) -> list[Example]:
    write_boards(folder, FAMILIES["signal"], range(6), 320)
    found = list(read(folder))
    StandIn.told(found)
    return [Example(board.name, decode(board.read()), None, board.boxes, "line") for board in found]


def test_more_skill_finds_more_and_the_same_skill_the_same(tmp_path: Path) -> None:
    examples = boards(tmp_path)
    estimator = create("StandIn", classes=["open", "short", "mousebite", "spur", "copper", "pin-hole"])
    scores = []
    for skill in (0.3, 0.6, 1.0):
        estimator.train(examples, skill=skill)
        report = estimator.evaluate(examples)
        assert estimator.evaluate(examples) == report
        scores.append(report.metrics["ap"] or 0.0)
    assert scores[0] < scores[1] < scores[2]
    assert scores[2] > 0.9


def test_its_boxes_lie_in_the_image_and_its_skill_is_kept(tmp_path: Path) -> None:
    examples = boards(tmp_path)
    estimator = create("StandIn", classes=["open", "short", "mousebite", "spur", "copper", "pin-hole"])
    estimator.train(examples, skill=0.4)
    found = estimator.predict(examples)
    for boxes in found:
        for box in boxes:
            assert 0 <= box.x1 < box.x2 <= 320
            assert 0 <= box.y1 < box.y2 <= 320
            assert 0 < (box.score or 0.0) < 1
    estimator.save(tmp_path)
    again = create("StandIn", classes=estimator.parameters["classes"])
    again.load(tmp_path)
    assert again.predict(examples) == found
