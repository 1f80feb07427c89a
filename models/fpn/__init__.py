"""The detector "FPN": a compact feature pyramid that sees the board, or board and template together."""

from __future__ import annotations

import os
import sys
import tempfile


def _import_tensorflow() -> None:
    """Import TensorFlow without its greetings, which no log level silences; if it fails, what it wrote is shown."""
    if "tensorflow" in sys.modules:
        return
    with tempfile.TemporaryFile() as kept:
        stderr = os.dup(2)
        os.dup2(kept.fileno(), 2)
        try:
            import tensorflow  # noqa: F401
        except BaseException:
            kept.seek(0)
            os.write(stderr, kept.read())
            raise
        finally:
            os.dup2(stderr, 2)
            os.close(stderr)


_import_tensorflow()
