"""Which held-out prompts are answered, when not all are."""

from __future__ import annotations

import numpy as np


def asked(rows: int, prompts: int, seed: int) -> list[int]:
    """Places among `rows` held-out rows, rising: drawn by the plan's seed, since a file may be sorted by topic.

    More prompts are those of fewer and some besides.
    """
    return sorted(np.random.default_rng(seed).permutation(rows)[:prompts].tolist())
