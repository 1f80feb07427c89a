"""The pictures of a turned loop: drawn whatever was decided, and never empty."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from data.ledger import Decision
from data.store import ObjectStore
from demo.report import draw_boards, draw_rounds
from pipelines import steps
from pipelines.history import Round
from pipelines.importing import import_labelled
from pipelines.workspace import Workspace
from tests.pipelines.tiny import labelled, tiny_job, without_servers


def turned(number: int, verdict: str, candidate: float | None, served: float | None, kind: Any = "promote") -> Round:
    metrics = {"candidate": {"ap": candidate}, "served": {"ap": served}} if kind == "promote" else {}
    decision = Decision(kind, f"run {number}", verdict, [], "ada", f"v{number + 1}", "v1", "d1", metrics)
    return Round(number, decision, seen=1, mined=1, labelled=1, quarantined=0, serving="v1")


def colours(path: Path) -> int:
    """How many different colours a picture has."""
    pixels = np.asarray(Image.open(path).convert("RGB")).reshape(-1, 3)
    return len(np.unique(pixels, axis=0))


@pytest.mark.parametrize(
    "rounds",
    [
        [turned(0, "promoted", 0.5, None)],
        [turned(0, "promoted", 0.5, None), turned(1, "rejected", 0.4, 0.5), turned(2, "undecided", 0.6, 0.5)],
        [turned(0, "promoted", 0.5, None), turned(1, "undecided", None, 0.5)],
        [turned(0, "promoted", 0.5, None), turned(1, "promoted", None, None, kind="rollback")],
    ],
    ids=["the first", "each verdict", "an undefined metric", "a rollback"],
)
def test_rounds_are_drawn_whatever_was_decided(rounds: Sequence[Round], tmp_path: Path) -> None:
    draw_rounds(rounds, tmp_path / "rounds.png")
    assert colours(tmp_path / "rounds.png") > 10


@pytest.mark.slow
def test_boards_before_and_after_are_drawn(
    object_store: ObjectStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = without_servers(tmp_path)
    workspace = Workspace(replace(settings, store_endpoint=object_store.endpoint, store_bucket=object_store.bucket))
    monkeypatch.setattr(steps, "deployment", lambda: workspace)
    job = tiny_job(workspace)
    for run_id, numbers, skill in (("first", range(8), 0.2), ("second", range(8, 16), 1.0)):
        import_labelled(workspace, job, labelled(numbers), "import")
        for step in ("curate", "train", "promote"):
            steps.run(step, job.name, run_id, {"parameters": {"skill": skill}})

    draw_boards(workspace, job, "v1", "v2", tmp_path / "boards.png")

    assert colours(tmp_path / "boards.png") > 100
