"""`python -m services` as a person types it: before anything was started, and with what it does not know."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from pipelines.settings import ROOT

Type = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def typed(tmp_path: Path) -> Type:
    """Runs `python -m services` with these words, its home in tmp_path/home, `[ratchet]` of airflow.cfg as given."""

    def run(*words: str, section: str = "") -> subprocess.CompletedProcess[str]:
        (tmp_path / "airflow.cfg").write_text(f"[ratchet]\nhome = {tmp_path / 'home'}\n{section}")
        mine = {name: value for name, value in os.environ.items() if not name.startswith(("AIRFLOW_", "RATCHET_"))}
        command = [sys.executable, "-m", "services", *words]
        environment = {**mine, "AIRFLOW_HOME": str(tmp_path)}
        return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)

    return run


@pytest.mark.parametrize("word", ["status", "down", "clean"])
def test_before_anything_was_started_it_says_so_and_makes_nothing(typed: Type, tmp_path: Path, word: str) -> None:
    done = typed(word)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == (
        f"nothing was ever started here: {tmp_path / 'home'} holds no deployment; `make up` starts one\n"
    )
    assert not (tmp_path / "home").exists()


def test_clean_leaves_a_folder_that_is_no_deployment(typed: Type, tmp_path: Path) -> None:
    (tmp_path / "home").mkdir()
    (tmp_path / "home" / "thesis.tex").write_text("three years")
    assert "nothing was ever started here" in typed("clean").stdout
    assert (tmp_path / "home" / "thesis.tex").exists()


def test_clean_forgets_a_deployment(typed: Type, tmp_path: Path) -> None:
    (tmp_path / "home" / "run").mkdir(parents=True)
    assert typed("clean").stdout == f"{tmp_path / 'home'} is gone\n"
    assert not (tmp_path / "home").exists()


def test_an_unknown_command_is_refused_in_words(typed: Type) -> None:
    done = typed("start")
    assert done.returncode == 2
    assert "No such command 'start'" in done.stderr
    assert "Traceback" not in done.stderr


def test_an_unknown_setting_is_one_clear_message(typed: Type, tmp_path: Path) -> None:
    done = typed("up", section="colour = red\n")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith(f"Ratchet: [ratchet] colour in {tmp_path / 'airflow.cfg'} is not a setting;")
    assert "Traceback" not in done.stderr
