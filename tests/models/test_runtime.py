"""An exported model predicts as the estimator, without what trained it, and is refused when it is damaged."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from data.images import encode_png
from data.sample import Box, Example
from models.export import export
from models.fpn.detector import FPN
from models.runtime import DESCRIPTION, OWN_SHAPES, STEPS, Runtime, RuntimeRefused, load_runtime

CLASSES = ["hole", "spot"]
ROOT = Path(__file__).resolve().parents[2]
SCORE = 2e-3
WITHOUT_TENSORFLOW = """
import sys
sys.modules["tensorflow"] = sys.modules["keras"] = None  # importing them fails
from pathlib import Path
from data.images import decode
from data.sample import Example
from models.runtime import load_runtime
folder, image, template = map(Path, sys.argv[1:4])
example = Example("", decode(image.read_bytes()), decode(template.read_bytes()), (), "")
print([box.to_json() for box in load_runtime(folder, sys.argv[4]).predict([example])[0]])
assert not any(name.split(".")[0] == "openvino_telemetry" for name, module in sys.modules.items() if module)
"""
FIRST_USE_BY_MANY = """
import sys, threading
sys.setswitchinterval(1e-6)
from models.runtime import import_openvino
openvino = import_openvino()
together = threading.Barrier(8)
def use():
    together.wait()
    openvino.Type.u8.to_dtype()
threads = [threading.Thread(target=use) for _ in range(8)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
"""


@pytest.fixture(scope="module")
def model(boards) -> FPN:
    """A model that knows the boards."""
    trained = FPN(CLASSES)
    trained.train(boards(0, 16), steps=80, batch_size=4, crop=128)
    return trained


@pytest.fixture(scope="module")
def folder(model, tmp_path_factory) -> Path:
    """The model, exported in float32."""
    target: Path = tmp_path_factory.mktemp("models") / "runtime"
    export(model, target)
    return target


@pytest.fixture(scope="module", params=["openvino", "litert"])
def runtime(folder, request) -> Runtime:
    return load_runtime(folder, request.param)


@pytest.fixture
def described(tmp_path: Path) -> Path:
    """A folder with a description and one file that is no network."""
    (tmp_path / "network.tflite").write_bytes(b"no network")
    description = {
        "format": 1,
        "classes": CLASSES,
        "input": "pair",
        "levels": 1,
        "threshold": 0.5,
        "side_multiple": 16,
        "steps": STEPS,
        "files": {"network.tflite": "0" * 64},
        "engines": {},
    }
    (tmp_path / DESCRIPTION).write_text(json.dumps(description))
    return tmp_path


def assert_same(found: list[tuple[Box, ...]], expected: list[tuple[Box, ...]]) -> None:
    """Box for box: labels, scores within 0.002, corners within half a pixel; but for boxes at the least score."""
    assert len(found) == len(expected)
    for ours, theirs in zip(found, expected, strict=True):
        for boxes, others in ((ours, theirs), (theirs, ours)):
            for box in boxes:
                assert box.score is not None
                assert box.score < 0.05 + SCORE or any(
                    box.label == other.label
                    and abs(box.score - (other.score or 0)) < SCORE
                    and max(abs(getattr(box, side) - getattr(other, side)) for side in ("x1", "y1", "x2", "y2")) < 0.5
                    for other in others
                )


@pytest.mark.slow
def test_it_predicts_as_the_estimator(runtime, model, boards):
    examples = boards(100, 8)
    expected = model.predict(examples)
    assert sum(len(boxes) for boxes in expected) > 20
    assert_same(runtime.predict(examples), expected)
    assert_same(runtime.predict(examples[:1]), expected[:1])
    assert (runtime.threshold, runtime.classes) == (model.threshold, model.classes)


@pytest.mark.slow
def test_images_of_any_size_are_answered(runtime, model, boards):
    random = np.random.default_rng(0)
    board = boards(100, 1, 224)[0]
    sides = [(100, 130), (33, 47), (224, 224), (129, 64), (96, 160), (1, 40)]
    assert len(sides) > OWN_SHAPES
    cut = [replace(board, image=board.image[:h, :w], template=board.template[:h, :w]) for h, w in sides]
    noise = Example("noise", random.integers(0, 256, (90, 70), np.uint8), np.zeros((90, 70), np.uint8), (), "")
    for example in [*cut, noise]:
        expected = model.predict([example])
        assert_same(runtime.predict([example]), expected)
        assert_same(runtime.predict([example, example]), expected * 2)


@pytest.mark.slow
def test_it_evaluates_as_the_estimator(runtime, model, boards):
    examples = boards(100, 6)
    label = CLASSES[0]
    only = [replace(each, boxes=tuple(box for box in each.boxes if box.label == label)) for each in examples[:3]]
    examples[:3] = [replace(each, classes=frozenset({label})) for each in only]
    ours, theirs = runtime.evaluate(examples), model.evaluate(examples)
    assert ours.metrics == pytest.approx(theirs.metrics, abs=1e-3)
    assert ours.support == theirs.support
    assert ours.per_image.keys() == theirs.per_image.keys()


@pytest.mark.slow
def test_real_boards_are_answered_as_by_the_estimator(runtime, model, deeppcb):
    from benchmarks.boards import real

    examples = real(deeppcb, 400)
    assert_same(runtime.predict(examples), model.predict(examples))


@pytest.mark.slow
def test_nothing_is_nothing(runtime):
    assert runtime.predict([]) == []


@pytest.mark.slow
def test_what_cannot_be_predicted_is_refused_in_words(runtime, boards):
    example = boards(0, 1)[0]
    for bad, message in (
        (replace(example, template=None), "it has no template"),
        (replace(example, template=example.template[1:]), "they must be the same"),
        (replace(example, image=example.image[..., None]), "must be grey uint8"),
    ):
        for examples in ([bad], [example, bad, example]):
            with pytest.raises(ValueError, match=message):
                runtime.predict(examples)
    assert runtime.predict([example])


@pytest.mark.slow
def test_a_stream_reads_only_a_little_ahead_and_keeps_the_order(runtime, boards):
    examples = boards(100, 4)
    expected = [runtime.predict([example])[0] for example in examples]
    taken = 0

    def endless() -> Iterator[int]:
        nonlocal taken
        while True:
            taken += 1
            yield taken - 1

    stream = runtime.stream(endless(), lambda number: examples[number % 4])
    for number in range(20):
        assert_same([next(stream)], [expected[number % 4]])
    assert taken <= 20 + 2 * runtime.threads + 1
    stream.close()


@pytest.mark.slow
def test_threads_do_not_disturb_each_other(runtime, boards):
    examples = boards(100, 6)
    expected = [runtime.predict([example])[0] for example in examples]
    problems: list[BaseException] = []

    def ask(position: int) -> None:
        try:
            for turn in range(6):
                index = (position + turn) % 6
                assert_same(runtime.predict([examples[index]]), [expected[index]])
        except BaseException as error:
            problems.append(error)

    threads = [threading.Thread(target=ask, args=(position,)) for position in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert problems == []


@pytest.mark.slow
@pytest.mark.parametrize("engine", ["openvino", "litert"])
def test_it_runs_where_tensorflow_cannot_be_imported(engine, folder, model, boards, tmp_path):
    example = boards(100, 1)[0]
    files = [tmp_path / "image.png", tmp_path / "template.png"]
    for file, picture in zip(files, (example.image, example.template), strict=True):
        file.write_bytes(encode_png(picture))
    command = [sys.executable, "-c", WITHOUT_TENSORFLOW, str(folder), *map(str, files), engine]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    found = tuple(Box.from_json(record) for record in json.loads(done.stdout.replace("'", '"')))
    assert_same([found], model.predict([example]))


@pytest.mark.slow
@pytest.mark.parametrize("name", ["network.tflite", "runtime.json"])
def test_a_damaged_file_is_refused(name, folder, tmp_path):
    for file in folder.iterdir():
        content = bytearray(file.read_bytes())
        if file.name == name:
            content[len(content) // 2 :] = bytes(len(content) - len(content) // 2)
        (tmp_path / file.name).write_bytes(content)
    with pytest.raises(RuntimeRefused, match=rf"{name}.*(fetch|export)"):
        load_runtime(tmp_path)


def test_another_file_than_was_exported_is_refused(described):
    with pytest.raises(RuntimeRefused, match=r"network\.tflite is not the file that was exported"):
        load_runtime(described)


def test_a_missing_file_is_refused(described):
    (described / "network.tflite").unlink()
    with pytest.raises(RuntimeRefused, match=r"network\.tflite is missing; export the model again"):
        load_runtime(described)


def test_a_folder_without_a_description_is_refused(tmp_path):
    with pytest.raises(RuntimeRefused, match=r"has no runtime\.json; export the model"):
        load_runtime(tmp_path)


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"format": 1', '{"format": 1, "classes": []}'])
def test_a_description_that_is_none_is_refused(described, text):
    (described / DESCRIPTION).write_text(text)
    with pytest.raises(RuntimeRefused, match=r"runtime\.json"):
        load_runtime(described)


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("format", 9, "its format is 9, here it is 1"),
        ("side_multiple", 64, "its side_multiple is 64, here it is 16"),
        ("steps", {**STEPS, "registration_reach": 2}, "its steps is .*'registration_reach': 2"),
    ],
)
def test_a_model_of_another_version_is_refused(described, key, value, message):
    description = json.loads((described / DESCRIPTION).read_text())
    (described / DESCRIPTION).write_text(json.dumps({**description, key: value}))
    with pytest.raises(RuntimeRefused, match=rf"another version: {message}.*export the model again"):
        load_runtime(described)


def test_an_unknown_engine_is_refused(described):
    with pytest.raises(RuntimeRefused, match="'tensorrt' is no engine; choose openvino or litert"):
        load_runtime(described, "tensorrt")


def test_threads_that_begin_at_once_do_not_wait_for_each_other_for_ever():
    # Not joined with a timeout: threads that wait so keep the interpreter's lock.
    subprocess.run([sys.executable, "-c", FIRST_USE_BY_MANY], cwd=ROOT, timeout=60, check=True)
