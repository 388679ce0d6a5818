"""Tunebook: a readable page becomes a plan, the plan a run of ten visible steps, the run a model with proof."""

__version__ = "0.1.0"
