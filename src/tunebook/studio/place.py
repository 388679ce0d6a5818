"""What the studio may show: the runs, pages and data below the folders that it was started with, and nothing else."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from threading import Lock

from tunebook.errors import DataError, PageError, RunError
from tunebook.pages.catalog import library_names, load_page
from tunebook.pages.page import Page
from tunebook.runs.status import Status
from tunebook.runs.store import Run, check_name, list_runs, open_run
from tunebook.studio.live import Live

DATA_KINDS = (".jsonl", ".json", ".csv", ".parquet")
_MAX_LISTED = 500


@dataclass
class Place:
    """`folder` is the working folder (answers, data, own pages); `extra` are pages named at its start."""

    folder: Path
    runs: Path
    extra: tuple[Path, ...] = ()
    _live: dict[str, Live] = field(default_factory=dict, repr=False)
    _lock: Lock = field(default_factory=Lock, repr=False)

    # --- runs

    def run(self, name: str) -> Run:
        """The run of that name. RunError when there is none, or its folder leads out of the folder for runs."""
        run = open_run(check_name(name), self.runs)
        if run.folder.resolve().parent != self.runs.resolve():
            raise RunError(f"The folder of the run '{name}' leads out of {self.runs}.", kept="Nothing was read.")
        return run

    def live(self, name: str) -> Live:
        """The run of that name, kept up to date."""
        run = self.run(name)
        with self._lock:
            return self._live.setdefault(name, Live(run))

    def forget(self, name: str) -> None:
        """Let go of a run that was removed."""
        with self._lock:
            self._live.pop(name, None)

    def statuses(self) -> list[Status]:
        """The status of every run, the one that changed last first."""
        runs = list_runs(self.runs)
        with self._lock:
            kept = {run.name: self._live.get(run.name) or Live(run) for run in runs}
            self._live = kept
        found = [live.status() for live in kept.values()]
        return sorted(found, key=lambda status: status.updated or 0, reverse=True)

    # --- pages

    def page_files(self) -> dict[str, str | Path]:
        """Pages by their key: the built-in ones by name, a user's own as `own-` and the file's stem."""
        found: dict[str, str | Path] = {name: name for name in library_names()}
        for path in (*self.extra, *self._own_pages()):
            stem = re.sub(r"[^a-z0-9]+", "-", path.stem.lower()).strip("-")[:60] or "page"
            key, number = f"own-{stem}", 2
            while key in found and found[key] != path:
                key, number = f"own-{stem}-{number}", number + 1
            found[key] = path
        return found

    def page(self, key: str) -> Page:
        """The page of that key, problems and all. PageError when there is none."""
        source = self.page_files().get(key)
        if source is None:
            raise PageError(f"There is no page '{key}' here.", do="Choose one of those on the home page.")
        return load_page(source)

    def answers_file(self, key: str) -> Path:
        """Where the answers to a page are kept. `key` is one that `page_files` made."""
        return self.folder / "answers" / f"{key}.yaml"

    def _own_pages(self) -> Iterator[Path]:
        """Markdown files of the working folder that begin with front matter."""
        for folder in (self.folder, self.folder / "pages"):
            for path in sorted(folder.glob("*.md"))[:_MAX_LISTED] if folder.is_dir() else ():
                if self._inside(path) and _begins_as_page(path):
                    yield path

    # --- data

    def data_files(self) -> list[str]:
        """Data files in the working folder and one folder down, by their path from it."""
        found = [path for pattern in ("*", "*/*") for path in self.folder.glob(pattern) if path.suffix in DATA_KINDS]
        kept = [path for path in found if self._listed(path)]
        return sorted(str(path.relative_to(self.folder)) for path in kept)[:_MAX_LISTED]

    def data_file(self, name: str) -> Path:
        """The data file at that path below the working folder, links followed. DataError when it is elsewhere."""
        path = self.folder / name
        if (
            "\0" in name
            or len(name) > 1000
            or path.suffix not in DATA_KINDS
            or not self._inside(path)
            or not _is_file(path)
        ):
            raise DataError(
                f"There is no data file '{name[:200]}' below {self.folder}.",
                do="Put it there, or start the studio in its folder.",
            )
        return path

    def _listed(self, path: Path) -> bool:
        hidden = any(part.startswith(".") for part in path.relative_to(self.folder).parts)
        return not hidden and path.is_file() and self._inside(path) and self.runs not in path.parents

    def _inside(self, path: Path) -> bool:
        try:
            return path.resolve().is_relative_to(self.folder.resolve())
        except (OSError, ValueError, RuntimeError):
            return False


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except OSError:  # a name that the system does not take
        return False


def _begins_as_page(path: Path) -> bool:
    try:
        with path.open("rb") as file:
            return file.read(4096).lstrip(b"\xef\xbb\xbf").startswith((b"---\n", b"---\r\n"))
    except OSError:
        return False
