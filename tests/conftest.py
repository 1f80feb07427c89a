"""Fixtures shared by all tests."""

from __future__ import annotations

from pathlib import Path

import pytest

DEEPPCB = Path(__file__).resolve().parent.parent.parent / "shared" / "datasets" / "deeppcb"


@pytest.fixture(scope="session")
def deeppcb() -> Path:
    """The folder of the real DeepPCB boards; skips where it is not beside the project."""
    if not (DEEPPCB / "PCBData" / "trainval.txt").exists():
        pytest.skip("the DeepPCB boards are not beside the project (../shared/datasets/deeppcb)")
    return DEEPPCB
