"""Export a trained detector to files that run without TensorFlow, and refuse to if they do not answer the same."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from data.sample import Example
from models.estimator import Estimator
from models.fpn.backend import quiet, tf
from models.fpn.decode import LEAST_SCORE, distances
from models.fpn.detector import FPN, spread
from models.fpn.grid import points, side_multiple
from models.fpn.prepared import pixels, stacked
from models.runtime import (
    DESCRIPTION,
    FLOAT_FILE,
    FORMAT,
    INT8_FILE,
    STEPS,
    Outputs,
    Runtime,
    import_openvino,
    installed,
    open_engine,
    precisions,
)

# The file of each format, and what Keras calls the format.
FORMATS = {
    "litert": (FLOAT_FILE, "litert"),
    "onnx": ("network.onnx", "onnx"),
    "openvino": ("network.xml", "openvino"),
    "saved_model": ("saved_model", "tf_saved_model"),
}
SCORE_TOLERANCE = 1e-3
PIXEL_TOLERANCE = 0.1
LARGEST_LOSS = 0.002
CALIBRATION_EXAMPLES = 32
CHECK_EXAMPLES = 200
COMPARED_EXAMPLES = 4


class ExportRefused(ValueError):
    """An estimator that cannot be exported, or whose export does not answer as it does; `problems` names everything."""

    def __init__(self, problems: list[str]):
        self.problems = problems
        listed = "\n".join(f"  - {problem}" for problem in problems)
        super().__init__(f"the model is not exported:\n{listed}")


@dataclass(frozen=True)
class ExportReport:
    """What was exported and how well it agrees with the estimator.

    `engines`: what each may use instead of float32, the fastest first. `ap`: the average precision on the check
    examples of the estimator and of each engine in each precision. `largest_differences`: of scores, and in pixels of
    box sides, between the estimator and each file in float32. `sentences`: what was decided and why.
    """

    engines: dict[str, list[str]]
    ap: dict[str, float | None] = field(default_factory=dict)
    check_images: int = 0
    largest_differences: dict[str, dict[str, float]] = field(default_factory=dict)
    sentences: list[str] = field(default_factory=list)


def export(
    estimator: Estimator,
    folder: Path,
    *,
    formats: Sequence[str] = ("litert",),
    calibration: Sequence[Example] = (),
    check: Sequence[Example] = (),
) -> ExportReport:
    """Write `estimator` to the new `folder`, which appears only when every file of it answers as the estimator does.

    With `calibration` examples (of training) and `check` examples (of the holdout), engines may compute in int8, and in
    bfloat16 where this processor can, if that loses at most 0.2 points of average precision on the check examples;
    otherwise they stay with float32. At most 32 and 200 of the examples are used, evenly spread.

    Args:
        formats: "litert" is always written, and is what `models.runtime` runs; "onnx", "openvino" and "saved_model" are
            for other programs, in float32.

    Raises:
        FileExistsError: the folder exists; an exported model is never overwritten.
        ExportRefused: the estimator cannot be exported, a format is unknown or needs a package that is missing, or
            some file does not answer as the estimator.
    """
    if folder.exists():
        raise FileExistsError(f"{folder} exists; an exported model is never overwritten, choose another folder")
    problems = [
        f"{name!r} is no format; known are {', '.join(FORMATS)}" for name in sorted(set(formats) - set(FORMATS))
    ]
    if "openvino" not in installed():
        problems.append("openvino, which what is written is checked with, is not installed; install it")
    if problems or not isinstance(estimator, FPN):
        foreign = f"it is a {type(estimator).__name__}; only FPN can be exported, others serve as they are saved"
        raise ExportRefused(problems or [foreign])
    unfinished = folder.with_name(f"{folder.name}.unfinished")
    shutil.rmtree(unfinished, ignore_errors=True)
    unfinished.mkdir(parents=True)
    try:
        report = _Export(estimator, unfinished).run(["litert", *formats], calibration, check)
    except BaseException:
        shutil.rmtree(unfinished, ignore_errors=True)
        raise
    unfinished.rename(folder)
    return report


class _Export:
    """One export under way."""

    def __init__(self, estimator: FPN, folder: Path):
        self.estimator = estimator
        self.folder = folder
        self.network = estimator.for_inference()

    def run(self, formats: Sequence[str], calibration: Sequence[Example], check: Sequence[Example]) -> ExportReport:
        for name in dict.fromkeys(formats):
            self._write(name)
        check = [check[index] for index in spread(len(check), CHECK_EXAMPLES)]
        differences = self._compare(list(dict.fromkeys(formats)), check)
        report = ExportReport(engines={}, check_images=len(check), largest_differences=differences)
        if check and calibration:
            chosen = [calibration[index] for index in spread(len(calibration), CALIBRATION_EXAMPLES)]
            self._write_int8(chosen)
        self._choose(report, check)
        if not any("int8" in held for held in report.engines.values()):
            (self.folder / INT8_FILE).unlink(missing_ok=True)
        self._describe(report)
        return report

    def _write(self, name: str) -> None:
        file, keras_format = FORMATS[name]
        try:
            if name == "openvino":
                _write_openvino(self.folder / FLOAT_FILE, self.folder / file)
            else:
                with quiet():
                    self.network.export(str(self.folder / file), format=keras_format, verbose=False)
        except ImportError as error:
            raise ExportRefused([f"{name} needs a package that is not installed: {error}"]) from error

    def _write_int8(self, examples: Sequence[Example]) -> None:
        """Post-training quantization, Jacob et al., arXiv 1712.05877: ranges are those seen on `examples`."""

        def batches() -> Iterator[list[np.ndarray]]:
            for example in examples:
                yield [stacked([pixels(example, self.estimator.input)], self.estimator.levels)]

        with quiet():
            self.network.export(
                str(self.folder / INT8_FILE),
                format="litert",
                verbose=False,
                optimizations=[tf.lite.Optimize.DEFAULT],
                representative_dataset=batches,
            )

    def _compare(self, formats: Sequence[str], check: Sequence[Example]) -> dict[str, dict[str, float]]:
        """Every float32 file against the estimator, on some examples, on noise and on a blank of other sizes."""
        estimator = self.estimator
        some = [check[index] for index in spread(len(check), COMPARED_EXAMPLES)]
        batches = [stacked([pixels(example, estimator.input)], estimator.levels) for example in some]
        unit, channels = side_multiple(estimator.levels), self.network.input_shape[-1]
        batches.append(np.random.default_rng(0).integers(0, 256, (1, 5 * unit, 3 * unit, channels), np.uint8))
        batches.append(np.full((1, 2 * unit, 7 * unit, channels), 255, np.uint8))
        expected = [estimator.outputs(batch) for batch in batches]
        differences, problems = {}, []
        for name, infer in self._readers(formats).items():
            found = [
                _difference(self._pixels(infer(batch), batch), outputs)
                for batch, outputs in zip(batches, expected, strict=True)
            ]
            score, side = (max(each) for each in zip(*found, strict=True))
            differences[name] = {"score": score, "pixels": side}
            if not (score <= SCORE_TOLERANCE and side <= PIXEL_TOLERANCE):
                problems.append(
                    f"{name} differs from the estimator by up to {score:.2g} in scores and {side:.2g} px in box sides; "
                    f"it may by {SCORE_TOLERANCE:g} and {PIXEL_TOLERANCE:g} px"
                )
        if problems:
            raise ExportRefused(problems)
        return differences

    def _pixels(self, outputs: Outputs, batch: np.ndarray) -> Outputs:
        """The outputs with distances in pixels."""
        strides = points(batch.shape[1], batch.shape[2], self.estimator.levels)[:, 2:]
        logits, raw = outputs
        return (logits, distances(raw, strides)) if raw.shape == (len(strides), 4) else outputs

    def _readers(self, formats: Sequence[str]) -> dict[str, Callable[[np.ndarray], Outputs]]:
        """What computes each written file, by the names of format and engine."""
        readers: dict[str, Callable[[np.ndarray], Outputs]] = {}
        for name in formats:
            path = self.folder / FORMATS[name][0]
            if name == "litert":
                readers |= {f"litert in {each}": self._open(each, path, "float32") for each in installed()}
            elif name == "saved_model":
                readers[name] = _saved_model(path)
            else:
                readers[f"{name} in openvino"] = self._open("openvino", path, "float32")
        return readers

    def _open(self, engine: str, path: Path, precision: str) -> Callable[[np.ndarray], Outputs]:
        opened = open_engine(engine, path, precision, threads=1)
        return lambda batch: opened.infer(batch, alone=True)

    def _choose(self, report: ExportReport, check: Sequence[Example]) -> None:
        """Allow each engine what is faster than float32 and loses no more than it may."""
        expected = self.estimator.evaluate(check).metrics["ap"] if check else None
        report.ap["estimator"] = expected
        for engine in installed():
            report.engines[engine] = []
            for precision in precisions(engine):
                path = self.folder / (INT8_FILE if precision == "int8" else FLOAT_FILE)
                if precision == "float32" or not path.exists():
                    continue
                opened = open_engine(engine, path, precision, threads=2)
                if expected is None:
                    report.sentences.append(f"{opened.name} is not used: no check example has a box to judge it by")
                    continue
                found = Runtime(self._description(), opened, threads=2).evaluate(check).metrics["ap"] or 0.0
                report.ap[opened.name] = found
                held = expected - found <= LARGEST_LOSS
                report.sentences.append(
                    f"{opened.name} has an AP of {found:.4f}, the estimator {expected:.4f}: "
                    + ("it may be used" if held else f"it loses more than {LARGEST_LOSS:g} and is not used")
                )
                if held:
                    report.engines[engine].append(precision)

    def _description(self) -> dict[str, Any]:
        estimator = self.estimator
        return {
            "format": FORMAT,
            "classes": list(estimator.classes),
            "input": estimator.input,
            "levels": estimator.levels,
            "threshold": estimator.threshold,
            "pixels": {
                "type": "uint8",
                "shape": [1, "height", "width", self.network.input_shape[-1]],
                "channels": ["image", "registered template"][: self.network.input_shape[-1]],
                "grey": "luma of ITU-R 601",
            },
            "side_multiple": side_multiple(estimator.levels),
            "steps": STEPS,
        }

    def _describe(self, report: ExportReport) -> None:
        files = sorted(path for path in self.folder.rglob("*") if path.is_file())
        description = {
            **self._description(),
            "files": {
                path.relative_to(self.folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
                for path in files
            },
            "engines": report.engines,
            "parity": {
                "ap": report.ap,
                "check_images": report.check_images,
                "largest_differences": report.largest_differences,
                "sentences": report.sentences,
            },
        }
        (self.folder / DESCRIPTION).write_text(json.dumps(description, indent=2, sort_keys=True) + "\n")


def _difference(found: Outputs, expected: Outputs) -> tuple[float, float]:
    """The largest difference of any score, and of any side in pixels at points that may become boxes."""
    scores = [1 / (1 + np.exp(-outputs[0].astype(np.float64))) for outputs in (found, expected)]
    if any(each.shape != other.shape for each, other in zip(found, expected, strict=True)):
        return np.inf, np.inf
    likely = scores[1].max(axis=1) >= LEAST_SCORE
    sides = np.abs(found[1][likely] - expected[1][likely])
    return float(np.abs(scores[0] - scores[1]).max()), float(sides.max(initial=0))


def _write_openvino(source: Path, target: Path) -> None:
    openvino = import_openvino()
    openvino.save_model(openvino.Core().read_model(source), target, compress_to_fp16=False)


def _saved_model(path: Path) -> Callable[[np.ndarray], Outputs]:
    loaded = tf.saved_model.load(str(path))

    def infer(batch: np.ndarray) -> Outputs:
        logits, raw = loaded.serve(tf.constant(batch))
        return logits.numpy()[0], raw.numpy()[0]

    return infer
