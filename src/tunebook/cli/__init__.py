"""The `tunebook` command: see `app.py`."""

import os

# On a shared machine threads that spin while they wait for each other make training several times slower; read when
# torch is loaded, so it must be set before.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")


def main() -> None:
    """Run the command line."""
    from tunebook.cli.app import main as run

    run()
