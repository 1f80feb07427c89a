"""Small images with true and found boxes, for hypothesis."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import strategies as st

from data.sample import Box

CLASSES = ["open", "short"]

numbers = st.integers(0, 40).map(float)
labels = st.sampled_from(CLASSES)
true_boxes = st.builds(
    lambda x, y, w, h, label: Box(x, y, x + w + 1, y + h + 1, label), numbers, numbers, numbers, numbers, labels
)
found_boxes = st.builds(
    lambda box, score: replace(box, score=score), true_boxes, st.integers(0, 20).map(lambda n: n / 20)
)
pictures = st.dictionaries(
    st.text("abcdef", min_size=1, max_size=2),
    st.tuples(st.lists(true_boxes, max_size=4), st.lists(found_boxes, max_size=6)),
    min_size=1,
    max_size=5,
)
