"""What an operator watches, for Prometheus. Never imports torch."""

import os

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.multiprocess import MultiProcessCollector

SECONDS = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
SIZES = (1, 2, 4, 8, 16, 32, 64)

SHARED = "PROMETHEUS_MULTIPROC_DIR"
"""The environment variable of the folder in which processes of one service add up what they count."""


class Measures:
    """Counts of one service. Several processes share them where the environment names a folder."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        own = self.registry
        self.requests = Counter("rain_requests", "Requests", ["path", "status"], registry=own)
        self.seconds = Histogram(
            "rain_request_seconds",
            "Time from a request to its answer",
            ["path"],
            registry=own,
            buckets=SECONDS,
        )
        self.images = Counter("rain_images", "Images that were classified", registry=own)
        self.flagged = Counter("rain_flagged", "Images that the gate flagged", registry=own)
        self.batches = Histogram("rain_batch_images", "Images of a batch", registry=own, buckets=SIZES)
        self.waiting = Gauge(
            "rain_waiting_images", "Images that wait", registry=own, multiprocess_mode="livesum"
        )

    def text(self) -> bytes:
        """Everything, in the format that Prometheus reads."""
        if not os.environ.get(SHARED):
            return generate_latest(self.registry)
        together = CollectorRegistry()
        MultiProcessCollector(together)
        return generate_latest(together)
