"""Places where a test kills this process, to prove that a retry ends in the same state."""

from __future__ import annotations

import os
import signal
from pathlib import Path

VARIABLE = "RATCHET_FAILPOINTS"


def failpoint(name: str) -> None:
    """End this process by SIGKILL, once, if the folder that `RATCHET_FAILPOINTS` names holds a file called `name`."""
    folder = os.environ.get(VARIABLE)
    if folder is None:
        return
    armed = Path(folder) / name
    if armed.exists():
        armed.unlink()
        os.kill(os.getpid(), signal.SIGKILL)
