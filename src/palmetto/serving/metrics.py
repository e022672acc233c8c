"""Measures what a server does, for Prometheus to read at /metrics."""

from typing import NamedTuple

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)


class Meter(NamedTuple):
    """Holds the histograms of one model."""

    first: Histogram
    """Seconds from a prompt's arrival to its first generated token."""
    between: Histogram
    """Seconds from a token to the next."""


class Metrics:
    """Counts and measures what a server does."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        self._first = Histogram(
            "palmetto_time_to_first_token_seconds",
            "Time from a prompt's arrival to its first generated token.",
            ["model"],
            buckets=_SECONDS,
            registry=self._registry,
        )
        self._between = Histogram(
            "palmetto_time_between_tokens_seconds",
            "Time from a token to the next.",
            ["model"],
            buckets=_SECONDS,
            registry=self._registry,
        )
        self.answers = Counter("palmetto_http_responses", "Responses.", ["route", "status"], registry=self._registry)
        self.prompt_tokens = Counter("palmetto_prompt_tokens", "Tokens of prompts.", ["model"], registry=self._registry)
        self.generated_tokens = Counter(
            "palmetto_generated_tokens", "Tokens generated.", ["model"], registry=self._registry
        )
        self.waiting = Gauge(
            "palmetto_prompts_waiting",
            "Prompts of which a choice waits for its first token.",
            ["model"],
            registry=self._registry,
        )
        self.running = Gauge(
            "palmetto_prompts_running", "Prompts whose choices have begun.", ["model"], registry=self._registry
        )
        self._engine = Gauge(
            "palmetto_engine", "The engine's figures by name.", ["model", "figure"], registry=self._registry
        )

    def meter(self, model: str) -> Meter:
        """Returns the histograms of a model."""
        return Meter(self._first.labels(model), self._between.labels(model))

    def note(self, model: str, waiting: int, running: int, figures: dict[str, float]) -> None:
        """Takes the state of a model's engine."""
        self.waiting.labels(model).set(waiting)
        self.running.labels(model).set(running)
        for figure, value in figures.items():
            self._engine.labels(model, figure).set(value)

    def text(self) -> bytes:
        """Returns everything in Prometheus's text format."""
        return generate_latest(self._registry)
