"""What the training makes small."""

from __future__ import annotations

from models.fpn.backend import tf
from models.fpn.targets import BACKGROUND, IGNORED

CLASS_WEIGHT = 1.5
BOX_WEIGHT = 2.0
LEAST_QUALITY = 0.3


def detection_loss(
    logits: tf.Tensor,
    distances: tf.Tensor,
    centres: tf.Tensor,
    target_classes: tf.Tensor,
    target_boxes: tf.Tensor,
    labelled: tf.Tensor,
) -> tf.Tensor:
    """Quality focal loss over all points plus GIoU loss over those that belong to a box, per such point; a scalar.

    Quality focal loss: Li et al., arXiv 2006.04388, with beta = 2; the quality is the overlap of the predicted box with
    its target, at least 0.3 so that a point whose box is still wrong learns its class. What a point is not `labelled`
    for costs nothing.

    Shapes: `logits` [b, p, classes], `distances` [b, p, 4] pixels, `centres` [p, 2] pixels, `target_classes` [b, p],
    `target_boxes` [b, p, 4] pixel corners, `labelled` [b, p, classes] bool.
    """
    positive = tf.cast(target_classes > BACKGROUND, logits.dtype)
    count = tf.maximum(tf.reduce_sum(positive), 1.0)
    overlap, generalised = overlaps(corners(distances, centres), target_boxes)
    quality = tf.clip_by_value(tf.stop_gradient(overlap), LEAST_QUALITY, 1.0)
    # one_hot of a negative index is all zeros: background and ignored points have no class.
    wanted = tf.one_hot(target_classes, tf.shape(logits)[-1], dtype=logits.dtype) * quality[..., None]
    focus = tf.square(wanted - tf.sigmoid(logits))
    entropy = tf.nn.sigmoid_cross_entropy_with_logits(labels=wanted, logits=logits)
    heeded = tf.cast(labelled & (target_classes != IGNORED)[..., None], logits.dtype)
    class_loss = tf.reduce_sum(focus * entropy * heeded) / count
    box_loss = tf.reduce_sum((1.0 - generalised) * positive) / count
    return CLASS_WEIGHT * class_loss + BOX_WEIGHT * box_loss


def corners(distances: tf.Tensor, centres: tf.Tensor) -> tf.Tensor:
    """The boxes [..., p, 4] whose sides are at these `distances` [..., p, 4] from the points `centres` [p, 2]."""
    return tf.concat([centres - distances[..., :2], centres + distances[..., 2:]], axis=-1)


def overlaps(first: tf.Tensor, second: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """IoU and generalised IoU (Rezatofighi et al., arXiv 1902.09630) of corners [..., 4], pairwise by position."""
    intersection = _area(tf.maximum(first[..., :2], second[..., :2]), tf.minimum(first[..., 2:], second[..., 2:]))
    union = _area(first[..., :2], first[..., 2:]) + _area(second[..., :2], second[..., 2:]) - intersection
    hull = _area(tf.minimum(first[..., :2], second[..., :2]), tf.maximum(first[..., 2:], second[..., 2:]))
    iou = intersection / tf.maximum(union, 1e-6)
    return iou, iou - (hull - union) / tf.maximum(hull, 1e-6)


def _area(top_left: tf.Tensor, bottom_right: tf.Tensor) -> tf.Tensor:
    return tf.reduce_prod(tf.maximum(bottom_right - top_left, 0.0), axis=-1)
