"""TensorFlow and Keras, imported without TensorFlow's greetings, which no log level silences."""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def quiet() -> Iterator[None]:
    """Keep back what native code writes to the terminal's standard error; after a failure it is shown."""
    sys.stderr.flush()
    with tempfile.TemporaryFile() as kept:
        stderr = os.dup(2)
        os.dup2(kept.fileno(), 2)
        try:
            yield
        except BaseException:
            kept.seek(0)
            os.write(stderr, kept.read())
            raise
        finally:
            os.dup2(stderr, 2)
            os.close(stderr)


with quiet():
    import keras
    import tensorflow as tf
    from keras import layers, ops

__all__ = ["has_fast_bfloat16", "keras", "layers", "mixed_precision", "ops", "quiet", "tf"]


def has_fast_bfloat16() -> bool:
    """Whether this machine multiplies bfloat16 matrices faster than float32 ones: on a GPU, or on a CPU with AMX."""
    if tf.config.list_physical_devices("GPU"):
        return True
    try:
        return " amx_bf16 " in Path("/proc/cpuinfo").read_text()
    except OSError:
        return False


@contextmanager
def mixed_precision(wanted: bool) -> Iterator[None]:
    """Layers made inside compute in bfloat16, if `wanted`, unless they say otherwise; their weights stay float32.

    Micikevicius et al., arXiv 1710.03740; bfloat16 has float32's range, so that the loss needs no scaling.
    """
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy("mixed_bfloat16" if wanted else "float32")
    try:
        yield
    finally:
        keras.config.set_dtype_policy(before)
