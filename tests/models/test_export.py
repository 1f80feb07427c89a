"""What is exported answers as the estimator does, or is not exported."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from data.sample import Example
from models import export as exporting
from models.estimator import create
from models.export import ExportRefused, ExportReport, export
from models.fpn.backend import tf
from models.fpn.decode import distances
from models.fpn.detector import FPN
from models.fpn.grid import points
from models.runtime import import_openvino, load_runtime

CLASSES = ["hole", "spot"]


def fresh(**parameters: Any) -> FPN:
    """A model with random weights that sees something everywhere."""
    model = FPN(**{"classes": CLASSES, **parameters})
    model._predictor = model._new_predictor(0)
    for layer in model._predictor.network.layers:
        if layer.name.startswith("conv") and layer.use_bias:
            layer.bias.assign(np.random.default_rng(0).normal(0, 1, layer.bias.shape))
    return model


@dataclass
class Exported:
    model: FPN
    folder: Path
    report: ExportReport


@pytest.fixture(scope="module")
def exported(boards, tmp_path_factory) -> Exported:
    """A trained model, exported in every format, with int8."""
    model = FPN(CLASSES)
    model.train(boards(0, 16), steps=80, batch_size=4, crop=128)
    folder = tmp_path_factory.mktemp("models") / "runtime"
    formats = ["onnx", "openvino", "saved_model"]
    report = export(model, folder, formats=formats, calibration=boards(0, 8), check=boards(100, 24))
    return Exported(model, folder, report)


@pytest.mark.slow
def test_every_file_answers_as_the_estimator(exported):
    differences = exported.report.largest_differences
    assert differences.keys() == {
        "litert in litert",
        "litert in openvino",
        "onnx in openvino",
        "openvino in openvino",
        "saved_model",
    }
    assert all(each["score"] < 1e-4 and each["pixels"] < 1e-2 for each in differences.values())


@pytest.mark.slow
def test_what_is_faster_is_used_only_if_it_is_as_good(exported):
    report = exported.report
    assert report.check_images == 24
    expected = report.ap["estimator"]
    assert expected is not None
    assert expected > 0.8
    names = {"openvino": "OpenVINO", "litert": "LiteRT"}
    for engine, held in report.engines.items():
        for precision in ("int8", "bfloat16"):
            found = report.ap.get(f"{names[engine]} in {precision}")
            assert (precision in held) == (found is not None and found >= expected - 0.002)
    assert len(report.sentences) == len(report.ap) - 1


@pytest.mark.slow
def test_the_description_names_every_file_by_its_hash(exported):
    description = json.loads((exported.folder / "runtime.json").read_text())
    written = {path.relative_to(exported.folder).as_posix() for path in exported.folder.rglob("*") if path.is_file()}
    assert set(description["files"]) == written - {"runtime.json"}
    for name, digest in description["files"].items():
        assert hashlib.sha256((exported.folder / name).read_bytes()).hexdigest() == digest
    assert description["classes"] == CLASSES
    assert description["threshold"] == exported.model.threshold
    assert description["engines"] == exported.report.engines
    assert description["parity"]["ap"] == exported.report.ap


@pytest.mark.slow
def test_other_programs_can_run_what_is_written_for_them(exported, boards):
    from models.fpn.prepared import pixels

    batch = pixels(boards(200, 1)[0], "pair")[None]
    strides = points(128, 128, 1)[:, 2:]
    logits, sides = exported.model.outputs(batch)
    for name in ("network.onnx", "network.xml", "network.tflite"):
        network = import_openvino().Core().compile_model(exported.folder / name, "CPU")
        found = {output.shape[-1]: output[0] for output in map(np.asarray, network([batch]).values())}
        assert found[2] == pytest.approx(logits, abs=0.2)
        assert distances(found[4], strides) == pytest.approx(sides, rel=0.1)
    saved = tf.saved_model.load(str(exported.folder / "saved_model"))
    again = saved.serve(tf.constant(batch))
    assert again[0].numpy()[0] == pytest.approx(logits, abs=1e-3)


@pytest.mark.slow
def test_precisions_that_lose_too_much_are_not_used(exported, boards, tmp_path, monkeypatch):
    monkeypatch.setattr(exporting, "LARGEST_LOSS", -1.0)
    report = export(exported.model, tmp_path / "runtime", calibration=boards(0, 2), check=boards(100, 2))
    assert report.engines == {"openvino": [], "litert": []}
    assert all("loses more than" in sentence and "is not used" in sentence for sentence in report.sentences)
    assert not (tmp_path / "runtime" / "network-int8.tflite").exists()
    assert load_runtime(tmp_path / "runtime").engine.name == "OpenVINO in float32"


@pytest.mark.slow
@pytest.mark.parametrize(
    "parameters", [{"input": "image"}, {"levels": 2, "classes": list("abcd")}, {"levels": 3, "input": "image"}]
)
def test_every_kind_of_model_is_exported(parameters, boards, tmp_path):
    model = fresh(**parameters)
    report = export(model, tmp_path / "runtime")
    assert report.engines == {"openvino": [], "litert": []}
    example = boards(0, 1, 160)[0]
    found = load_runtime(tmp_path / "runtime").predict([example])[0]
    expected = model.predict([example])[0]
    assert expected
    assert [box.label for box in found] == [box.label for box in expected]
    assert [box.score for box in found] == pytest.approx([box.score for box in expected], abs=1e-3)


@pytest.mark.slow
def test_a_network_that_answers_otherwise_is_not_exported(tmp_path, monkeypatch):
    model, other = fresh(), fresh()
    for layer in other._loaded().network.layers:
        if layer.name.startswith("conv") and layer.use_bias:
            layer.bias.assign_add(np.full(layer.bias.shape, 0.2))
    monkeypatch.setattr(model, "for_inference", other.for_inference)
    with pytest.raises(
        ExportRefused, match=r"(?s)litert in openvino differs from the estimator by up to .* scores"
    ) as it:
        export(model, tmp_path / "runtime")
    assert len(it.value.problems) == 2
    assert list(tmp_path.iterdir()) == []


def test_an_export_is_never_overwritten(tmp_path):
    with pytest.raises(FileExistsError, match="never overwritten"):
        export(fresh(), tmp_path)


def test_unknown_formats_are_refused(tmp_path):
    with pytest.raises(ExportRefused, match=r"'caffe' is no format; known are litert, onnx, openvino, saved_model"):
        export(fresh(), tmp_path / "runtime", formats=["caffe"])
    assert list(tmp_path.iterdir()) == []


def test_only_an_fpn_is_exported(tmp_path):
    class Other:
        pass

    with pytest.raises(ExportRefused, match="it is a Other; only FPN can be exported"):
        export(Other(), tmp_path / "runtime")  # type: ignore[arg-type]


def test_without_weights_nothing_is_exported(tmp_path):
    with pytest.raises(RuntimeError, match="train it or load"):
        export(create("FPN", classes=CLASSES), tmp_path / "runtime")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_an_example_that_the_model_cannot_take_stops_the_export(boards, tmp_path):
    blind = Example("blind", boards(0, 1)[0].image, None, (), "bars")
    with pytest.raises(ValueError, match="it has no template"):
        export(fresh(), tmp_path / "runtime", calibration=[blind], check=[blind])
    assert list(tmp_path.iterdir()) == []
