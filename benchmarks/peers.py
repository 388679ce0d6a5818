"""Other tools to measure against, each in an environment of its own that is made on first use."""

from __future__ import annotations

import os
import subprocess
import venv
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
VERSIONS = {"trl": "1.16.0", "litgpt": "0.5.13"}
BESIDE = {"trl": ("peft", "transformers")}  # what else it needs, of the versions of constraints.txt


def python_of(peer: str) -> Path:
    """The Python that has `peer`, under `build/peers` or the folder that TUNEBOOK_PEERS names.

    torch and what is `BESIDE` are of the versions of constraints.txt, so that both sides stand on the same ground.
    """
    place = Path(os.environ.get("TUNEBOOK_PEERS", ROOT / "build" / "peers")) / peer
    python, ready = place / "bin" / "python", place / "ready"
    if not ready.exists():
        print(f"making {place} for {peer} {VERSIONS[peer]}", flush=True)
        venv.create(place, with_pip=True, clear=True)
        install, beside = [python, "-m", "pip", "install", "-q"], BESIDE.get(peer, ())
        alike = ["-c", ROOT / "constraints.txt"]
        subprocess.run([*install, *alike, "torch"], check=True)
        subprocess.run([*install, *(alike if beside else ()), f"{peer}=={VERSIONS[peer]}", *beside], check=True)
        ready.touch()
    return python
