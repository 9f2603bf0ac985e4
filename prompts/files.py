"""Atomic writes, file locks and digests: the one place for each."""

from __future__ import annotations

import codecs
import errno
import hashlib
import json
import os
import secrets
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from prompts.errors import InvalidSetting, MarqueeError

# A write that fails with one of these has no file name of its own.
_OF_THE_DISK = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO, errno.EROFS})
_PATIENCE_SECONDS = 10.0


@contextmanager
def replacing(path: Path, mode: int = 0o666) -> Iterator[Path]:
    """Yield a new file in the folder of ``path``; it replaces ``path`` in one step when the block succeeds.

    The new file has a name that no other writer uses, is on the disk before it replaces the old one, and is removed if
    the block raises. The parent folder is created. A symbolic link is followed; a device or a pipe is written in place.
    ``mode`` are the permissions of the new file, less the umask.

    Raises:
        OSError: the file cannot be written; the error names ``path``.
    """
    if _is_device(path):
        with _naming(path, path):
            yield path
        return
    target = path.resolve()
    new = target.with_name(f".{target.name[:50]}.{os.getpid()}-{secrets.token_hex(4)}.new")
    try:
        with _naming(path, new):
            if target.is_dir():
                raise _error(errno.EISDIR, target)
            make_folder(target.parent)
            os.close(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode))
            yield new
            sync(new)
            publish(new, target)
    finally:
        with suppress(OSError):
            new.unlink(missing_ok=True)


def write_text_atomically(path: Path, content: str, mode: int = 0o666) -> None:
    """Replace a file by this text in UTF-8; a reader finds the old content or the new one. See ``replacing``."""
    with replacing(path, mode) as new:
        new.write_text(content, encoding="utf-8")


def read_text(path: Path, kind: type[MarqueeError]) -> str:
    """The text of a small file that a person writes: UTF-8, with or without a byte order mark.

    Raises:
        MarqueeError: of this kind: it cannot be read, or has another encoding; one line with the file's name and line.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise kind(f"cannot read {path}: {error.strerror or error}") from None
    if content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        raise kind(f"{path}:1 is in UTF-16; save the file as UTF-8")
    try:
        place, found = content.find(b"\0"), content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        place, found = error.start, ""
    if place < 0:
        return found
    byte, line = content[place], content.count(b"\n", 0, place) + 1
    raise kind(f"{path}:{line} is not text in UTF-8 (byte 0x{byte:02x}); save the file as UTF-8")


def read_json(path: Path, kind: type[MarqueeError]) -> dict[str, Any]:
    """The object of a small JSON file.

    Raises:
        MarqueeError: it is not JSON or no object, or as in ``read_text``.
    """
    try:
        document = json.loads(read_text(path, kind))
    except json.JSONDecodeError as error:
        raise kind(f"{path}:{error.lineno} is not JSON; correct the file or delete it") from None
    if not isinstance(document, dict):
        raise kind(f"{path} must be a JSON object, not a {type(document).__name__}; correct the file or delete it")
    return document


def make_folder(folder: Path) -> None:
    """Create a folder and those above it, where they are missing.

    Raises:
        OSError: it cannot be created; a ``NotADirectoryError`` where a file has its name, or that of one above it.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except FileExistsError as error:
        raise _error(errno.ENOTDIR, error.filename) from None


def check_output(path: Path, folder: bool = False) -> Path:
    """Check that a file or a folder of this name can be written, before the work that fills it; returns the path.

    It and the folders above it may be missing. Nothing is left behind.

    Raises:
        OSError: it cannot be written; the error names the path that is in the way.
    """
    found = _mode(path)
    if found is not None and stat.S_ISDIR(found) != folder:
        raise _error(errno.ENOTDIR if folder else errno.EISDIR, path)
    if found is not None and not folder and _is_device(path):
        return path
    above = path if folder else path.resolve().parent
    while (mode := _mode(above)) is None:
        above = above.parent
    if not stat.S_ISDIR(mode):
        raise _error(errno.ENOTDIR, above)
    _try_to_write(above)
    return path


def publish(new: Path, target: Path) -> None:
    """Rename a finished file or folder in one step that survives a power cut; its content must be on the disk."""
    new.replace(target)
    sync(target.parent)


def sync(path: Path) -> None:
    """Wait until a file's content, or a folder's list of names, is on the disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


@contextmanager
def locked(lock_file: Path, timeout: float = _PATIENCE_SECONDS, busy: Exception | None = None) -> Iterator[None]:
    """Hold a lock between processes and threads; it ends with the block or with the process.

    The file is created with its folder, and kept. ``timeout`` is in seconds; 0 tries once, a negative number waits
    without end. When the time is over, the error is ``busy``, by default ``InvalidSetting``.
    """
    from filelock import FileLock, Timeout

    make_folder(lock_file.parent)
    lock = FileLock(lock_file, timeout, thread_local=False, preserve_lock_file=True)
    try:
        lock.acquire()
    except Timeout:
        raise busy or InvalidSetting(f"another process has locked {lock_file}; let it end, then try again") from None
    try:
        yield
    finally:
        lock.release()


def digest_of(content: bytes | str | Path, length: int = 64) -> str:
    """The first hex digits of a SHA-256, 64 at most.

    The content is bytes, a text (as UTF-8), a file (its bytes), or a folder (names and digests of all files below it).
    """
    if isinstance(content, Path):
        if not content.is_dir():
            with content.open("rb") as file:
                return hashlib.file_digest(file, "sha256").hexdigest()[:length]
        files = sorted(one for one in content.rglob("*") if one.is_file())
        content = "\n".join(f"{one.relative_to(content).as_posix()} {digest_of(one, length)}" for one in files)
    return hashlib.sha256(content.encode() if isinstance(content, str) else content).hexdigest()[:length]


def _mode(path: Path) -> int | None:
    """Kind and permissions; None where there is nothing of this name."""
    try:
        return path.stat().st_mode
    except FileNotFoundError:
        return None


def _try_to_write(folder: Path) -> None:
    """Create a file and remove it: permissions alone say nothing about the superuser and read-only file systems."""
    trial = folder / f".{os.getpid()}-{secrets.token_hex(4)}.new"
    try:
        os.close(os.open(trial, os.O_WRONLY | os.O_CREAT | os.O_EXCL))
        trial.unlink()
    except OSError as error:
        error.filename = str(folder)
        raise


def _error(code: int, path: Path | str) -> OSError:
    """The subclass of ``OSError`` that Python has for a code, with the name of the file."""
    return OSError(code, os.strerror(code), str(path))


@contextmanager
def _naming(path: Path, new: Path) -> Iterator[None]:
    """Let an error of writing name the file that the caller knows."""
    try:
        yield
    except OSError as error:
        if error.filename == str(new) or (error.filename is None and error.errno in _OF_THE_DISK):
            error.filename, error.filename2 = str(path), None
        raise


def _is_device(path: Path) -> bool:
    if str(path).startswith(("/dev/std", "/dev/fd/", "/proc/")):  # /dev/stdout may be a file that the shell has open
        return True
    with suppress(OSError):
        mode = path.stat().st_mode
        return not stat.S_ISREG(mode) and not stat.S_ISDIR(mode)
    return False


def file_state(path: Path) -> tuple[int, int, int] | None:
    """Time of change, size and inode of a file, which tell that it was written or replaced; None where there is none.

    An error other than a missing file has the same state as no file.
    """
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_mtime_ns, found.st_size, found.st_ino


def folder_state(folder: Path) -> tuple[tuple[str, int, int], ...]:
    """Name, size and time of change of each file of a folder; empty where there is no folder."""
    found = sorted(path for path in folder.glob("*") if path.is_file()) if folder.is_dir() else []
    return tuple((path.name, path.stat().st_size, path.stat().st_mtime_ns) for path in found)
