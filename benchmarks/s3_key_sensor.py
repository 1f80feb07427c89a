"""Airflow's own S3KeySensor, poked in an environment of its own: one JSON line in, one JSON line out.

In: the bucket, the wildcard key, and how many objects to wait for. Out: what `check_fn` was given and what it cost.
The connection is AIRFLOW_CONN_BENCHMARK.
"""

from __future__ import annotations

import json
import resource
import sys
import time
from typing import Any

from airflow.providers.amazon.aws.sensors.s3 import S3KeySensor  # type: ignore[import-not-found]


class Poke:
    """A sensor that waits for `count` objects, and what its last poke read from the store."""

    def __init__(self, bucket: str, key: str, count: int):
        self.requests = self.read_bytes = self.found = 0
        self.count = count
        self.sensor = S3KeySensor(
            task_id="wait",
            bucket_name=bucket,
            bucket_key=key,
            wildcard_match=True,
            check_fn=self.enough,
            aws_conn_id="benchmark",
        )
        self.sensor.hook.get_conn().meta.events.register("after-call.s3", self.answered)

    def enough(self, files: list[Any]) -> bool:
        self.found = len(files)
        return self.found >= self.count

    def answered(self, http_response: Any, **_: Any) -> None:
        self.requests += 1
        self.read_bytes += len(http_response.content)

    def measure(self) -> dict[str, Any]:
        self.requests = self.read_bytes = 0
        cpu, started = time.process_time(), time.perf_counter()
        met = self.sensor.poke({})
        return {
            "seconds": time.perf_counter() - started,
            "cpu_seconds": time.process_time() - cpu,
            "met": bool(met),
            "objects": self.found,
            "requests": self.requests,
            "read_bytes": self.read_bytes,
            "peak_bytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
        }


def main() -> None:
    """Answer one line after the other, with one sensor for each different one."""
    answers, sys.stdout = sys.stdout, sys.stderr
    pokes: dict[str, Poke] = {}
    for line in sys.stdin:
        if line not in pokes:
            pokes[line] = Poke(**json.loads(line))
        print(json.dumps(pokes[line].measure()), file=answers, flush=True)


if __name__ == "__main__":
    main()
