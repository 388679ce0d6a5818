"""Put an exported folder on the Hugging Face hub, when asked to. Not run here: it needs a network and an account."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from tunebook.errors import ExportError
from tunebook.export.staging import damage
from tunebook.files import read_json


def check_push(name: str, kind: str, base: str) -> None:
    """ExportError, before anything is written, when `name` is no hub id, or an adapter's base is not on the hub."""
    if name.count("/") != 1 or not all(name.split("/")):
        raise ExportError(f"'{name}' is not a name on the hub.", kept="Nothing was written.", do="Give OWNER/NAME.")
    if kind == "adapter" and (base.count("/") != 1 or Path(base).exists()):
        raise ExportError(
            f"An adapter is of use to others only with its base, and '{Path(base).name}' is not a model of the hub.",
            kept="Nothing was written.",
            do="Push merged weights with --format safetensors.",
        )


def push(folder: Path, name: str, *, public: bool, say: Callable[[str], None]) -> str:
    """Upload a whole exported folder as the model `name` (private unless `public`) and return its address.

    The account is the one that `hf auth login` or HF_TOKEN names. ExportError when the folder is not whole or the hub
    refuses; the folder stays as it is.
    """
    if faults := damage(folder):
        raise ExportError(f"{folder} is not a whole export.", kept="Nothing was sent.", faults=faults)
    from huggingface_hub import HfApi

    seen = "public" if public else "private"
    names = [*read_json(folder / "MANIFEST.json")["files"], "MANIFEST.json"]
    say(f"Sending {len(names)} files to the hub as {name} ({seen}) ...")
    try:
        api = HfApi()
        address = api.create_repo(name, private=not public, exist_ok=True)
        if not public and not api.model_info(name).private:  # it was there: `private` is not heeded then
            raise ExportError(
                f"{name} is on the hub already, and public.",
                kept=f"Nothing was sent; the exported files are in {folder}.",
                do="Say --public, give another name, or make it private first.",
            )
        api.upload_folder(repo_id=name, folder_path=folder, allow_patterns=names, commit_message="Exported by Tunebook")
    except ExportError:
        raise
    except Exception as error:  # no network, no account, no right to that name: the hub's own words say which
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0].rstrip(".")
        raise ExportError(
            f"The hub did not take {name} ({reason}).",
            kept=f"The exported files are in {folder}.",
            do="Check the name, the network and `hf auth login`.",
        ) from error
    return str(address)
