r"""How many pairs of JPEGs a second become boxes, how soon one pair does, and what that costs in average precision.

Goal: 120 pairs a second on two cores, from the bytes of image and template to boxes (decoding, registration, network,
suppression), and at most 0.2 points of AP lost against the Keras model, by what `load_runtime` takes by default.

A detector is trained for 500 steps on 160 drawn boards (300 CPU seconds; kept under .cache), exported in every format,
and each way to run it gets the same pairs as bytes: three rounds over 80 of them, one way after the other so that a
busy minute meets all, of which the quickest counts; then 60 pairs one at a time; then all held-out pairs for AP and F.
Drawn boards become JPEGs of quality 95. With `--data`, it learns four fifths of DeepPCB's trainval boards and is judged
on the others.

CPU seconds are those of the process; 2 s of them are what two cores have in a second, so what the machine does besides
shows in the wall clock and not in them. Takes about six minutes on two quiet cores the first time, three later.
`--short` takes two: it learns and measures on few boards, and keeps its figures under .cache alone.

Command to run:

    .venv/bin/python -m benchmarks.inference
"""

from __future__ import annotations

import io
import json
import logging
import os
import platform
import shlex
import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer
from PIL import Image
from rich.console import Console
from rich.table import Table

from benchmarks.boards import listed
from benchmarks.goals import Goal, keep
from data.boards import FAMILIES, LABELS, draw_board
from data.formats import FormatRefused
from data.images import decode
from data.sample import Box, Example
from models.metrics import evaluate
from models.runtime import FLOAT_FILE, INT8_FILE, Outputs, Runtime, load_runtime, open_engine, precisions
from models.version import load_model, save_model
from pipelines.settings import ROOT
from pipelines.train import code_version

CACHE = ROOT / ".cache" / "benchmarks" / "inference"
GOAL_PAIRS = 120.0
GOAL_LOSS = 0.002
CORES = 2
QUALITY = 95
ROUNDS = 3
ROUND_PAIRS = 80
LATENCY_PAIRS = 60
KERAS = "Keras"
DEFAULT = "by default"


@dataclass(frozen=True)
class Size:
    """How many boards of each family are drawn to teach and to judge, of real ones every how many-th, and the steps."""

    teach: int
    judge: int
    every: int
    steps: int


FULL = Size(teach=20, judge=30, every=1, steps=500)
SHORT = Size(teach=4, judge=2, every=20, steps=60)


@dataclass(frozen=True)
class Pair:
    """A board as it arrives: the bytes of its image and template; and what is on it."""

    name: str
    image: bytes
    template: bytes
    boxes: tuple[Box, ...]
    domain: str


@dataclass(frozen=True)
class Way:
    """A way to get boxes: of many pairs, as quickly as it can, and of one."""

    many: Callable[[Sequence[Pair]], list[tuple[Box, ...]]]
    one: Callable[[Pair], tuple[Box, ...]]


@dataclass
class Row:
    """What one way reached; seconds are for a round of pairs, milliseconds for one pair."""

    wall_seconds: list[float] = field(default_factory=list)
    cpu_seconds: list[float] = field(default_factory=list)
    milliseconds: list[float] = field(default_factory=list)
    ap: float = 0.0
    f1: float = 0.0


def example(pair: Pair) -> Example:
    """The decoded pair."""
    return Example(pair.name, decode(pair.image), decode(pair.template), pair.boxes, pair.domain)


def drawn(first: int, count: int) -> list[Pair]:
    """Boards `first` to `first + count` of every family."""
    boards = (
        (name, draw_board(family, index)) for name, family in FAMILIES.items() for index in range(first, first + count)
    )
    return [Pair(board.name, _jpeg(board.image), _jpeg(board.template), board.boxes, name) for name, board in boards]


def real(folder: Path) -> list[Pair]:
    """The boards of DeepPCB's trainval list that have a template.

    Raises:
        FileNotFoundError: the list is not there; the message says where to get the boards.
        FormatRefused: some board, template or annotation of the list cannot be read.
    """
    pairs = []
    for board in listed(folder):
        template = board.read_template()
        if template is not None:
            pairs.append(Pair(board.place, board.read(), template, board.boxes, board.domain))
    return pairs


def trained(name: str, pairs: Sequence[Pair], steps: int) -> Any:
    """The detector that learnt `pairs`, from .cache if it is there."""
    from models.fpn.detector import FPN

    folder = CACHE / f"{name}-{len(pairs)}-{steps}"
    if not folder.exists():
        model = FPN(LABELS)
        model.train([example(pair) for pair in pairs], seed=0, steps=steps, crop=320, batch_size=16)
        save_model(model, folder)
    return load_model(folder)


def ways(model: Any, folder: Path, threads: int) -> dict[str, Way]:
    """Every way to run the model and what is exported of it to `folder`, the Keras model first."""
    description = json.loads((folder / "runtime.json").read_text())
    found = {
        KERAS: Way(lambda pairs: model.predict([example(pair) for pair in pairs]), lambda pair: _first(model, pair))
    }
    found["SavedModel in TensorFlow, float32"] = _way(
        Runtime(description, _SavedModel(folder / "saved_model"), threads)
    )
    files = [("LiteRT in LiteRT", "litert", each) for each in precisions("litert")]
    files += [("LiteRT in OpenVINO", "openvino", each) for each in precisions("openvino")]
    for title, engine, precision in files:
        path = folder / (INT8_FILE if precision == "int8" else FLOAT_FILE)
        if path.exists():
            opened = open_engine(engine, path, precision, threads)
            found[f"{title}, {precision}"] = _way(Runtime(description, opened, threads))
    for title, name in (("ONNX", "network.onnx"), ("OpenVINO IR", "network.xml")):
        opened = open_engine("openvino", folder / name, "float32", threads)
        found[f"{title} in OpenVINO, float32"] = _way(Runtime(description, opened, threads))
    found[DEFAULT] = _way(load_runtime(folder, threads=threads))
    return found


def measure(found: dict[str, Way], pairs: Sequence[Pair], threshold: float) -> dict[str, Row]:
    """The speed of each way on some of `pairs`, and its AP and F on all."""
    some = pairs[:: max(1, len(pairs) // ROUND_PAIRS)][:ROUND_PAIRS]
    rows = {name: Row() for name in found}
    for way in found.values():
        way.many(some[:8])
        way.one(some[0])
    for _ in range(ROUNDS):
        for name, way in found.items():
            wall, cpu = time.perf_counter(), time.process_time()
            way.many(some)
            rows[name].wall_seconds.append(time.perf_counter() - wall)
            rows[name].cpu_seconds.append(time.process_time() - cpu)
    for index in range(LATENCY_PAIRS):
        for name, way in found.items():
            began = time.perf_counter()
            way.one(some[index % len(some)])
            rows[name].milliseconds.append(1000 * (time.perf_counter() - began))
    truth = {pair.name: pair.boxes for pair in pairs}
    domains = {pair.name: pair.domain for pair in pairs}
    for name, way in found.items():
        predicted = dict(zip(truth, way.many(pairs), strict=True))
        metrics = evaluate(truth, predicted, domains, LABELS, threshold).metrics
        rows[name].ap, rows[name].f1 = metrics["ap"] or 0.0, metrics["f1"] or 0.0
    return rows


def figures(rows: dict[str, Row], pairs: int) -> dict[str, dict[str, float]]:
    """What is shown and kept of each way; `pairs` were in a round."""
    return {
        name: {
            "pairs_per_second": round(pairs / min(row.wall_seconds), 1),
            "cpu_ms_per_pair": round(1000 * min(row.cpu_seconds) / pairs, 2),
            "pairs_per_two_cpu_seconds": round(CORES * pairs / min(row.cpu_seconds), 1),
            "latency_median_ms": round(statistics.median(row.milliseconds), 2),
            "latency_p95_ms": round(float(np.percentile(row.milliseconds, 95)), 2),
            "ap": round(row.ap, 4),
            "ap_lost": round(rows[KERAS].ap - row.ap, 4) + 0.0,
            "f1": round(row.f1, 4),
        }
        for name, row in rows.items()
    }


def table(reached: dict[str, dict[str, float]], load: Sequence[float]) -> Table:
    """One line for each way."""
    titles = ("pairs/s", "CPU ms", "pairs/2 CPU s", "median ms", "p95 ms", "AP", "AP lost", "F")
    shown = Table("", *titles, caption=f"load {load[0]:.1f} before and {load[1]:.1f} after, on {os.cpu_count()} cores")
    for name, values in reached.items():
        shown.add_row(name, *(f"{value:g}" for value in values.values()))
    return shown


def verdict(reached: dict[str, dict[str, float]], default: str, load: Sequence[float]) -> str:
    """Goal and what was reached, in sentences."""
    values = reached[DEFAULT]
    busy = (
        f"The machine was busy with other things (load {max(load):.1f} on {os.cpu_count()} cores). "
        if max(load) > (os.cpu_count() or 1) + 1
        else ""
    )
    return (
        f"Goal: {GOAL_PAIRS:g} pairs/s on {CORES} cores, at most {100 * GOAL_LOSS:g} points of AP lost. "
        f"Reached by {default}: {values['pairs_per_second']:g} pairs/s by the wall clock, "
        f"{values['cpu_ms_per_pair']:g} CPU ms a pair, which is {values['pairs_per_two_cpu_seconds']:g} pairs for the "
        f"2 CPU seconds that two cores have in a second; {100 * values['ap_lost']:g} points of AP lost. {busy}".strip()
    )


def goals(record: Mapping[str, Any]) -> list[Goal]:
    """Speed and loss of what is taken by default."""
    values = record["ways"][DEFAULT]
    speed, loss = values["pairs_per_second"], values["ap_lost"]
    return [
        Goal(
            f"Pairs of JPEGs to boxes on {CORES} cores",
            f"at least {GOAL_PAIRS:g} pairs/s",
            f"{speed:g} pairs/s ({record['default']}, load {max(record['load']):g})",
            speed >= GOAL_PAIRS,
        ),
        Goal(
            f"AP lost against the {KERAS} model",
            f"at most {100 * GOAL_LOSS:g} points",
            f"{100 * loss:.2f} points",
            loss <= GOAL_LOSS,
        ),
    ]


def run(
    data: Annotated[Path | None, typer.Option(help="A clone of DeepPCB, to measure on real boards.")] = None,
    steps: Annotated[int | None, typer.Option(help="Of training; 500, or 60 if it is short.")] = None,
    short: Annotated[bool, typer.Option("--short", help="Two minutes; kept under .cache alone.")] = False,
) -> None:
    """Measure every way to run a detector, and keep the result."""
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    size = SHORT if short else FULL
    taught = size.steps if steps is None else steps
    try:
        every = real(data)[:: size.every] if data else []
    except (FileNotFoundError, FormatRefused) as error:
        sys.exit(str(error))
    held_out = every[::5] if data else drawn(100, size.judge)
    teaching = [pair for index, pair in enumerate(every) if index % 5] if data else drawn(0, size.teach)
    kind = "real" if data else "drawn"
    model = trained(kind, teaching, taught)

    from models.export import export

    folder = Path(tempfile.mkdtemp(prefix="ratchet-inference-"))
    try:
        wall, cpu = time.perf_counter(), time.process_time()
        calibration, check = [example(pair) for pair in teaching[::5]], [example(pair) for pair in held_out]
        formats = ("onnx", "openvino", "saved_model")
        report = export(model, folder / "runtime", formats=formats, calibration=calibration, check=check)
        exporting = {
            "wall_seconds": round(time.perf_counter() - wall),
            "cpu_seconds": round(time.process_time() - cpu),
        }
        default = load_runtime(folder / "runtime").engine.name
        before = os.getloadavg()[0]
        found = ways(model, folder / "runtime", CORES)
        rows = measure(found, held_out, model.threshold)
    finally:
        shutil.rmtree(folder)
    load = (before, os.getloadavg()[0])
    reached = figures(rows, min(ROUND_PAIRS, len(held_out)))
    command = [".venv/bin/python", "-m", "benchmarks.inference", *(["--data", str(data)] if data else [])]
    command += ["--short"] if short else []
    command += ["--steps", str(steps)] if steps is not None else []
    said = verdict(reached, default, load)
    Console(width=140).print(table(reached, load))
    Console().print(f"{said}\nCommand: {shlex.join(command)}")
    record = {
        "command": shlex.join(command),
        "goal": {"pairs_per_second": GOAL_PAIRS, "ap_lost": GOAL_LOSS},
        "said": said,
        "default": default,
        "boards": {"kind": kind, "learnt": len(teaching), "held_out": len(held_out), "steps": taught},
        "export": {**exporting, "largest_differences": report.largest_differences, "sentences": report.sentences},
        "load": [round(each, 1) for each in load],
        "cores": os.cpu_count(),
        "processor": _processor(),
        "code_version": code_version(),
        "ways": reached,
    }
    keep("inference_deeppcb" if data else "inference", record, short=short)


class _SavedModel:
    """A SavedModel in TensorFlow."""

    name = "TensorFlow in float32"

    def __init__(self, folder: Path):
        from models.fpn.backend import tf

        self._tf = tf
        self._model = tf.saved_model.load(str(folder))

    def infer(self, batch: np.ndarray, *, alone: bool) -> Outputs:  # noqa: ARG002
        logits, raw = self._model.serve(self._tf.constant(batch))
        return logits.numpy()[0], raw.numpy()[0]


def _way(runtime: Runtime) -> Way:
    return Way(lambda pairs: list(runtime.stream(pairs, example)), lambda pair: _first(runtime, pair))


def _first(model: Any, pair: Pair) -> tuple[Box, ...]:
    boxes: tuple[Box, ...] = model.predict([example(pair)])[0]
    return boxes


def _jpeg(image: np.ndarray) -> bytes:
    file = io.BytesIO()
    Image.fromarray(image).save(file, format="JPEG", quality=QUALITY)
    return file.getvalue()


def _processor() -> str:
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    names = {key.strip(): value.strip() for key, _, value in (line.partition(":") for line in lines)}
    flags = sorted(set(names.get("flags", "").split()) & {"avx2", "avx512_vnni", "avx_vnni", "amx_int8", "amx_bf16"})
    return f"{names.get('model name', platform.machine())}, {' '.join(flags)}"


if __name__ == "__main__":
    typer.run(run)
