"""What the inference server tells Prometheus: base units, one series per job."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from prometheus_client import CollectorRegistry, Counter, Histogram, ProcessCollector
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

LATENCY_SECONDS = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
LOADING_SECONDS = (0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0)


class Metrics:
    """The server's counters and histograms in a registry of their own."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)
        self.requests = Counter(
            "ratchet_serving_requests",
            "Prediction requests by their outcome: ok, refused, unavailable or failed.",
            ["job", "outcome"],
            registry=self.registry,
        )
        self.latency = Histogram(
            "ratchet_serving_request_seconds",
            "From the first byte of a prediction request to its answer.",
            ["job"],
            registry=self.registry,
            buckets=LATENCY_SECONDS,
        )
        self.swaps = Counter("ratchet_serving_swaps", "Promotions taken up.", ["job"], registry=self.registry)
        self.swap_failures = Counter(
            "ratchet_serving_swap_failures",
            "Promotions that could not be taken up, each attempt counted.",
            ["job"],
            registry=self.registry,
        )
        self.swap_time = Histogram(
            "ratchet_serving_swap_seconds",
            "From reading a changed pointer to serving it: download, load and first prediction.",
            ["job"],
            registry=self.registry,
            buckets=LOADING_SECONDS,
        )

    def report_served(self, served: Callable[[], Iterable[tuple[str, str, int]]]) -> None:
        """Report job, version and promotion number of what `served` returns at each scrape."""
        self.registry.register(_ServedCollector(served))


class _ServedCollector(Collector):
    def __init__(self, served: Callable[[], Iterable[tuple[str, str, int]]]):
        self.served = served

    def collect(self) -> Iterable[Metric]:
        gauge = GaugeMetricFamily(
            "ratchet_serving_promotion", "The promotion that serves, by its number.", labels=["job", "version"]
        )
        for job, version, promotion in self.served():
            gauge.add_metric([job, version], promotion)
        return [gauge]
