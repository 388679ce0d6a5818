"""Prose answers -> rules and settings: `read_rules`."""

from tunebook.plan.rules.reader import Reading, read_rules

__all__ = ["Reading", "read_rules"]
