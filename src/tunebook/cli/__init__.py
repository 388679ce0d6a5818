"""The `tunebook` command: see `app.py`."""

import os

# Where other work goes on, threads that spin while they wait for each other make training several times slower; where
# none does, threads that sleep lose a third of it by waking late. Read when torch is loaded, so it must be set before.
if hasattr(os, "getloadavg") and os.getloadavg()[0] > 0.5 * (os.cpu_count() or 1):
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")


def main() -> None:
    """Run the command line."""
    from tunebook.cli.app import main as run

    run()
