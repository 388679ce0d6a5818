"""The `tunebook` command: see `app.py`."""


def main() -> None:
    """Run the command line."""
    from tunebook.cli.app import main as run

    run()
