"""What the studio may show: the runs, pages and data below the folders that it was started with, and nothing else."""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from threading import Lock

from tunebook.errors import DataError, PageError, PlanError, RunError, TunebookError
from tunebook.pages.catalog import library_names, load_page, read_source
from tunebook.pages.page import Page
from tunebook.runs.status import Status
from tunebook.runs.store import Run, check_name, list_runs, open_run
from tunebook.studio.live import Live
from tunebook.studio.rows import Listing

DATA_KINDS = (".jsonl", ".json", ".csv", ".parquet")
_MAX_LISTED = 500
_PLAN = {b"model", b"data"}  # sections that every plan has


@dataclass
class Place:
    """`folder` is the working folder (answers, data, own pages); `extra` are pages named at its start."""

    folder: Path
    runs: Path
    extra: tuple[Path, ...] = ()
    _live: dict[str, Live] = field(default_factory=dict, repr=False)
    _pages: dict[Path, tuple[tuple[int, int], Page]] = field(default_factory=dict, repr=False)
    _lock: Lock = field(default_factory=Lock, repr=False)

    def __post_init__(self) -> None:
        self.listing = Listing(self.statuses)

    @property
    def mark(self) -> str:
        """Sets the working folder apart from others, for what a browser remembers by address and port alone."""
        return hashlib.sha256(os.fsencode(self.folder.resolve())).hexdigest()[:12]

    # --- runs

    def run(self, name: str) -> Run:
        """The run of that name. RunError when there is none, or a link in its folder leads out of it."""
        folder = self.runs / check_name(name)
        if link := self._link_out(folder):
            raise RunError(
                f"{link} leads out of the folder of the run '{name}'.",
                kept="Nothing was read.",
                do="A run folder that was copied here may hold such a link; remove it to open the run.",
            )
        return open_run(name, self.runs)

    def live(self, name: str) -> Live:
        """The run of that name, kept up to date."""
        kept = self._live.get(name)
        if kept is not None and kept.run.folder.is_dir():
            return kept
        run = self.run(name)
        with self._lock:
            kept = self._live[name] = Live(run)
        return kept

    def forget(self, name: str) -> None:
        """Let go of a run that was removed."""
        with self._lock:
            self._live.pop(name, None)

    def statuses(self) -> list[Status]:
        """The status of every run, the one that changed last first."""
        runs = list_runs(self.runs)
        with self._lock:
            new = {run.name: Live(run) for run in runs if run.name not in self._live and not self._link_out(run.folder)}
            self._live = {run.name: live for run in runs if (live := self._live.get(run.name) or new.get(run.name))}
            kept = list(self._live.values())
        return sorted((live.status() for live in kept), key=lambda status: status.updated or 0, reverse=True)

    def _link_out(self, folder: Path) -> Path | None:
        """A link that leads out of a run's folder: the folder itself, or anything below it."""
        if os.path.realpath(folder) != os.path.join(os.path.realpath(self.runs), folder.name):  # noqa: PTH118
            return folder
        for where, names, files in os.walk(folder):
            for name in (*names, *files):
                path = Path(where, name)
                if path.is_symlink() and not path.resolve().is_relative_to(folder.resolve()):
                    return path
        return None

    # --- pages

    def page_files(self) -> dict[str, str | Path]:
        """Pages by their key: the built-in ones by name, a user's own as `own-` and the file's stem."""
        found: dict[str, str | Path] = {name: name for name in library_names()}
        for path in (*self.extra, *self._own_pages()):
            key, number = f"own-{_stem(path.stem)}", 2
            while key in found and found[key] != path:
                key, number = f"own-{_stem(path.stem)}-{number}", number + 1
            found[key] = path
        return found

    def page(self, key: str) -> Page:
        """The page of that key, problems and all. PageError when there is none."""
        source = self.page_files().get(key)
        if source is None:
            raise PageError(f"There is no page '{key}' here.", do="Choose one of those on the home page.")
        if not isinstance(source, Path):
            return load_page(source)
        found = source.stat()
        stamp = (found.st_mtime_ns, found.st_size)
        kept = self._pages.get(source)
        if kept is None or kept[0] != stamp:  # a page of a megabyte takes a second to read
            kept = self._pages[source] = (stamp, load_page(source))
        return kept[1]

    def answers_file(self, key: str) -> Path:
        """Where the answers to a page are kept. `key` is one of `page_files`. PageError when a link leads out."""
        return self._kept(f"answers/{key}.yaml", PageError)

    def tasks_file(self, key: str) -> Path:
        """Where the tasks of a page that are ticked off are kept. PageError when a link leads out."""
        return self._kept(f"answers/{key}.tasks.json", PageError)

    def answers_stamp(self, key: str) -> int:
        """Changes whenever answers or tasks of a page do."""
        return sum(stamp(path) for path in (self.answers_file(key), self.tasks_file(key)))

    def new_page_file(self, name: str) -> Path:
        """Where a new page of that name may be written. PageError when it is taken, or a link leads out."""
        path = self._kept(f"pages/{_stem(name.removesuffix('.md'))}.md", PageError)
        if path.exists():
            what, do = f"There is a page {path.name} already.", "Use another name."
            raise PageError(what, kept="Nothing was written.", do=do)
        return path

    def page_source(self, key: str) -> tuple[int, bytes]:
        """When a user's own page was written, and its bytes. PageError when there is no such page of theirs."""
        source = self.page_files().get(key)
        if not isinstance(source, Path):
            raise PageError(f"There is no page '{key}' of your own here.", do="Choose one of those on the home page.")
        return stamp(source), read_source(source)

    def _own_pages(self) -> Iterator[Path]:
        """Markdown files of the working folder that begin with front matter."""
        for folder in (self.folder, self.folder / "pages"):
            for path in sorted(folder.glob("*.md"))[:_MAX_LISTED] if folder.is_dir() else ():
                if self.inside(path) and _begins_as_page(path):
                    yield path

    # --- plans and data

    def plan_file(self, name: str) -> Path:
        """Where the plan of the run `name` is kept that is started here. PlanError when a link leads out."""
        return self._kept(f"plans/{name}.yaml", PlanError)

    def plan_files(self) -> list[str]:
        """Plans in the working folder and in `plans/`, the newest first, by their path from it."""
        found = [path for pattern in ("*.yaml", "*.yml", "plans/*.yaml") for path in self.folder.glob(pattern)]
        kept = [path for path in found if self.inside(path) and _reads_as_plan(path)]
        kept.sort(key=lambda path: path.stat().st_mtime, reverse=True)
        return [str(path.relative_to(self.folder)) for path in kept[:_MAX_LISTED]]

    def data_files(self) -> list[str]:
        """Data files in the working folder and one folder down, by their path from it."""
        found = [path for pattern in ("*", "*/*") for path in self.folder.glob(pattern) if path.suffix in DATA_KINDS]
        kept = [path for path in found if self._listed(path)]
        return sorted(str(path.relative_to(self.folder)) for path in kept)[:_MAX_LISTED]

    def data_file(self, name: str) -> Path:
        """The data file at that path below the working folder, links followed. DataError when it is elsewhere."""
        path = self.folder / name
        named = "\0" not in name and len(name) <= 1000 and path.suffix in DATA_KINDS
        if not (named and self.inside(path) and _is_file(path)):
            what = f"There is no data file '{name[:200]}' below {self.folder}."
            raise DataError(what, do="Put it there, or start the studio in its folder.")
        return path

    def new_data_files(self, name: str) -> Iterator[Path]:
        """Where a new data file of that name may lie, one after another: the name itself, then with numbers."""
        path = Path(re.sub(r"[^\w.() -]+", "-", name)[-120:].lstrip(". "))
        if path.suffix not in DATA_KINDS or not path.stem:
            kinds = ", ".join(kind[1:].upper() for kind in DATA_KINDS)
            raise DataError(f"'{name[:120]}' is no data file by its name.", do=f"Data sets are {kinds} files.")
        return (self.folder / f"{path.stem}{end}{path.suffix}" for end in ("", *(f"-{n}" for n in range(2, 1000))))

    # --- what lies below the folder

    def _kept(self, name: str, error: type[TunebookError]) -> Path:
        """A file that the studio itself keeps in the working folder. `error` when a link leads out."""
        path = self.folder / name
        if not self.inside(path):
            raise error(f"{path} leads out of {self.folder}.", kept="Nothing was read or written.")
        return path

    def _listed(self, path: Path) -> bool:
        parts = path.relative_to(self.folder).parts
        own = parts[0] == "answers" or path.name.endswith(".tasks.json")  # what the studio keeps is no data
        return (
            not own
            and not any(part.startswith(".") for part in parts)
            and path.is_file()
            and self.inside(path)
            and self.runs not in path.parents
        )

    def inside(self, path: Path) -> bool:
        """Does `path` lie below the working folder, links followed?"""
        try:
            return path.resolve().is_relative_to(self.folder.resolve())
        except (OSError, ValueError, RuntimeError):
            return False


def _stem(name: str) -> str:
    """A name that addresses and files take: small letters, digits and dashes."""
    return re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")[:60] or "page"


def stamp(path: Path) -> int:
    """When a file or folder was written, in nanoseconds; 0 when it is not there."""
    try:
        return path.stat().st_mtime_ns
    except OSError:
        return 0


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except OSError:  # a name that the system does not take
        return False


def _reads_as_plan(path: Path) -> bool:
    try:
        with path.open("rb") as file:
            return _PLAN.issubset(line.partition(b":")[0] for line in file.read(65_536).splitlines())
    except OSError:
        return False


def _begins_as_page(path: Path) -> bool:
    try:
        with path.open("rb") as file:
            return file.read(4096).lstrip(b"\xef\xbb\xbf").startswith((b"---\n", b"---\r\n"))
    except OSError:
        return False
