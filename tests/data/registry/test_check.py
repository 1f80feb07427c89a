"""The check finds what was done to a registry behind its back."""

from __future__ import annotations

import json

import pytest

from data.registry.git import git
from tests.data.registry.trial import Trial

pytestmark = pytest.mark.slow


@pytest.fixture
def whole(trial: Trial) -> Trial:
    """A registry of two dataset versions, two models and a promotion in which nothing is wrong."""
    first = trial.publish(range(6))
    second = trial.publish(range(6, 9))
    for run_key, parent, version in (("one", None, first), ("two", "v1", second)):
        metadata = {
            "run_key": run_key,
            "parent": parent,
            "dataset_version": version.version,
            "dataset_hash": version.hash,
        }
        trial.registry.publish_model("pcb", trial.model(run_key), metadata)
    trial.registry.promote("pcb", "v1", instead_of=None, actor="a person", reason="first", decision={"run_id": "a"})
    assert trial.registry.check("pcb") == []
    return trial


def test_missing_and_changed_bytes(whole: Trial) -> None:
    shard = whole.registry.dataset_version("pcb").parts[0].shard
    assert shard is not None
    whole.store.delete(shard.key)
    whole.store.put(whole.registry.model("pcb", "v2").key, b"other bytes")
    problems = whole.registry.check("pcb")
    assert len(problems) == 2
    assert any(shard.key in problem and "there is no object" in problem for problem in problems)
    assert any("has the SHA-256" in problem for problem in problems)


def test_bytes_that_no_version_names(whole: Trial) -> None:
    whole.publish(range(3), label="spur")
    whole.registry.publish_dataset("other", whole.labelled([1]), read_bytes=whole.read_bytes, checks={})
    assert whole.registry.check("pcb") == []
    whole.store.put("dvc/files/md5/ab/cdef", b"left over")
    assert whole.registry.check("pcb") == [
        "no version names the object dvc/files/md5/ab/cdef (9 bytes); it can be deleted"
    ]


def test_promotions_that_name_what_does_not_exist(whole: Trial) -> None:
    clone = whole.folder / "registry"
    [commit] = git(clone, "rev-parse", "refs/tags/pcb@v2.0.0^{commit}").decode().split()
    for number, version, run in ((3, "v7", "b"), (4, "v1", "b")):
        said = {"job": "pcb", "number": number, "version": version, "at": "2026-01-01T00:00:00+00:00"}
        message = json.dumps({**said, "actor": "", "reason": "", "decision": {"run_id": run}})
        tag = f"pcb#production#{number}"
        git(clone, "tag", "--annotate", "--message", message, tag, commit)
        git(clone, "push", "--quiet", "origin", tag)
    assert whole.registry.check("pcb") == [
        "promotion numbers are [1, 3, 4], not 1 to 3",
        "the run b promoted 2 times",
        "promotion 3 is of v7, which does not exist",
        "promotion 4 says v1, but its tag is on another commit",
    ]


def test_models_that_name_what_does_not_exist(whole: Trial) -> None:
    metadata = {"run_key": "three", "parent": "v9", "dataset_version": "d9"}
    whole.registry.publish_model("pcb", whole.model("three"), metadata)
    metadata = {"run_key": "four", "parent": "v1", "dataset_version": "d1", "dataset_hash": "0" * 64}
    whole.registry.publish_model("pcb", whole.model("four"), metadata)
    assert whole.registry.check("pcb") == [
        "model v3 started from v9, which does not exist before it",
        "model v3 was trained on d9, which does not exist",
        "model v4 was trained on d1 with another hash than it has",
    ]


def test_a_version_that_is_not_what_it_says(whole: Trial) -> None:
    clone = whole.folder / "registry"
    git(clone, "checkout", "--quiet", "--detach", "origin/main")
    path = clone / "data/pcb/dataset.json"
    record = json.loads(path.read_text())
    path.write_text(json.dumps({**record, "version": "d3", "parent": "d2", "train_count": 100}))
    git(clone, "commit", "--quiet", "--all", "--message", "by hand")
    git(clone, "tag", "--annotate", "--message", "by hand", "pcb-data@v3.0.0")
    git(clone, "push", "--quiet", "origin", "HEAD:refs/heads/main", "pcb-data@v3.0.0")
    problems = whole.registry.check("pcb")
    assert "dataset d3 does not continue d2" in problems
    assert "dataset d3 says 100 train and 2 holdout samples, but has 7 and 2" in problems
    path.write_text(json.dumps({**record, "hash": "0" * 64}))
    git(clone, "commit", "--quiet", "--all", "--message", "by hand")
    git(clone, "tag", "--annotate", "--message", "by hand", "pcb-data@v4.0.0")
    git(clone, "push", "--quiet", "origin", "HEAD:refs/heads/main", "pcb-data@v4.0.0")
    [problem] = whole.registry.check("pcb")
    assert "the tag pcb-data@v4.0.0 says that its hash is 0000" in problem
