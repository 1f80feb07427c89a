"""Distillation: what a network is held to that shall not forget what it knew when the training began."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from models.fpn.backend import keras, tf
from models.fpn.losses import BOX_WEIGHT, CLASS_WEIGHT, corners, overlaps
from models.fpn.targets import BACKGROUND

LIKELY = 0.05
CONFIDENT = 0.5


@dataclass(frozen=True)
class Teacher:
    """A network with the weights from which the training starts, and which of its classes it knows, bool [classes]."""

    network: keras.Model
    knows: np.ndarray


def distillation_loss(
    logits: tf.Tensor,
    distances: tf.Tensor,
    teacher_logits: tf.Tensor,
    teacher_distances: tf.Tensor,
    centres: tf.Tensor,
    target_classes: tf.Tensor,
    labelled: tf.Tensor,
    knows: tf.Tensor,
) -> tf.Tensor:
    """How far a network is from its teacher where the labels leave that open, per point with a box; a scalar from 0 on.

    Learning without forgetting (Li and Hoiem, arXiv 1606.09282), for a detector as by Shmelkov et al. (arXiv
    1708.06977). Open are, of the classes that the teacher knows, all at points of the background, and at others those
    that the point is not labelled for. There the sigmoid cross entropy towards the teacher's probabilities counts, less
    what the teacher's own uncertainty makes of it; beyond the background only where the teacher sees at least 0.05.
    Where it sees at least 0.5, the box counts too, by GIoU.

    Shapes as those of `detection_loss`; `knows` [classes] bool.
    """
    background, positive = target_classes == BACKGROUND, target_classes > BACKGROUND
    open_ = knows & (background[..., None] | (positive[..., None] & ~labelled))
    probability = tf.sigmoid(teacher_logits)
    likely = tf.reduce_max(tf.where(open_, probability, 0.0), axis=-1)
    heeded = tf.cast(open_ & (background | (likely >= LIKELY))[..., None], logits.dtype)
    entropy = tf.nn.sigmoid_cross_entropy_with_logits
    divergence = entropy(labels=probability, logits=logits) - entropy(labels=probability, logits=teacher_logits)
    _, generalised = overlaps(corners(distances, centres), corners(teacher_distances, centres))
    confident = tf.cast(likely >= CONFIDENT, logits.dtype)
    count = tf.maximum(tf.reduce_sum(tf.cast(positive, logits.dtype)), 1.0)
    class_loss = tf.reduce_sum(divergence * heeded) / count
    box_loss = tf.reduce_sum((1.0 - generalised) * confident) / count
    return CLASS_WEIGHT * class_loss + BOX_WEIGHT * box_loss
