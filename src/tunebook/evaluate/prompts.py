"""Prompts for people to read: what the chat template puts around every one of them is left out."""

from __future__ import annotations

import os


def bare_prompts(prompts: list[str]) -> list[str]:
    """Prompts without what the chat template puts around each of them: what all begin and end with, up to a mark."""
    if len(prompts) < 2:
        return [prompt.strip() for prompt in prompts]
    start = os.path.commonprefix(prompts)
    end = os.path.commonprefix([prompt[::-1] for prompt in prompts])[::-1]
    start = start[: max((start.rfind(mark) + len(mark) for mark in ("\n", ">", "]", ": ") if mark in start), default=0)]
    first = min((end.find(mark) for mark in ("\n", "<", "[") if mark in end), default=len(end))
    end = end[first:]
    bare = [prompt.removeprefix(start).removesuffix(end).strip() for prompt in prompts]
    return bare if all(bare) else [prompt.strip() for prompt in prompts]
