"""Images of every size and mixture are answered, with boxes that lie inside them."""

from __future__ import annotations

import numpy as np
import pytest

from models.fpn.decode import LEAST_SCORE
from models.fpn.network import build_network
from models.fpn.predictor import Predictor

SIZES = [(100, 100), (64, 200), (193, 129)]


@pytest.fixture(scope="module", params=[1, 3])
def predictor(request) -> Predictor:
    """A network with random weights that sees a defect everywhere."""
    network = build_network(2, classes=2, levels=request.param)
    for layer in network.layers:
        if getattr(layer, "use_bias", False):
            layer.bias.assign(np.zeros(layer.bias.shape))
    return Predictor(network, ["hole", "spot"], request.param)


def test_boxes_lie_inside_their_image(predictor):
    random = np.random.default_rng(0)
    answers = predictor.predict([random.integers(0, 255, (*size, 2)).astype(np.uint8) for size in SIZES])
    assert len(answers) == len(SIZES)
    for (height, width), boxes in zip(SIZES, answers, strict=True):
        assert boxes
        assert [box.score for box in boxes] == sorted((box.score for box in boxes), reverse=True)
        for box in boxes:
            assert 0 <= box.x1 < box.x2 <= width
            assert 0 <= box.y1 < box.y2 <= height
            assert LEAST_SCORE <= box.score <= 1


def test_the_graph_is_built_once_for_all_sizes(predictor):
    for size in SIZES:
        predictor.predict([np.zeros((*size, 2), np.uint8)])
    assert predictor._outputs.experimental_get_tracing_count() == 1
