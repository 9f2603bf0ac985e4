"""Named entries of a bundled folder, and of the user's folder, whose changed files are read again."""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Generic, NamedTuple, TypeVar

from prompts.errors import InvalidSetting, MarqueeError

log = logging.getLogger(__name__)
Entry = TypeVar("Entry")

_CHECK_SECONDS = 1.0  # the user's folder is listed at most this often
_SETTLE_SECONDS = 1.0  # a younger file may still be written: half of a YAML list is a valid list


@dataclass
class OwnFolders:
    """The user's folders of this process; None where there is none. ``prompts.registry.OWN`` is the only one."""

    taxonomies: Path | None = None
    prompts: Path | None = None


class LoadedFolder(dict[str, Entry]):
    """The entries of files, by name.

    Attributes:
        faulty: the errors of invalid files, by name; these files are logged and skipped.
        own: the files of the user's entries, by name.
        version: number of changes of the user's folder so far.
    """

    def __init__(self, entries: Mapping[str, Entry] | None = None) -> None:
        super().__init__(entries or {})
        self.faulty: dict[str, MarqueeError] = {}
        self.own: dict[str, Path] = {}
        self.version = 0


class _State(NamedTuple):
    """What changes when a file does; after a new mode or owner, the file may be readable."""

    modified: int
    changed: int
    size: int
    inode: int


@dataclass(frozen=True)
class _Read(Generic[Entry]):
    """A file as it was read: its entry, or the last valid one beside the error of the file as it is now."""

    state: _State
    entry: Entry | None
    error: MarqueeError | None


class Folders(Generic[Entry]):
    """Entries of the bundled folder, and those of the user's folder, which replace bundled ones of the same name.

    The bundled folder is read once. The user's folder is checked by callers, at most once per second, so every process
    of a service finds a change by itself. A file that becomes invalid is logged, and its last valid content remains.

    Args:
        bundled: the bundled files.
        own: the user's folder; None: there is none.
        suffixes: of the user's files; others, and hidden files, are ignored.
        load: reads a file; the stem of the file's name is the name of its entry.
    """

    def __init__(
        self, bundled: Iterable[Path], own: Path | None, suffixes: Collection[str], load: Callable[[Path], Entry]
    ) -> None:
        self._own, self._suffixes, self._load = own, suffixes, load
        self._bundled: LoadedFolder[Entry] = LoadedFolder()
        self._pinned: dict[str, tuple[Path, Entry]] = {}
        self._files: dict[Path, _Read[Entry]] = {}
        self._lock = threading.Lock()
        self._next_check = 0.0
        self._unreadable = ""  # the last error of the folder itself, logged once
        for path in sorted(bundled):
            try:
                self._bundled[path.stem] = load(path)
            except MarqueeError as error:
                self._bundled.faulty[path.stem] = error
                log.warning("skipped: %s", error)
        self._now = self._bundled
        if own is not None:
            self._read_first(own)

    def current(self) -> LoadedFolder[Entry]:
        """The entries now. A thread that finds another one checking the folder gets the entries from before."""
        if self._own is not None and time.monotonic() >= self._next_check and self._lock.acquire(blocking=False):
            try:
                self._refresh(self._own)
                self._next_check = time.monotonic() + _CHECK_SECONDS
            finally:
                self._lock.release()
        return self._now

    def pin(self, path: Path, entry: Entry) -> None:
        """Add the entry of a file elsewhere, as it is now."""
        self._pinned[path.stem] = path, entry
        with self._lock:
            self._publish()

    def _read_first(self, own: Path) -> None:
        try:
            states = self._states(own)
        except OSError as error:
            raise InvalidSetting(
                f"{own} cannot be read as a folder of own files: {error.strerror}; give an existing folder"
            ) from None
        self._files = {path: self._read(path, state) for path, state in states.items()}
        self._next_check = time.monotonic() + _CHECK_SECONDS
        self._publish()
        log.info("%s: %s", own, ", ".join(self._now.own) or f"no files {' '.join(sorted(self._suffixes))}")

    def _refresh(self, own: Path) -> None:
        """Read new and changed files; a folder that cannot be listed, such as a lost mount, changes nothing."""
        try:
            states, self._unreadable = self._states(own), ""
        except OSError as error:
            if str(error) != self._unreadable:
                log.warning("%s cannot be listed (%s); its files stay as they were", own, error.strerror)
            self._unreadable = str(error)
            return
        files = {path: read for path, state in states.items() if (read := self._updated(path, state))}
        if files == self._files:
            return
        for path in self._files.keys() - files.keys():
            log.info("removed: %s", path)
        self._files = files
        self._publish()

    def _updated(self, path: Path, state: _State) -> _Read[Entry] | None:
        before = self._files.get(path)
        young = abs(time.time() - state.modified / 1e9) < _SETTLE_SECONDS
        return before if young or (before and before.state == state) else self._read(path, state)

    def _read(self, path: Path, state: _State) -> _Read[Entry]:
        before = self._files.get(path)
        try:
            found = _Read(state, self._load(path), None)
        except MarqueeError as error:
            found = _Read(state, before.entry if before else None, error)
            log.warning("%s: %s", "not taken over, the last valid version stays" if found.entry else "skipped", error)
        else:
            if before:
                log.info("read again: %s", path)
        return found

    def _states(self, own: Path) -> dict[Path, _State]:
        """The state of every file, by path and in the order of names."""
        states = {}
        with os.scandir(own) as entries:
            for entry in sorted(entries, key=lambda one: one.name):
                path = Path(entry)
                if path.suffix in self._suffixes and not entry.name.startswith(".") and (state := _state(entry)):
                    states[path] = state
        return states

    def _publish(self) -> None:
        """Replace the entries at once, so that every caller sees one state of the folder."""
        now: LoadedFolder[Entry] = LoadedFolder(self._bundled)
        now.faulty = dict(self._bundled.faulty)
        now.version = self._now.version + 1
        for path, read in self._files.items():
            name = path.stem
            if name in now.own:
                now.faulty[path.name] = InvalidSetting(f"{path} has the name of {now.own[name]}; keep one of them")
                log.warning("skipped: %s", now.faulty[path.name])
                continue
            now.own[name] = path
            now.faulty.pop(name, None)
            now.pop(name, None)  # a file that cannot be used does not bring a bundled entry of its name back
            if read.error is not None:
                now.faulty[name] = read.error
            if read.entry is not None:
                now[name] = read.entry
        for name, (path, entry) in self._pinned.items():
            now[name], now.own[name] = entry, path
            now.faulty.pop(name, None)
        self._now = now


def _state(entry: os.DirEntry[str]) -> _State | None:
    """The state of the file that an entry leads to; None where that is none, or is gone."""
    try:
        if not entry.is_file():
            return None
        found = entry.stat()
    except OSError:
        return None
    return _State(found.st_mtime_ns, found.st_ctime_ns, found.st_size, found.st_ino)
