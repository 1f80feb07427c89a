"""Saved models: complete or absent, and refused when they are not what they say."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from data.sample import Box, Example
from models.estimator import ClassFactory, ClassType, TrainingReport
from models.metrics import EvaluationReport
from models.runtime import STEPS
from models.version import RUNTIME, ModelRefused, describe_model, load_model, load_predictor, save_model

ROOT = Path(__file__).resolve().parents[2]


class Memory:
    """An estimator that knows one word."""

    threshold = 0.25

    def __init__(self, word: str = ""):
        self.parameters: dict[str, Any] = {"word": word}
        self.learnt = ""

    def train(
        self,
        train_data: Sequence[Example],
        valid_data: Sequence[Example] | None = None,
        *,
        checkpoint_dir: Path | None = None,
        seed: int = 0,
        **recipe: Any,
    ) -> TrainingReport:
        raise NotImplementedError

    def predict(self, examples: Sequence[Example]) -> list[tuple[Box, ...]]:
        raise NotImplementedError

    def evaluate(self, data: Sequence[Example]) -> EvaluationReport:
        raise NotImplementedError

    def save(self, folder: Path) -> None:
        (folder / "word.txt").write_text(self.learnt)

    def load(self, folder: Path) -> None:
        self.learnt = (folder / "word.txt").read_text()


@pytest.fixture(autouse=True)
def _registered(monkeypatch):
    monkeypatch.setattr(ClassFactory, "registry", dict(ClassFactory.registry))
    ClassFactory.register(ClassType.GENERAL, alias="memory")(Memory)


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    memory = Memory("parameter")
    memory.learnt = "weights"
    save_model(memory, tmp_path / "model")
    return tmp_path / "model"


def test_a_saved_model_is_loaded_as_it_was(saved):
    loaded = load_model(saved)
    assert isinstance(loaded, Memory)
    assert (loaded.parameters, loaded.learnt) == ({"word": "parameter"}, "weights")
    assert describe_model(saved)["threshold"] == 0.25
    assert [path.name for path in saved.parent.iterdir()] == ["model"]


def test_a_saved_model_is_never_overwritten(saved):
    with pytest.raises(FileExistsError, match="never overwritten"):
        save_model(Memory(), saved)


def test_a_save_that_fails_leaves_no_model(tmp_path):
    class Failing(Memory):
        def save(self, folder: Path) -> None:
            super().save(folder)
            raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"):
        save_model(Failing(), tmp_path / "model")
    assert not (tmp_path / "model").exists()
    save_model(Memory(), tmp_path / "model")
    load_model(tmp_path / "model")


def test_a_foreign_folder_is_refused(tmp_path):
    with pytest.raises(ModelRefused, match=r"has no model\.json"):
        load_model(tmp_path)


def test_every_damaged_file_is_named(saved):
    description = json.loads((saved / "model.json").read_text())
    description["files"]["gone.txt"] = "0" * 64
    (saved / "model.json").write_text(json.dumps(description))
    (saved / "word.txt").write_text("other")
    with pytest.raises(ModelRefused, match=r"word\.txt is not the file that was saved.*gone\.txt is missing"):
        load_model(saved)


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"format": 1'])
def test_a_damaged_description_is_refused(saved, text):
    (saved / "model.json").write_text(text)
    with pytest.raises(ModelRefused, match=r"model\.json"):
        load_model(saved)


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("format", 99, "format 99"),
        ("estimator", "unheard", "'unheard'"),
        ("parameters", {"colour": "red"}, "refuses its parameters"),
    ],
)
def test_a_model_of_another_kind_is_refused(saved, key, value, message):
    description = json.loads((saved / "model.json").read_text())
    (saved / "model.json").write_text(json.dumps({**description, key: value}))
    with pytest.raises(ModelRefused, match=message):
        load_model(saved)


def test_where_nothing_was_exported_the_estimator_predicts(saved):
    assert isinstance(load_predictor(saved), Memory)


def test_what_another_version_exported_is_not_used(saved, caplog):
    steps = {**STEPS, "registration_reach": 99}
    description = {"format": 1, "classes": ["a"], "input": "pair", "levels": 1, "threshold": 0.5, "side_multiple": 16}
    (saved / RUNTIME).mkdir()
    (saved / RUNTIME / "runtime.json").write_text(
        json.dumps({**description, "steps": steps, "files": {}, "engines": {}})
    )
    assert isinstance(load_predictor(saved), Memory)
    assert "was exported by another version" in caplog.text


def test_a_damaged_export_is_refused(saved):
    (saved / RUNTIME).mkdir()
    with pytest.raises(ModelRefused, match=r"runtime is no exported model: it has no runtime\.json"):
        load_predictor(saved)


def test_an_export_does_not_hide_a_damaged_model(saved):
    (saved / RUNTIME).mkdir()
    (saved / "word.txt").write_text("other")
    with pytest.raises(ModelRefused, match=r"word\.txt is not the file that was saved"):
        load_predictor(saved)


@pytest.mark.slow
def test_what_was_exported_predicts_without_tensorflow(tmp_path):
    from models.export import export
    from models.fpn.detector import FPN

    model = FPN(["hole", "spot"])
    model._predictor = model._new_predictor(0)
    save_model(model, tmp_path / "model")
    export(model, tmp_path / "model" / RUNTIME)
    check = """
import sys
from pathlib import Path
from models.version import load_predictor
print(type(load_predictor(Path(sys.argv[1]))).__name__, "tensorflow" in sys.modules)
"""
    command = [sys.executable, "-c", check, str(tmp_path / "model")]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["Runtime", "False"]
    assert isinstance(load_model(tmp_path / "model"), FPN)
