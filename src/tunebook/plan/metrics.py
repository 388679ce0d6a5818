"""The eight metrics: what each says and what it costs, for whoever chooses among them."""

from __future__ import annotations

from collections.abc import Mapping

from tunebook.plan.rules.types import Metric

COSTS: Mapping[Metric, str] = {
    "training_loss": "always measured; costs nothing",
    "validation_loss": "a forward pass over the held-out data at each evaluation",
    "perplexity": "nothing beyond validation loss",
    "bleu": "slow: answers are written out at each evaluation",
    "response_length": "slow: the same answers as BLEU's",
    "throughput": "costs nothing",
    "memory": "costs nothing",
    "gradient_norm": "under 1 % of a step, by group of layers",
}
