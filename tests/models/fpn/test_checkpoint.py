"""A checkpoint is read whole or not at all."""

from __future__ import annotations

import numpy as np
import pytest

from models.fpn.checkpoint import FILE, Checkpoint, read_checkpoint, write_checkpoint


@pytest.fixture
def checkpoint() -> Checkpoint:
    arrays = [np.full(3, index, np.float32) for index in range(12)]
    return Checkpoint("print", {"step": 7}, arrays, arrays[:2], [])


def test_what_is_written_is_read(tmp_path, checkpoint):
    write_checkpoint(tmp_path / "new", checkpoint)
    read = read_checkpoint(tmp_path / "new", "print")
    assert read is not None
    assert read.progress == {"step": 7}
    assert np.array_equal(read.network, checkpoint.network)
    assert np.array_equal(read.optimizer, checkpoint.optimizer)
    assert read.best == []


def test_another_trainings_checkpoint_is_not_read(tmp_path, checkpoint):
    write_checkpoint(tmp_path, checkpoint)
    assert read_checkpoint(tmp_path, "other") is None


def test_no_checkpoint_is_none(tmp_path):
    assert read_checkpoint(tmp_path / "missing", "print") is None


@pytest.mark.parametrize("length", [0, 10, 1000])
def test_a_cut_checkpoint_is_none(tmp_path, checkpoint, length):
    write_checkpoint(tmp_path, checkpoint)
    (tmp_path / FILE).write_bytes((tmp_path / FILE).read_bytes()[:length])
    assert read_checkpoint(tmp_path, "print") is None


def test_a_write_that_is_killed_leaves_the_old_one(tmp_path, checkpoint, monkeypatch):
    write_checkpoint(tmp_path, checkpoint)

    def killed(*_args, **_arrays):
        raise KeyboardInterrupt

    monkeypatch.setattr(np, "savez", killed)
    checkpoint.progress = {"step": 8}
    with pytest.raises(KeyboardInterrupt):
        write_checkpoint(tmp_path, checkpoint)
    kept = read_checkpoint(tmp_path, "print")
    assert kept is not None
    assert kept.progress == {"step": 7}
