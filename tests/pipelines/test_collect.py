"""Collecting: what arrives in the inbox, each image once, and what cannot be one set aside with its reasons."""

from __future__ import annotations

import io
import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from data.boards import FAMILIES, draw_board
from data.images import encode_png
from data.ledger import LOT
from data.sample import Annotation, Box, sha256
from models.version import save_model
from pipelines.collect import collect, images_waiting
from pipelines.job import Job, TemplateRule
from pipelines.production import estimate
from pipelines.workspace import Workspace, sample_key
from tests.pipelines.tiny import Tiny, picture, tiny_job

pytestmark = pytest.mark.slow


def deliver(workspace: Workspace, job: Job, index: int, family: str = "signal", template: bool = True) -> bytes:
    """Let a drawn board arrive; the bytes of its image."""
    board = draw_board(FAMILIES[family], index, 320)
    name = f"{job.inbox}{family}/{family}{index:04d}"
    content = encode_png(board.image)
    if template:
        workspace.store.put(f"{name}_temp.png", encode_png(board.template))
    workspace.store.put(f"{name}_test.png", content)
    return content


def test_what_arrives_is_kept_remembered_and_taken_out_of_the_inbox(workspace: Workspace, job: Job) -> None:
    contents = [deliver(workspace, job, index) for index in range(3)]
    assert images_waiting(workspace, job) == 3

    collected = collect(workspace, job)

    assert (collected["arrived"], collected["refused"], collected["predicted"]) == (3, 0, 0)
    assert images_waiting(workspace, job) == 0
    assert list(workspace.store.list(job.inbox)) == []
    for content in contents:
        sample = workspace.ledger.sample(job.name, sha256(content))
        assert sample is not None
        assert sample.domain == "signal"
        assert workspace.sample_bytes(sample.id) == content
        assert sample.template_id is not None
        assert workspace.store.exists(sample_key(sample.template_id))


def test_the_same_images_again_change_nothing(workspace: Workspace, job: Job) -> None:
    deliver(workspace, job, 1)
    collect(workspace, job)
    before = workspace.ledger.counts(job.name)
    objects = sorted(stored.key for stored in workspace.store.list(""))

    deliver(workspace, job, 1)
    collect(workspace, job)

    assert workspace.ledger.counts(job.name) == before
    assert sorted(stored.key for stored in workspace.store.list("")) == objects


def test_a_board_waits_for_its_template(workspace: Workspace, job: Job) -> None:
    deliver(workspace, job, 1, template=False)

    collected = collect(workspace, job)

    assert (collected["arrived"], collected["waiting_for_template"]) == (0, 1)
    assert images_waiting(workspace, job) == 0
    deliver(workspace, job, 1)
    assert collect(workspace, job)["arrived"] == 1


def truncated() -> bytes:
    content = encode_png(draw_board(FAMILIES["signal"], 7, 320).image)
    return content[: len(content) // 2]


def absurdly_large() -> bytes:
    stream = io.BytesIO()
    Image.new("1", (20000, 20000)).save(stream, "PNG")
    return stream.getvalue()


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "zero bytes"),
        (b"not an image at all", "image"),
        (truncated(), "truncated"),
        (absurdly_large(), "too large"),
        (encode_png(np.zeros((8, 8), np.uint8)), "8 x 8"),
    ],
    ids=["of zero size", "not an image", "truncated", "absurdly large", "too small"],
)
def test_what_is_no_image_is_set_aside_with_its_reason_and_harms_nothing(
    workspace: Workspace, job: Job, content: bytes, reason: str
) -> None:
    workspace.store.put(f"{job.inbox}signal/bad.png", content)
    deliver(workspace, job, 1)

    collected = collect(workspace, job)

    assert (collected["arrived"], collected["refused"]) == (1, 1)
    (refusal,) = workspace.ledger.refusals(job.name)
    assert reason in " ".join(refusal.problems)
    kept = f"refused/{job.name}/{sha256(content)}"
    assert workspace.store.get(kept) == content
    assert json.loads(workspace.store.get(f"{kept}.json"))["problems"] == list(refusal.problems)
    assert list(workspace.store.list(job.inbox)) == []


def test_a_template_of_another_size_refuses_its_image(workspace: Workspace, job: Job) -> None:
    deliver(workspace, job, 1)
    workspace.store.put(f"{job.inbox}signal/signal0001_temp.png", encode_png(np.zeros((64, 64), np.uint8)))

    assert collect(workspace, job)["refused"] == 1

    (refusal,) = workspace.ledger.refusals(job.name)
    assert "64 x 64" in " ".join(refusal.problems)


def test_an_image_with_too_many_bytes_is_set_aside_unread_and_whole(workspace: Workspace, job: Job) -> None:
    content = deliver(workspace, job, 1)
    strict = job.model_copy(update={"source": job.source.model_copy(update={"max_bytes": len(content) - 1})})

    assert collect(workspace, strict)["refused"] == 1

    (refusal,) = workspace.ledger.refusals(job.name)
    assert f"has {len(content)} bytes; at most {len(content) - 1} are allowed" in refusal.problems[0]
    assert workspace.store.get(f"refused/{job.name}/{refusal.sha256}") == content
    assert list(workspace.store.list(job.inbox)) == []


@pytest.mark.parametrize("moment", [1, 2])
def test_a_collection_killed_while_it_empties_the_inbox_is_completed_by_the_next(
    workspace: Workspace, job: Job, monkeypatch: pytest.MonkeyPatch, moment: int
) -> None:
    deliver(workspace, job, 1)
    delete, deleted = workspace.store.delete, []

    def killed(key: str) -> None:
        deleted.append(key)
        if len(deleted) == moment:
            raise KeyboardInterrupt
        delete(key)

    with monkeypatch.context() as patch:
        patch.setattr(workspace.store, "delete", killed)
        with pytest.raises(KeyboardInterrupt):
            collect(workspace, job)
    long_ago = job.source.model_copy(update={"template": TemplateRule(wait_seconds=0)})
    collect(workspace, job.model_copy(update={"source": long_ago}))

    assert list(workspace.store.list(job.inbox)) == []
    (sample,) = workspace.ledger.samples(job.name)
    assert sample.template_id is not None


def test_without_a_model_images_are_chosen_within_the_budget(workspace: Workspace, job: Job, tmp_path: Path) -> None:
    for index in range(6):
        deliver(workspace, job, index)

    chosen = collect(workspace, job)["chosen"]

    assert chosen == len(workspace.ledger.selected(job.name))
    assert chosen == 6


def test_what_is_drawn_by_lot_says_how_good_the_model_is_that_predicted_it(
    workspace: Workspace, tmp_path: Path
) -> None:
    job = tiny_job(workspace)
    save_model(Tiny(job.classes), tmp_path / "tiny")
    workspace.registry.publish_model("tiny", tmp_path / "tiny", {"run_key": "1", "parent": None})
    decision = {"run_id": "1", "kind": "promote"}
    workspace.registry.promote("tiny", "v1", instead_of=None, actor="ada", reason="first", decision=decision)
    for number in range(12):
        workspace.store.put(f"{job.inbox}line/{number:02d}.png", encode_png(picture(number)))

    collected = collect(workspace, job)

    selected = workspace.ledger.selected("tiny")
    lots = [each for each in selected if each.miner == LOT]
    assert (collected["predicted"], collected["chosen"], collected["model_version"]) == (12, len(selected), "v1")
    assert len([each for each in lots if each.sample.split == "train"]) <= 1
    held_out = [sample for sample in workspace.ledger.samples("tiny") if sample.split == "holdout"]
    assert {each.sample.id for each in lots} >= {sample.id for sample in held_out}, "there are places for all of them"
    assert estimate(workspace, job) == {}
    whole = Box(0, 0, 64, 64, "open")
    for number, each in enumerate(lots):
        boxes = (whole,) if number else (whole, Box(4, 4, 9, 9, "short"))
        workspace.ledger.record_annotation("tiny", Annotation(each.sample.id, boxes, "ada", "2026-01-01T00:00:00Z"))
    drawn = workspace.ledger.drawn("tiny", "v1")
    assert {each.sample.id for each in drawn} == {each.sample.id for each in lots}
    estimates = estimate(workspace, job)
    assert (estimates["precision"].value, estimates["precision"].images) == (1.0, len(lots))
    assert estimates["recall"].value < 1.0


def test_a_frame_of_what_waits_is_not_asked_about_though_a_new_defect_is(workspace: Workspace) -> None:
    job = tiny_job(workspace)
    mining = job.hard_example_mining.model_copy(update={"random_share": 0.0})
    everyone = job.dataset.model_copy(update={"train_prob": 0.999})
    job = job.model_copy(update={"hard_example_mining": mining, "dataset": everyone})
    first = picture(1, size=128)
    for name, image in (("a", first), ("b", picture(2, size=128))):
        workspace.store.put(f"{job.inbox}line/{name}.png", encode_png(image))
    assert collect(workspace, job)["chosen"] == 2

    frame = np.pad(first, 2, mode="edge")[1:-3, 4:] // 2 * 2
    defect = first.copy()
    defect[60:80, 60:80] = 255 - defect[60:80, 60:80]
    for name, image in (("frame", frame), ("defect", defect)):
        workspace.store.put(f"{job.inbox}line/{name}.png", encode_png(image))
    collected = collect(workspace, job)

    assert (collected["chosen"], collected["near_duplicates"]) == (1, 1)
    assert workspace.ledger.state(job.name, sha256(encode_png(frame))) == "passed"
    assert workspace.ledger.state(job.name, sha256(encode_png(defect))) == "selected"
