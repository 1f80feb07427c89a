"""A trained detector without what trained it: exported files, run by OpenVINO or LiteRT, no TensorFlow, no Keras."""

from __future__ import annotations

import hashlib
import importlib.util
import json
import os
import sys
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

import numpy as np

from data.sample import Box, Example
from models.fpn.decode import CANDIDATES, LEAST_SCORE, MOST_BOXES, SUPPRESSING_OVERLAP, boxes_of, distances
from models.fpn.grid import points, side_multiple
from models.fpn.prepared import Input, pixels, stacked
from models.fpn.registration import REACH, STRETCH

if TYPE_CHECKING:
    from models.metrics import EvaluationReport

FORMAT = 1
DESCRIPTION = "runtime.json"
FLOAT_FILE = "network.tflite"
INT8_FILE = "network-int8.tflite"
# What the steps around the network are; another version of them would not answer as the model was judged.
STEPS = {
    "registration_reach": REACH,
    "registration_stretch": STRETCH,
    "padding": "edge",
    "least_score": LEAST_SCORE,
    "candidates": CANDIDATES,
    "suppressing_overlap": SUPPRESSING_OVERLAP,
    "overlap_penalty": "linear",
    "most_boxes": MOST_BOXES,
}
OWN_SHAPES = 4
Outputs = tuple[np.ndarray, np.ndarray]
Source = TypeVar("Source")


class RuntimeRefused(ValueError):
    """A folder that is not an exported model that can run here; the message says why and what to do."""


class RuntimeOutdated(RuntimeRefused):
    """It was exported by another version of the steps around the network."""


class Engine(Protocol):
    """What runs the network; safe to share between threads. `name` says which and in what precision it computes."""

    name: str

    def infer(self, batch: np.ndarray, *, alone: bool) -> Outputs:
        """Logits [points, classes] and raw distances [points, 4] of one image, uint8 [1, height, width, channels].

        `alone`: it may take every thread; else several run side by side, one thread each.
        """
        ...


class Runtime:
    """An exported model that predicts as the estimator it was made from; safe to share between threads."""

    def __init__(self, description: dict[str, Any], engine: Engine, threads: int):
        self.classes: tuple[str, ...] = tuple(description["classes"])
        self.input: Input = description["input"]
        self.levels: int = description["levels"]
        self.threshold: float = description["threshold"]
        self.parameters = {"classes": list(self.classes), "input": self.input, "levels": self.levels}
        self.threads = threads
        self.engine = engine

    def predict(self, examples: Sequence[Example]) -> list[tuple[Box, ...]]:
        """The boxes found in each image, best first, with scores from 0.05; those from `threshold` count as found.

        Raises:
            ValueError: an image is not grey uint8, or has no template of its shape where one is needed.
        """
        if len(examples) == 1:
            return [self._boxes(examples[0], alone=True)]
        return list(self.stream(range(len(examples)), examples.__getitem__))

    def stream(self, sources: Iterable[Source], read: Callable[[Source], Example]) -> Iterator[tuple[Box, ...]]:
        """The boxes of each source in turn; `read` makes it an example, on the threads that also compute.

        Few are read ahead, so that the sources may be without end. Raises what `read` and `predict` raise.
        """

        def boxes(source: Source) -> tuple[Box, ...]:
            return self._boxes(read(source), alone=False)

        waiting: deque[Future[tuple[Box, ...]]] = deque()
        # One thread more than cores: while one waits for the network or for Python's lock, another has its core.
        with ThreadPoolExecutor(self.threads + 1, "predict") as pool:
            for source in sources:
                waiting.append(pool.submit(boxes, source))
                if len(waiting) > 2 * self.threads:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()

    def evaluate(self, data: Sequence[Example]) -> EvaluationReport:
        """Compare the predictions for `data` with its boxes."""
        from models.metrics import evaluate

        known: dict[int, Example] = {}

        def read(index: int) -> Example:
            example = data[index]
            known[index] = replace(example, image=np.zeros((0, 0), np.uint8), template=None)
            return example

        found = dict(enumerate(self.stream(range(len(data)), read)))
        return evaluate(
            {known[index].sample_id: known[index].boxes for index in found},
            {known[index].sample_id: boxes for index, boxes in found.items()},
            {known[index].sample_id: known[index].domain for index in found},
            self.classes,
            self.threshold,
            {known[index].sample_id: known[index].classes for index in found},
        )

    def _boxes(self, example: Example, *, alone: bool) -> tuple[Box, ...]:
        batch = stacked([pixels(example, self.input)], self.levels)
        logits, raw = self.engine.infer(batch, alone=alone)
        grid = _grid(batch.shape[1], batch.shape[2], self.levels)
        return boxes_of(logits, distances(raw, grid[:, 2:]), grid[:, :2], self.classes, example.image.shape[:2])


def load_runtime(folder: Path, engine: str | None = None, threads: int | None = None) -> Runtime:
    """The exported model in `folder`, in the fastest precision that its export found to be as good as the estimator.

    `engine` is "openvino" or "litert", by default the first of them that is installed; `threads` is by default the
    number of cores this process may use.

    Raises:
        RuntimeRefused: the folder is no exported model, is damaged, or was made by another version; or there is no
            such engine here.
    """
    description = read_description(folder)
    engine = engine or next(iter(installed()), None)
    if engine not in installed():
        raise RuntimeRefused(
            f"the engine {engine!r} is not here; install {' or '.join(PACKAGES.values())}"
            if engine is None or engine in PACKAGES
            else f"{engine!r} is no engine; choose {' or '.join(PACKAGES)}"
        )
    held = description["engines"].get(engine, [])
    precision = next((each for each in held if each in precisions(engine)), "float32")
    path = folder / (INT8_FILE if precision == "int8" else FLOAT_FILE)
    if not path.is_file():
        raise RuntimeRefused(f"{folder} is damaged: {path.name} is missing; export the model again")
    if hashlib.sha256(path.read_bytes()).hexdigest() != description["files"].get(path.name):
        raise RuntimeRefused(f"{folder} is damaged: {path.name} is not the file that was exported; fetch it again")
    threads = threads or len(os.sched_getaffinity(0))
    return Runtime(description, open_engine(engine, path, precision, threads), threads)


def read_description(folder: Path) -> dict[str, Any]:
    """What `runtime.json` of an exported model says.

    Raises:
        RuntimeRefused: it is not there or cannot be read.
        RuntimeOutdated: it belongs to another version of the steps around the network.
    """
    path = folder / DESCRIPTION
    try:
        description = json.loads(path.read_text())
    except FileNotFoundError:
        raise RuntimeRefused(f"{folder} is no exported model: it has no {DESCRIPTION}; export the model") from None
    except (OSError, ValueError) as error:
        raise RuntimeRefused(f"{path} cannot be read: {error}; fetch or export the model again") from None
    keys = {"format", "classes", "input", "levels", "threshold", "side_multiple", "steps", "files", "engines"}
    if not isinstance(description, dict) or not keys <= description.keys():
        raise RuntimeRefused(f"{path} does not describe an exported model; it must have {', '.join(sorted(keys))}")
    expected = {"format": FORMAT, "steps": STEPS, "side_multiple": side_multiple(description["levels"])}
    if other := [
        f"its {name} is {description[name]}, here it is {value}"
        for name, value in expected.items()
        if description[name] != value
    ]:
        raise RuntimeOutdated(f"{folder} was exported by another version: {'; '.join(other)}; export the model again")
    return description


def installed() -> list[str]:
    """The engines that are installed, the fastest first."""
    return [name for name, package in PACKAGES.items() if importlib.util.find_spec(package.replace("-", "_"))]


def precisions(engine: str) -> list[str]:
    """In what an engine can compute here, the fastest first; OpenVINO without instructions for bfloat16 does not."""
    if engine != "openvino":
        return ["int8", "float32"]
    core = import_openvino().Core()
    bfloat16 = "BF16" in core.get_property(_device(core), "OPTIMIZATION_CAPABILITIES")
    return ["int8", "bfloat16", "float32"] if bfloat16 else ["int8", "float32"]


def open_engine(engine: str, path: Path, precision: str, threads: int) -> Engine:
    """The network in a file, ready to compute."""
    return OpenVino(path, precision, threads) if engine == "openvino" else LiteRT(path, precision, threads)


def import_openvino() -> Any:
    """OpenVINO, ready for threads, without the package that would tell its makers of every import."""
    sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]
    import openvino

    # It lists NumPy's types at their first use; of two threads that begin this at once, each waits for the other.
    openvino.Type.u8.to_dtype()
    return openvino


class OpenVino:
    """A network file in OpenVINO, on an Intel GPU if there is one, else on the CPU."""

    def __init__(self, path: Path, precision: str, threads: int):
        self._core = import_openvino().Core()
        self._network = _with_fine_outputs(self._core.read_model(path))
        # By name, since readers order them differently: logits, then raw distances.
        self._outputs = sorted(range(2), key=lambda index: self._network.outputs[index].any_name)
        self._device = _device(self._core)
        self._settings: dict[str, Any] = {"INFERENCE_PRECISION_HINT": "bf16" if precision == "bfloat16" else "f32"}
        self.name = f"OpenVINO in {precision}"
        self._threads = threads
        self._lock = threading.Lock()
        self._compiled: dict[tuple[tuple[int, ...], bool], _Pool] = {}

    def infer(self, batch: np.ndarray, *, alone: bool) -> Outputs:
        with self._requests(batch.shape, alone).one() as request:
            found = request.infer([batch], share_inputs=True)
            logits, raw = (found[index][0] for index in self._outputs)
            return logits, raw

    def _requests(self, shape: tuple[int, ...], alone: bool) -> _Pool:
        """The infer requests for one shape. A shape that is known is twice as fast; beyond the first few share one."""
        with self._lock:
            known = {each for each, _ in self._compiled}
            if shape not in known and len(known) >= OWN_SHAPES:
                shape = ()
            if (shape, alone) not in self._compiled:
                self._compiled[shape, alone] = _Pool(self._compile(shape, alone).create_infer_request)
            return self._compiled[shape, alone]

    def _compile(self, shape: tuple[int, ...], alone: bool) -> Any:
        network = self._network.clone()
        if shape:
            network.reshape(list(shape))
        settings = dict(self._settings)
        if self._device == "CPU":
            # Not pinned: other processes may use the same cores.
            settings |= {"INFERENCE_NUM_THREADS": self._threads, "ENABLE_CPU_PINNING": False}
            settings["NUM_STREAMS"] = 1 if alone else self._threads
        return self._core.compile_model(network, self._device, settings)


def _device(core: Any) -> str:
    return next((name for name in core.available_devices if name.startswith("GPU")), "CPU")


def _with_fine_outputs(network: Any) -> Any:
    """The network without the rounding of what comes out of it, where it is int8.

    Computing does not get faster by rounding its results to 256 values, but boxes can hardly be ranked by these.
    """
    for result in network.get_results():
        node = result.input_value(0).get_node()
        while node.get_type_name() != "Convolution":
            source = node.input_value(0)
            if node.get_type_name() == "FakeQuantize":
                node.output(0).replace(source)
            node = source.get_node()
    return network


class LiteRT:
    """A network file in LiteRT."""

    def __init__(self, path: Path, precision: str, threads: int):
        from ai_edge_litert.interpreter import Interpreter

        def opened(count: int) -> Callable[[], Any]:
            return lambda: Interpreter(model_content=content, num_threads=count)

        content = path.read_bytes()
        self.name = f"LiteRT in {precision}"
        self._interpreters = {True: _Pool(opened(threads)), False: _Pool(opened(1))}

    def infer(self, batch: np.ndarray, *, alone: bool) -> Outputs:
        with self._interpreters[alone].one() as interpreter:
            entry = interpreter.get_input_details()[0]
            if tuple(entry["shape"]) != batch.shape:
                interpreter.resize_tensor_input(entry["index"], batch.shape)
                interpreter.allocate_tensors()
            interpreter.set_tensor(entry["index"], batch)
            interpreter.invoke()
            outputs = sorted(interpreter.get_output_details(), key=lambda output: output["name"])
            logits, raw = (interpreter.get_tensor(output["index"])[0] for output in outputs)
            return logits, raw


PACKAGES = {"openvino": "openvino", "litert": "ai-edge-litert"}


class _Pool:
    """Things that one thread uses at a time, made when all others are in use."""

    def __init__(self, make: Callable[[], Any]):
        self._make = make
        self._idle: deque[Any] = deque()

    @contextmanager
    def one(self) -> Iterator[Any]:
        try:
            thing = self._idle.pop()
        except IndexError:
            thing = self._make()
        yield thing
        self._idle.append(thing)


@lru_cache(maxsize=16)
def _grid(height: int, width: int, levels: int) -> np.ndarray:
    return points(height, width, levels)
