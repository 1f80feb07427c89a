"""A deployment, opened: its jobs, what serves, and stored models fetched once whoever asks."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from models.version import save_model
from pipelines.job import UnknownJob
from pipelines.workspace import Workspace
from tests.pipelines.tiny import Tiny


def test_an_unknown_job_is_refused_with_those_there_are(offline: Workspace) -> None:
    with pytest.raises(UnknownJob, match=r"^there is no job 'bords'; the jobs are boards$"):
        offline.job("bords")
    (offline.settings.jobs / "boards.yaml").unlink()
    with pytest.raises(UnknownJob, match=f"add a file bords.yaml to {offline.settings.jobs}"):
        offline.job("bords")


@pytest.mark.slow
def test_several_that_want_a_model_at_once_get_it_whole(workspace: Workspace, tmp_path: Path) -> None:
    save_model(Tiny(["open"], skill=0.25), tmp_path / "model")
    workspace.registry.publish_model("boards", tmp_path / "model", {"run_key": "1"})
    others = [Workspace(workspace.settings) for _ in range(6)]

    with ThreadPoolExecutor(len(others)) as pool:
        folders = set(pool.map(lambda other: other.model_folder("boards", "v1"), others))

    (folder,) = folders
    assert list(folder.parent.iterdir()) == [folder]
    estimator = workspace.estimator("boards", "v1")
    assert isinstance(estimator, Tiny)
    assert estimator.skill == 0.25
