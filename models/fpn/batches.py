"""Training batches, drawn on a thread of their own while the network computes."""

from __future__ import annotations

import queue
import threading
from collections.abc import Generator
from dataclasses import dataclass

import numpy as np

from models.fpn.augment import Sampler
from models.fpn.targets import assign

PREFETCHED = 4


@dataclass(frozen=True)
class Batch:
    """Pixels uint8 [b, side, side, channels]; per point the target class int32 [b, p] and box float32 [b, p, 4].

    `labelled` says which classes each quarter of each sample is labelled for, bool [b, 4, classes].
    """

    pixels: np.ndarray
    classes: np.ndarray
    boxes: np.ndarray
    labelled: np.ndarray


def batch(sampler: Sampler, size: int, levels: int, seed: int, step: int) -> Batch:
    """The batch of one step: always the same for the same seed and step, so that a resumed training draws the same."""
    random = np.random.default_rng([seed, step])
    samples = [sampler.draw(random) for _ in range(size)]
    side = sampler.side
    targets = [assign(side, levels, sample.boxes, sample.classes, sample.ignored) for sample in samples]
    return Batch(
        np.stack([sample.pixels for sample in samples]),
        np.stack([target.classes for target in targets]),
        np.stack([target.boxes for target in targets]),
        np.stack([sample.labelled for sample in samples]),
    )


def batches(sampler: Sampler, size: int, levels: int, seed: int, steps: range) -> Generator[Batch, None, None]:
    """The batches of `steps`, a few of them drawn ahead."""
    ready: queue.Queue[Batch | BaseException] = queue.Queue(PREFETCHED)
    stopped = threading.Event()

    def hand_over(item: Batch | BaseException) -> None:
        while not stopped.is_set():
            try:
                ready.put(item, timeout=0.2)
            except queue.Full:
                continue
            return

    def draw() -> None:
        try:
            for step in steps:
                if stopped.is_set():
                    return
                hand_over(batch(sampler, size, levels, seed, step))
        except BaseException as error:
            hand_over(error)

    thread = threading.Thread(target=draw, name="batches", daemon=True)
    thread.start()
    try:
        for _ in steps:
            item = ready.get()
            if isinstance(item, BaseException):
                raise item
            yield item
    finally:
        stopped.set()
        thread.join()
