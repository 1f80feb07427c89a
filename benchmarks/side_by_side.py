"""Processes that compute side by side, one thread each, so that CPU seconds of one say nothing of the others."""

from __future__ import annotations

import logging
import multiprocessing
import os
from concurrent.futures import ProcessPoolExecutor
from functools import partial

ONE_THREAD = dict.fromkeys(("OMP_NUM_THREADS", "TF_NUM_INTRAOP_THREADS", "TF_NUM_INTEROP_THREADS"), "1")


def side_by_side(processes: int) -> ProcessPoolExecutor:
    """A pool in which each task has a process of its own: what TensorFlow keeps of one is no burden to the next.

    What the tasks log is shown.
    """
    os.environ |= ONE_THREAD
    show = partial(logging.basicConfig, level=logging.INFO, format="%(message)s")
    return ProcessPoolExecutor(processes, multiprocessing.get_context("spawn"), initializer=show, max_tasks_per_child=1)
