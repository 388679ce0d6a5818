"""Loss spikes and exploding gradients: noticed and told, never acted on.

A value is unusual when it lies more than SIGMAS standard deviations above the mean of the steps before it, and well
above it in size too: losses as they are, gradient norms by their logarithm, since those spread over powers of ten.
With 16 normal values seen, one in some fifty thousand would be called unusual by chance.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterator, Mapping

WINDOW, ENOUGH, SIGMAS = 64, 16, 6.0
_LEAST = {"training_loss": 1.2, "gradient_norm": 4.0}  # times the usual value, whatever the deviation


def unusual(recent: dict[str, list[float]], values: Mapping[str, float]) -> Iterator[tuple[str, str]]:
    """(code, words) of what stands out in a step's `values`. `recent` holds the last WINDOW steps and is brought on."""
    for name, least in _LEAST.items():
        seen, value = recent.setdefault(name, []), values[name]
        if len(seen) >= ENOUGH and value > 0:
            usual, limit = _usual(name, seen)
            if value > max(limit, least * usual):
                yield _words(name, value, usual)
        seen.append(value)
        del seen[:-WINDOW]


def _usual(name: str, seen: list[float]) -> tuple[float, float]:
    """The usual value and the one that SIGMAS deviations lie above it."""
    if name == "training_loss":
        mean = statistics.fmean(seen)
        return mean, mean + SIGMAS * statistics.stdev(seen)
    logs = [math.log(max(value, 1e-30)) for value in seen]
    mean = statistics.fmean(logs)
    return math.exp(mean), math.exp(min(mean + SIGMAS * statistics.stdev(logs), 700.0))


def _words(name: str, value: float, usual: float) -> tuple[str, str]:
    if name == "training_loss":
        return "loss_spike", f"training loss {value:.3f} where {usual:.3f} is usual; look at its rows if it comes again"
    advice = "it was clipped; lower training.learning_rate if it comes again"
    return "exploding_gradients", f"gradient norm {value:.3g} where {usual:.3g} is usual; {advice}"
