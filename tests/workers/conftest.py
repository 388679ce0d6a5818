"""Fixtures of the workflow's tests, and plans in files."""

from __future__ import annotations

import pytest
import yaml

from tests.workflow.conftest import base, home, values  # noqa: F401  (fixtures)


@pytest.fixture
def plan_file(home, values):  # noqa: F811
    """Write the small plan to a file: `plan_file(training={...})` changes sections of it."""

    def write(**sections):
        changed = {key: value | sections.get(key, {}) for key, value in values.items()}
        path = home / "plan.yaml"
        path.write_text(yaml.safe_dump(changed))
        return path

    return write
