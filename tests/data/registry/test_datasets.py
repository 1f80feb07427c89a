"""Dataset versions on a real store: what they say, that they never change, and that a checkout has their bytes."""

from __future__ import annotations

import hashlib
import os
import random
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from data.images import decode
from data.registry import DatasetRefused, RegistryDamaged, UnknownVersion
from tests.data.registry.trial import Trial

pytestmark = pytest.mark.slow


def test_first_version_has_every_sample_with_its_label_and_pixels(trial: Trial) -> None:
    pairs = trial.labelled(range(10))
    version = trial.publish(range(10))
    assert (version.version, version.parent, version.train_count, version.holdout_count) == ("d1", None, 8, 2)
    dataset = trial.registry.dataset("pcb")
    rows = {row.sample.id: row for row in dataset.rows()}
    for sample, annotation in pairs:
        assert rows[sample.id].sample == sample
        assert rows[sample.id].annotation.id == annotation.id
        assert rows[sample.id].annotation.reference == annotation.reference
    examples = dataset.examples("train")
    assert [example.sample_id for example in examples] == sorted(
        sample.id for sample, _ in pairs if sample.split == "train"
    )
    for example in examples:
        row = rows[example.sample_id]
        np.testing.assert_array_equal(example.image, decode(trial.contents[example.sample_id]))
        assert row.sample.template_id is not None
        np.testing.assert_array_equal(example.template, decode(trial.contents[row.sample.template_id]))
        assert example.boxes == row.annotation.boxes
    assert len(dataset.examples("holdout")) == 2
    assert trial.registry.check("pcb") == []


def test_next_version_adds_relabels_and_removes_and_the_first_stays_as_it_was(trial: Trial) -> None:
    first = trial.publish(range(10))
    before = {row.sample.id: row for row in trial.registry.dataset("pcb", "d1").rows()}
    trial.asked.clear()
    relabelled, added, gone = range(1, 3), range(10, 14), trial.labelled([7])[0][0].id
    pairs = trial.labelled(relabelled, label="spur") + trial.labelled(added)
    second = trial.registry.publish_dataset("pcb", pairs, [gone], read_bytes=trial.read_bytes, checks={})
    assert second.parts[0] == first.parts[0]
    assert (second.parent, second.train_count, second.holdout_count) == ("d1", 10, 3)
    stored_before = {sample.id for sample, _ in trial.labelled(range(10))} | {
        sample.template_id for sample, _ in trial.labelled(range(10))
    }
    assert trial.asked
    assert not stored_before & set(trial.asked)
    assert len(trial.asked) == len(set(trial.asked))
    dataset = trial.registry.dataset("pcb")
    rows = {row.sample.id: row for row in dataset.rows()}
    assert rows.keys() == (before.keys() | {sample.id for sample, _ in trial.labelled(added)}) - {gone}
    for sample, _ in trial.labelled(relabelled):
        assert rows[sample.id].annotation.boxes[0].label == "spur"
        assert rows[sample.id].shard == 1
    assert dataset.added == {sample.id for sample, _ in pairs}
    assert dataset.changed_since("d2") == frozenset()
    assert {row.sample.id: row for row in trial.registry.dataset("pcb", "d1").rows()} == before
    assert len(list(dataset.examples("train"))) == 10
    assert trial.registry.check("pcb") == []


def test_same_content_is_the_same_version(trial: Trial) -> None:
    first = trial.publish(range(10))
    assert trial.publish(range(10)) == first
    assert trial.publish(range(3, 5)) == first
    assert trial.publish([], ["0" * 64]) == first
    gone = trial.labelled([4])[0][0].id
    second = trial.publish([], [gone])
    assert second.version == "d2"
    assert second.parts[1].shard is None
    assert trial.publish([], [gone]) == second
    back = trial.publish([4])
    assert (back.version, back.parts[2].shard, back.train_count) == ("d3", None, first.train_count)
    assert [version.version for version in trial.registry.datasets("pcb")] == ["d1", "d2", "d3"]
    assert trial.registry.check("pcb") == []


def test_same_rows_are_the_same_bytes_in_any_order_and_place(trials: Callable[[], Trial]) -> None:
    one, other = trials(), trials()
    pairs = one.labelled(range(20))
    one.registry.publish_dataset("pcb", pairs, read_bytes=one.read_bytes, checks={})
    random.Random(1).shuffle(pairs)
    other.contents = one.contents
    other.registry.publish_dataset("pcb", pairs, read_bytes=other.read_bytes, checks={})
    assert one.state() == other.state()


def test_checking_out_a_tag_reproduces_the_hashes(trial: Trial, tmp_path: Path) -> None:
    trial.publish(range(6))
    trial.publish(range(6, 9))
    elsewhere = tmp_path / "elsewhere"
    environment = {
        **os.environ,
        "AWS_ACCESS_KEY_ID": trial.store.access_key,
        "AWS_SECRET_ACCESS_KEY": trial.store.secret_key,
    }
    subprocess.run(["git", "clone", "-q", trial.url, str(elsewhere)], check=True)
    for version in trial.registry.datasets("pcb"):
        subprocess.run(["git", "checkout", "-q", f"pcb-data@v{version.number}.0.0"], cwd=elsewhere, check=True)
        subprocess.run([sys.executable, "-m", "dvc", "pull", "-q"], cwd=elsewhere, env=environment, check=True)
        files = sorted((elsewhere / "data" / "pcb").glob("*.tar")) + sorted(elsewhere.glob("data/pcb/*.parquet"))
        found = {file.name: hashlib.sha256(file.read_bytes()).hexdigest() for file in files}
        said = {f"{part.number}.parquet": part.manifest.sha256 for part in version.parts}
        said |= {f"{part.number}.tar": part.shard.sha256 for part in version.parts if part.shard}
        assert found == said


def test_a_fresh_clone_fetches_only_what_it_reads(trial: Trial) -> None:
    trial.publish(range(6))
    trial.publish(range(6, 12))
    dataset = trial.clone("elsewhere").dataset("pcb")
    cache = trial.folder / "elsewhere" / ".dvc/cache/files/md5"

    def cached() -> int:
        return sum(file.is_file() for file in cache.rglob("*"))

    assert cached() == 0
    assert len(list(dataset.rows("train"))) == 9
    assert cached() == 2
    place = next(place for place, row in enumerate(dataset.rows("train")) if row.shard == row.template_shard)
    assert dataset.examples("train")[place].image.shape == (32, 40)
    assert cached() == 3


@pytest.mark.parametrize("problem", ["twice", "added and removed", "of another sample", "moved", "bytes", "nothing"])
def test_refused_samples_leave_everything_as_it_was(trial: Trial, problem: str) -> None:
    if problem != "nothing":
        trial.publish(range(5))
    before = trial.state()
    [(sample, annotation), (other, _)] = trial.labelled([1, 7])
    pairs, removed, said = {
        "twice": ([(sample, annotation)] * 2, [], "is given 2 times"),
        "added and removed": ([(sample, annotation)], [sample.id], "both added and removed"),
        "of another sample": ([(other, annotation)], [], f"is of sample {sample.id}"),
        "moved": ([(replace(sample, split="holdout"), annotation)], [], "is train since d1; a split is for ever"),
        "bytes": (trial.labelled([9]), [], "have the hash"),
        "nothing": ([], [], "no labelled sample"),
    }[problem]
    with pytest.raises(DatasetRefused, match=said):
        trial.registry.publish_dataset("pcb", pairs, removed, read_bytes=lambda _: b"damaged", checks={})
    assert trial.state() == before
    assert trial.registry.check("pcb") == []


def test_unknown_version_says_what_there_is(trial: Trial) -> None:
    with pytest.raises(UnknownVersion, match="pcb has no dataset version yet"):
        trial.registry.dataset("pcb")
    trial.publish(range(5))
    with pytest.raises(UnknownVersion, match=r"no dataset version d7; it has d1"):
        trial.registry.dataset("pcb", "d7")


def test_damaged_bytes_are_never_read_as_data(trial: Trial) -> None:
    version = trial.publish(range(5))
    assert version.parts[0].shard is not None
    key = version.parts[0].shard.key
    trial.store.put(key, b"something else")
    dataset = trial.clone("elsewhere").dataset("pcb")
    with pytest.raises(RegistryDamaged, match="has the SHA-256"):
        dataset.examples("train")[0]
    trial.store.delete(key)
    with pytest.raises(RegistryDamaged, match="push it again"):
        dataset.examples("train")[0]
