"""`python -m tunebook.export.serving MODEL PORT DEVICE`: Transformers' server, ending with the one who started it."""

from __future__ import annotations

import sys

from tunebook.export.fresh import end_with_parent


def main() -> None:
    """Run `transformers serve` on the loopback address, in this process, pinned to one model."""
    end_with_parent()
    model, port, device = sys.argv[1:4]
    sys.argv = ["transformers", "serve", model, "--host", "127.0.0.1", "--port", port, "--device", device]
    from transformers.cli.transformers import main as transformers

    transformers()  # type: ignore[no-untyped-call]


if __name__ == "__main__":
    main()
