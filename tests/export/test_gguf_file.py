"""The writer of GGUF files: the same bytes as the `gguf` package's own, and tensors in their order."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import gguf
import pytest

from tunebook.errors import ExportError
from tunebook.export.gguf_file import file_writer, made_ahead

LISTS: tuple[list[Any], ...] = (["a", "", "été", "\n"], [1, -2, 3], [0.5, -1e30], [True, False])


def _bytes(writer: Any) -> bytes:
    for number, values in enumerate(LISTS):
        writer.add_array(f"list.{number}", values)
    writer.add_string("text", "word")
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.close()
    return bytes(Path(writer.path).read_bytes())


def test_lists_are_packed_as_the_library_packs_them(tmp_path: Path) -> None:
    ours, theirs = file_writer(tmp_path / "a", "llama"), gguf.GGUFWriter(tmp_path / "b", "llama")
    assert _bytes(ours) == _bytes(theirs)


def test_a_list_of_two_kinds_is_refused_as_the_library_refuses_it(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="same type"):
        file_writer(tmp_path / "a", "llama")._pack_val(["a", 1], gguf.GGUFValueType.ARRAY, True)


@pytest.mark.parametrize("count", [0, 1, 2, 5])
def test_what_is_made_ahead_comes_in_order_and_never_more_than_two_early(count: int) -> None:
    begun: list[int] = []
    seen = []
    for number, made in enumerate(made_ahead([lambda at=at: begun.append(at) or at for at in range(count)])):  # type: ignore[misc]
        seen.append(made)
        assert max(begun) <= number + 2
    assert seen == list(range(count))


def test_what_cannot_be_made_raises_where_it_would_be_written() -> None:
    def fails() -> int:
        raise ExportError("too large", do="")

    made = made_ahead([lambda: 1, fails, lambda: 3])
    assert next(made) == 1
    with pytest.raises(ExportError, match="too large"):
        next(made)
