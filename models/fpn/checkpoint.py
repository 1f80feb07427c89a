"""The state of an unfinished training in one file, replaced whole so that a kill leaves the old or the new one."""

from __future__ import annotations

import json
import os
import zipfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

FILE = "checkpoint.npz"


@dataclass
class Checkpoint:
    """`fingerprint` tells which training it belongs to; `progress` is JSON-able; the rest are lists of arrays."""

    fingerprint: str
    progress: dict[str, Any]
    network: list[np.ndarray]
    optimizer: list[np.ndarray]
    best: list[np.ndarray] = field(default_factory=list)


def write_checkpoint(folder: Path, checkpoint: Checkpoint) -> None:
    """Replace the checkpoint in `folder`, which is made if it is missing."""
    folder.mkdir(parents=True, exist_ok=True)
    unfinished = folder / f"{FILE}.unfinished"
    description = json.dumps({"fingerprint": checkpoint.fingerprint, "progress": checkpoint.progress})
    arrays = {
        f"{part}/{index}": array
        for part in ("network", "optimizer", "best")
        for index, array in enumerate(getattr(checkpoint, part))
    }
    with unfinished.open("wb") as file:
        np.savez(file, allow_pickle=False, description=np.array(description), **arrays)
        file.flush()
        os.fsync(file.fileno())
    unfinished.replace(folder / FILE)


def read_checkpoint(folder: Path, fingerprint: str) -> Checkpoint | None:
    """The checkpoint in `folder` if it belongs to the training with that `fingerprint`; none if there is none."""
    try:
        with (folder / FILE).open("rb") as file, np.load(file, allow_pickle=False) as arrays:
            description = json.loads(str(arrays["description"]))
            parts: dict[str, list[np.ndarray]] = {
                part: [arrays[f"{part}/{index}"] for index in range(_count(arrays.files, part))]
                for part in ("network", "optimizer", "best")
            }
    except (FileNotFoundError, EOFError, zipfile.BadZipFile, KeyError, ValueError):
        return None
    if description["fingerprint"] != fingerprint:
        return None
    return Checkpoint(fingerprint, description["progress"], **parts)


def _count(names: list[str], part: str) -> int:
    return sum(name.startswith(f"{part}/") for name in names)
