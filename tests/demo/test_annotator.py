from __future__ import annotations

import random
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from data.sample import Box, Sample, box_problems, sha256
from demo.annotator import EMAIL, Mood, Sitting, annotate, draw
from pipelines import label
from pipelines.job import EstimatorSpecification, Job
from pipelines.settings import Settings
from pipelines.workspace import Workspace

CLASSES = ["open", "short", "spur"]
SIZE = 640


@st.composite
def truths(draw_: st.DrawFn) -> list[Box]:
    corners = st.tuples(st.integers(0, 600), st.integers(0, 600), st.integers(4, 40), st.integers(4, 40))
    return [
        Box(x, y, x + width, y + height, draw_(st.sampled_from(CLASSES)))
        for x, y, width, height in draw_(st.lists(corners, max_size=8))
    ]


def sitting(seed: int) -> Sitting:
    return Sitting(SIZE, SIZE, CLASSES, random.Random(seed))


@given(truths(), st.integers())
def test_a_careful_annotator_is_at_most_two_pixels_off(truth: list[Box], seed: int) -> None:
    drawn = draw(truth, sitting(seed), "careful")
    assert [box.label for box in drawn] == [box.label for box in truth]
    for box, true in zip(drawn, truth, strict=True):
        assert box_problems(box, SIZE, SIZE, CLASSES) == []
        offsets = (box.x1 - true.x1, box.y1 - true.y1, box.x2 - true.x2, box.y2 - true.y2)
        assert max(map(abs, offsets)) <= 2


@given(truths(), st.integers(), st.sampled_from(["careful", "bad"]))
def test_the_same_seed_draws_the_same(truth: list[Box], seed: int, mood: str) -> None:
    assert draw(truth, sitting(seed), mood) == draw(truth, sitting(seed), mood)  # type: ignore[arg-type]


def test_a_bad_night_holds_what_rules_catch_and_what_only_looks_right() -> None:
    truth = [Box(100 + 60 * number, 100, 130 + 60 * number, 120, "open") for number in range(6)]
    problems: Counter[str] = Counter()
    plausible = 0
    for seed in range(400):
        drawn = draw(truth, sitting(seed), "bad")
        found = [problem for box in drawn for problem in box_problems(box, SIZE, SIZE, CLASSES)]
        problems.update(kind for kind in ("unknown", "outside", "at least 1 px") if any(kind in said for said in found))
        plausible += not found
        assert found or drawn != draw(truth, sitting(seed), "careful")
    assert set(problems) == {"unknown", "outside", "at least 1 px"}
    assert plausible == pytest.approx(300, abs=40)


@pytest.mark.slow
@pytest.mark.parametrize("mood", ["careful", "bad"])
def test_what_it_labels_goes_the_way_of_a_persons_labels(
    label_studio_server: Settings, tmp_path: Path, mood: Mood
) -> None:
    workspace = Workspace(replace(label_studio_server, ledger_url=f"sqlite:///{tmp_path / 'ledger.db'}"))
    ledger = workspace.ledger
    ledger.upgrade()
    job = Job(name=f"annotated_{mood}", classes=CLASSES, estimator=EstimatorSpecification(name="FPN"))
    truth = {sha256(bytes([number])): [Box(100, 100, 130, 120, "open")] for number in range(12)}
    for number, sample_id in enumerate(truth):
        ledger.add_sample(job.name, Sample(sample_id, SIZE, SIZE, "line 1", "", "train"), number << 20)
        ledger.select(job.name, sample_id, "IBT", 1.0, 0.5)
    label.push(workspace, job)

    first, *others = truth
    assert annotate(workspace, job, {first: truth[first]}) == 1
    assert annotate(workspace, job, truth, mood) == len(others)
    assert annotate(workspace, job, truth, mood) == 0
    pulled = label.pull(workspace, job)
    assert pulled.labelled + pulled.quarantined == len(truth)
    assert (pulled.quarantined > 0) == (mood == "bad")
    assert {annotation.annotator for _, annotation in ledger.labelled(job.name)} == {EMAIL}
