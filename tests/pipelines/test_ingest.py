"""Taking images in: kept once under their hash, split for ever, near-duplicates with their twin."""

from __future__ import annotations

import io
import random

import numpy as np
import pytest
from PIL import Image

from data.images import ImageRefused, difference_hash, encode_png
from data.sample import Sample, sha256
from data.split import stratum_size
from pipelines.ingest import Arrival, ingest, refuse, refuse_unread, refused_key
from pipelines.job import Job
from pipelines.workspace import Workspace, sample_key
from tests.pipelines.tiny import SIZE, picture

pytestmark = pytest.mark.slow


def arrive(
    workspace: Workspace, job: Job, content: bytes, domain: str = "line", template: bytes | None = None
) -> Sample:
    return ingest(workspace, job, Arrival(f"inbox/{sha256(content)[:8]}.png", content, domain, template))


def jpeg(image: np.ndarray, quality: int) -> bytes:
    file = io.BytesIO()
    Image.fromarray(image).save(file, "JPEG", quality=quality)
    return file.getvalue()


def from_a_fixed_camera(number: int) -> bytes:
    """The same board as ever under a little noise, with one small hole of its own."""
    image = picture(0, 256).astype(int) // 2 + 100
    image += np.random.default_rng(number).integers(-3, 4, image.shape)
    row, column = divmod(number, 16)
    image[8 + 12 * row : 16 + 12 * row, 8 + 12 * column : 16 + 12 * column] = 0
    return encode_png(image.clip(0, 255).astype(np.uint8))


def test_the_same_bytes_again_change_nothing(workspace: Workspace, job: Job) -> None:
    content, template = encode_png(picture(1)), encode_png(picture(2))
    first = arrive(workspace, job, content, template=template)
    objects = sorted(stored.key for stored in workspace.store.list(""))

    assert ingest(workspace, job, Arrival("elsewhere", content, "another line")) == first
    assert objects == sorted([sample_key(sha256(content)), sample_key(sha256(template))])
    assert sorted(stored.key for stored in workspace.store.list("")) == objects
    assert workspace.ledger.counts(job.name) == {"arrived": 1}


def test_a_template_of_another_size_is_refused_and_costs_nothing(workspace: Workspace, job: Job) -> None:
    with pytest.raises(ImageRefused, match=f"its template {2 * SIZE} x {2 * SIZE} px; both must be of one size"):
        arrive(workspace, job, encode_png(picture(1)), template=encode_png(picture(2, 2 * SIZE)))
    assert list(workspace.store.list("")) == []
    assert workspace.ledger.counts(job.name) == {}


def test_what_is_wrong_with_image_and_template_is_said_at_once(workspace: Workspace, job: Job) -> None:
    with pytest.raises(ImageRefused) as caught:
        arrive(workspace, job, b"no image", template=b"")
    assert len(caught.value.problems) == 2
    assert caught.value.problems[1].startswith("its template: it has zero bytes")


@pytest.mark.parametrize("seed", range(3))
def test_a_near_duplicate_is_on_the_side_of_its_twin_in_every_order(workspace: Workspace, job: Job, seed: int) -> None:
    pictures = [picture(number, 256) for number in range(4)]
    copies = [
        [
            encode_png(image),
            jpeg(image, 95),
            jpeg(image, 60),
            encode_png(np.roll(image, 1, axis=1)),
            encode_png((image.astype(int) * 95 // 100 + 6).astype(np.uint8)),
        ]
        for image in pictures
    ]
    arriving = [(number, content) for number, same in enumerate(copies) for content in same]
    random.Random(seed).shuffle(arriving)
    sides: dict[int, set[str]] = {}
    for number, content in arriving:
        sides.setdefault(number, set()).add(arrive(workspace, job, content).split)
    assert {len(each) for each in sides.values()} == {1}


@pytest.mark.parametrize("seed", range(3))
def test_a_fixed_camera_has_a_holdout_in_every_order(workspace: Workspace, job: Job, seed: int) -> None:
    """Its images look alike by their hash, and yet are of different boards."""
    contents = [from_a_fixed_camera(number) for number in range(3 * stratum_size(job.dataset.train_prob))]
    random.Random(seed).shuffle(contents)
    hashes = {difference_hash(np.asarray(Image.open(io.BytesIO(content)))) for content in contents}
    first = min(hashes)
    assert all((each ^ first).bit_count() <= 2 for each in hashes)

    sides = [arrive(workspace, job, content).split for content in contents]

    assert set(sides[: stratum_size(job.dataset.train_prob)]) == {"train", "holdout"}
    by_hash = [int(sha256(content)[:13], 16) / 16**13 < job.dataset.train_prob for content in contents]
    moved = [side for side, train in zip(sides, by_hash, strict=True) if (side == "train") is not train]
    assert len(moved) <= 1


def test_a_twin_whose_bytes_are_lost_still_decides(workspace: Workspace, job: Job) -> None:
    image = picture(3, 256)
    first = arrive(workspace, job, encode_png(image))
    workspace.store.delete(sample_key(first.id))
    assert arrive(workspace, job, jpeg(image, 90)).split == first.split


def test_what_is_refused_lies_aside_with_its_reasons(workspace: Workspace, job: Job) -> None:
    refuse(workspace, job, "inbox/a.png", b"bad", ["it is bad"])
    refuse(workspace, job, "inbox/a.png", b"bad", ["it is bad"])
    workspace.store.put("inbox/huge.png", b"huge")
    (huge,) = workspace.store.list("inbox/huge.png")
    refuse_unread(workspace, job, huge, ["it is huge"])

    by_bytes, by_place = workspace.ledger.refusals(job.name)
    assert (by_bytes.source, by_bytes.sha256, by_bytes.problems) == ("inbox/a.png", sha256(b"bad"), ("it is bad",))
    assert workspace.store.get(refused_key(job, by_bytes.sha256)) == b"bad"
    assert workspace.store.get(refused_key(job, by_place.sha256)) == b"huge"
    assert b"it is huge" in workspace.store.get(f"{refused_key(job, by_place.sha256)}.json")
