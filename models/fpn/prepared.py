"""Examples made ready for the network: template registered, channels stacked, boxes as arrays."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from data.sample import Example
from models.boxes import corners
from models.estimator import TrainingRefused
from models.fpn.grid import side_multiple
from models.fpn.registration import register

Input = Literal["image", "pair"]
MOST_KEPT_BYTES = 4 << 30


def pixels(example: Example, input_kind: Input) -> np.ndarray:
    """The channels of one example, uint8 [height, width, 1 or 2]: the image and, for a pair, its registered template.

    Raises:
        ValueError: the image is not grey uint8, or a template is needed and missing or of another shape.
    """
    if problem := _problem(example, input_kind):
        raise ValueError(problem)
    if input_kind == "image" or example.template is None:
        return example.image[..., None]
    channels = np.empty((*example.image.shape, 2), np.uint8)
    channels[..., 0] = example.image
    channels[..., 1] = register(example.image, example.template)
    return channels


def stacked(images: Sequence[np.ndarray], levels: int) -> np.ndarray:
    """Images [height, width, channels] as one batch, their edges repeated to the largest, in sides that levels need."""
    unit = side_multiple(levels)
    height, width = (-(-max(image.shape[axis] for image in images) // unit) * unit for axis in (0, 1))
    if len(images) == 1 and images[0].shape[:2] == (height, width):
        return images[0][None]
    return np.stack(
        [
            np.pad(image, ((0, height - image.shape[0]), (0, width - image.shape[1]), (0, 0)), mode="edge")
            for image in images
        ]
    )


@dataclass(frozen=True)
class Outline:
    """What is kept of an example while its pixels may be forgotten: its boxes [n, 4] and their class indices [n].

    `labelled` says for each of the model's classes whether the example is labelled for it, bool [classes].
    """

    sample_id: str
    height: int
    width: int
    boxes: np.ndarray
    classes: np.ndarray
    labelled: np.ndarray

    @property
    def longest_sides(self) -> np.ndarray:
        """The longer side of each box, in pixels."""
        sides: np.ndarray = np.max(self.boxes[:, 2:] - self.boxes[:, :2], axis=1)
        return sides


class PreparedExamples:
    """Training examples, read once for their outlines; as many as fit into 4 GiB keep their pixels.

    Raises:
        TrainingRefused: with every example that cannot be learnt from.
    """

    def __init__(self, examples: Sequence[Example], labels: Sequence[str], input_kind: Input):
        self.outlines: list[Outline] = []
        self.labels = tuple(labels)
        self._examples = examples
        self._input = input_kind
        self._kept: dict[int, np.ndarray] = {}
        indices = {label: index for index, label in enumerate(labels)}
        free = MOST_KEPT_BYTES
        problems = [] if len(examples) else ["there is not one example to learn from"]
        for position in range(len(examples)):
            example = examples[position]
            unknown = sorted({box.label for box in example.boxes} - set(labels))
            problems.extend(f"{example.sample_id}: the class {label!r} is not among the model's" for label in unknown)
            if problem := _problem(example, input_kind):
                problems.append(problem)
            if problems:
                continue
            prepared = pixels(example, input_kind)
            if prepared.nbytes <= free:
                self._kept[position] = prepared
                free -= prepared.nbytes
            height, width = example.image.shape
            classes = np.array([indices[box.label] for box in example.boxes], np.int32)
            labelled = np.array([example.classes is None or label in example.classes for label in labels], bool)
            self.outlines.append(Outline(example.sample_id, height, width, corners(example.boxes), classes, labelled))
        if problems:
            raise TrainingRefused(problems)

    def pixels(self, position: int) -> np.ndarray:
        """The channels of one example, uint8 [height, width, channels]; read again if they were not kept."""
        kept = self._kept.get(position)
        return pixels(self._examples[position], self._input) if kept is None else kept

    def __len__(self) -> int:
        return len(self.outlines)

    @property
    def shortest_side(self) -> int:
        """The shortest side of any image, in pixels."""
        return min(min(outline.height, outline.width) for outline in self.outlines)


def _problem(example: Example, input_kind: Input) -> str | None:
    image, template = example.image, example.template
    if image.ndim != 2 or image.dtype != np.uint8:
        return f"{example.sample_id}: the image is {image.dtype} {list(image.shape)}; it must be grey uint8 [h, w]"
    if input_kind == "image":
        return None
    if template is None:
        return f"{example.sample_id}: it has no template; a model with input 'pair' needs one, or choose input 'image'"
    if template.shape != image.shape or template.dtype != np.uint8:
        return (
            f"{example.sample_id}: the template is {template.dtype} {list(template.shape)}, "
            f"the image {image.dtype} {list(image.shape)}; they must be the same"
        )
    return None
