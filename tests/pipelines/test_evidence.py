"""Evidence: who is compared with whom, in numbers, floors, words and pictures of the boards that changed most."""

from __future__ import annotations

import io
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from PIL import Image

from data.sample import Box, Example, sha256
from models.metrics import EvaluationReport, evaluate
from pipelines import steps
from pipelines.evaluate import evaluate as compare
from pipelines.evidence import Changed, draw, evidence_address, evidence_key, found_in, gather, most_changed
from pipelines.importing import import_labelled
from pipelines.job import Job
from pipelines.workspace import Workspace
from tests.pipelines.tiny import labelled, tiny_job

RUN = "manual__2026-01-31T12:00:00+00:00"
Learn = Callable[..., None]


def report(found: dict[str, int]) -> EvaluationReport:
    """Of each image's three boxes, so many are found."""
    boxes = [Box(10 * number, 0, 10 * number + 8, 8, "open") for number in range(3)]
    predicted = {
        image: [Box(b.x1, b.y1, b.x2, b.y2, b.label, 0.9) for b in boxes[:count]] for image, count in found.items()
    }
    return evaluate(dict.fromkeys(found, boxes), predicted, dict.fromkeys(found, "line"), ["open"], 0.5)


def test_the_boards_that_changed_most_for_better_or_worse_come_first() -> None:
    before, after = report({"a": 3, "b": 1, "c": 2, "d": 0}), report({"a": 0, "b": 3, "c": 2, "d": 1})
    assert most_changed(before, after) == [Changed("a", 0, 3), Changed("b", 2, 0), Changed("d", 3, 2)]
    assert most_changed(before, after, count=2, gains=True) == [Changed("b", 2, 0), Changed("d", 3, 2)]
    assert most_changed(None, after, count=1) == [Changed("a", None, 3)]


def test_a_board_is_drawn_with_the_boxes_that_somebody_found() -> None:
    example = Example("a", np.full((64, 128), 90, dtype=np.uint8), None, (), "line")
    boxes = (Box(8, 8, 40, 40, "short", 0.75),)
    plain, marked = (
        np.asarray(Image.open(io.BytesIO(draw(example, found, ["open", "short"])))) for found in ((), boxes)
    )
    assert plain.shape == marked.shape == (300, 600, 3)
    assert len(np.unique(plain.reshape(-1, 3), axis=0)) == 1
    rows, columns = np.nonzero((marked == (230, 25, 75)).all(axis=-1))
    assert (columns.min(), rows.max(), columns.max()) == (37, 186, 186)


def test_what_a_run_shows_lies_under_a_name_of_its_own() -> None:
    key = evidence_key("boards", RUN, "board-1.png")
    assert key == f"evidence/boards/{sha256(RUN.encode())}/board-1.png"
    assert key != evidence_key("boards", "another run", "board-1.png")
    address = evidence_address("boards", RUN, "board-1.png")
    assert address == "ratchet/evidence/boards/manual__2026-01-31T12%3A00%3A00%2B00%3A00/board-1.png"


@pytest.fixture
def tiny(workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> Job:
    monkeypatch.setattr(steps, "deployment", lambda: workspace)
    return tiny_job(workspace)


@pytest.fixture
def learn(workspace: Workspace, tiny: Job) -> Learn:
    """Trains a model of that skill on new labels."""

    def run(run_id: str, numbers: range, skill: float, **params: Any) -> None:
        import_labelled(workspace, tiny, labelled(numbers), "import")
        for step in ("curate", "train"):
            steps.run(step, "tiny", run_id, {"parameters": {"skill": skill}, **params})

    return run


@pytest.mark.slow
def test_what_a_board_was_not_labelled_for_is_not_shown_as_found(workspace: Workspace, learn: Learn) -> None:
    learn("first", range(8), 0.2)
    examples = list(workspace.registry.dataset("tiny", "d1").examples("holdout"))
    assert [[box.label for box in boxes] for boxes in found_in(workspace, "tiny", "v1", examples)] == [
        ["open"] for _ in examples
    ]
    others = [replace(example, classes=frozenset({"short"})) for example in examples]
    assert found_in(workspace, "tiny", "v1", others) == [() for _ in examples]


@pytest.mark.slow
def test_a_person_sees_who_is_compared_with_whom_and_on_what(workspace: Workspace, tiny: Job, learn: Learn) -> None:
    learn("first", range(8), 0.2)
    first = gather(workspace, tiny, "first", compare(workspace, tiny, "v1", "d1"), ["nothing serves yet"])
    assert first.subject == "Let v1 of tiny serve?"
    assert "**v1** (the first model) is compared with nothing, for nothing serves yet" in first.body
    assert "| metric | v1, the candidate |" in first.body

    steps.run("promote", "tiny", "first")
    learn("second", range(8, 16), 1.0)
    comparison = compare(workspace, tiny, "v2", "d2")
    evidence = gather(workspace, tiny, "second", comparison, ["ap[open]_delta is 0.5 (> 0)"])

    assert evidence.subject == "Let v2 of tiny serve instead of v1?"
    assert "**v2** (trained from v1) is compared with **v1**, which serves now" in evidence.body
    assert f"on the {comparison.candidate.images} holdout images of dataset version **d2**" in evidence.body
    assert r"- ap\[open\]\_delta is 0.5 (\> 0)" in evidence.body
    lines = evidence.body.splitlines()
    assert "| metric | v1, serving | v2, the candidate | delta |" in lines
    before, after = (report.metrics["recall"] for report in (comparison.served, comparison.candidate) if report)
    assert before is not None
    assert f"| recall | {before:.3f} | 1.000 | +{1 - before:.3f} |" in lines
    assert after == 1
    assert next(line for line in lines if line.startswith("| open |")).endswith("| 0.05 |")

    assert "| labelled | v1 finds | v2 finds |" in lines
    boards = [line for line in lines if "wrong or missed" in line]
    assert len(boards) == 3
    assert all("| 2 wrong or missed [" in line and "| 0 wrong or missed [" in line for line in boards)
    for number, line in enumerate(boards, 1):
        for whose in ("labelled", "v1", "v2"):
            name = f"board-{number}-{whose}.png"
            assert f"]({evidence_address('tiny', 'second', name)})" in line
            picture = Image.open(io.BytesIO(workspace.store.get(evidence_key("tiny", "second", name))))
            assert (picture.format, picture.size) == ("PNG", (600, 600))
    same = gather(workspace, tiny, "third", compare(workspace, tiny, "v1", "d1"), [])
    assert "On no board has either model more mistakes than the other." in same.body
    stored = sorted(item.key for item in workspace.store.list("evidence/"))
    assert gather(workspace, tiny, "second", comparison, ["ap[open]_delta is 0.5 (> 0)"]) == evidence
    assert sorted(item.key for item in workspace.store.list("evidence/")) == stored
