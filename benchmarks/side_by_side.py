"""Processes that compute side by side, one thread each, so that CPU seconds of one say nothing of the others."""

from __future__ import annotations

import multiprocessing
import os
from concurrent.futures import ProcessPoolExecutor

ONE_THREAD = dict.fromkeys(("OMP_NUM_THREADS", "TF_NUM_INTRAOP_THREADS", "TF_NUM_INTEROP_THREADS"), "1")


def side_by_side(processes: int) -> ProcessPoolExecutor:
    """A pool in which each task has a process of its own: what TensorFlow keeps of one is no burden to the next."""
    os.environ |= ONE_THREAD
    return ProcessPoolExecutor(processes, multiprocessing.get_context("spawn"), max_tasks_per_child=1)
