"""Atomic writes, locks and digests: whole files, no lost entries, the same digests as before."""

import errno
import hashlib
import json
import multiprocessing
import os
import re
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from llm.backends.capabilities import CapabilityProbe, CapabilityReport
from llm.backends.capability_checks import CHECKS, CheckResult
from llm.backends.transport import HTTPTransport
from llm.calibration.thresholds import LabelThreshold, ThresholdStore
from prompts.errors import InvalidSetting
from prompts.files import digest_of, locked, make_folder, read_json, replacing, write_text_atomically
from service.access_control import Keys

_WRITERS = 8


def test_a_file_is_replaced_as_a_whole_and_nothing_else_is_left(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "settings.json"
    write_text_atomically(path, "old")
    write_text_atomically(path, "né\n", mode=0o600)
    assert path.read_bytes() == "né\n".encode()
    assert path.stat().st_mode & 0o777 == 0o600
    assert list(path.parent.iterdir()) == [path]


def test_a_failed_write_leaves_the_old_file_and_no_temporary_one(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    write_text_atomically(path, "old")

    def fails_after_half() -> None:
        with replacing(path) as new:
            new.write_text("half", encoding="utf-8")
            raise KeyError

    with pytest.raises(KeyError):
        fails_after_half()
    assert path.read_text(encoding="utf-8") == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_two_writers_of_one_file_do_not_meet(tmp_path: Path) -> None:
    path = tmp_path / "one.json"
    with replacing(path) as first, replacing(path) as second:
        assert first != second
        first.write_text("first", encoding="utf-8")
        second.write_text("second", encoding="utf-8")
    assert path.read_text(encoding="utf-8") == "first"


def test_a_link_is_followed(tmp_path: Path) -> None:
    (tmp_path / "real.json").write_text("old", encoding="utf-8")
    (tmp_path / "link.json").symlink_to("real.json")
    write_text_atomically(tmp_path / "link.json", "new")
    assert (tmp_path / "link.json").is_symlink()
    assert (tmp_path / "real.json").read_text(encoding="utf-8") == "new"


def test_a_name_of_the_greatest_length_can_be_written(tmp_path: Path) -> None:
    path = tmp_path / ("ä" * 127)
    write_text_atomically(path, "whole")
    assert path.read_text(encoding="utf-8") == "whole"


def _in_a_file(folder: Path) -> Path:
    (folder / "file").write_text("", encoding="utf-8")
    return folder / "file" / "out.json"


@pytest.mark.parametrize(
    ("place", "code"),
    [
        (lambda folder: folder, errno.EISDIR),
        (_in_a_file, errno.ENOTDIR),
        (lambda folder: Path("/proc/none/out.json"), errno.ENOENT),
        (lambda folder: Path("/dev/full"), errno.ENOSPC),
    ],
)
def test_an_error_of_writing_names_a_path_that_the_caller_knows(
    place: Callable[[Path], Path], code: int, tmp_path: Path
) -> None:
    path = place(tmp_path)
    with pytest.raises(OSError, match=re.escape(os.strerror(code))) as raised:
        write_text_atomically(path, "words" * 10_000)
    assert raised.value.errno == code
    assert raised.value.filename in (str(path), str(path.parent))


def test_a_device_is_written_and_not_replaced() -> None:
    write_text_atomically(Path("/dev/null"), "words")
    assert Path("/dev/null").is_char_device()


def test_a_folder_whose_name_a_file_has_is_an_error_that_says_so(tmp_path: Path) -> None:
    with pytest.raises(NotADirectoryError):
        make_folder(_in_a_file(tmp_path).parent)


def test_a_lock_that_another_has_is_an_error_in_one_line(tmp_path: Path) -> None:
    lock = tmp_path / "made" / "keys.lock"
    busy = InvalidSetting("wait for the other")
    with locked(lock):
        with pytest.raises(InvalidSetting, match=r"another process has locked .*keys\.lock"), locked(lock, timeout=0):
            pass
        with pytest.raises(InvalidSetting, match="wait for the other"), locked(lock, timeout=0, busy=busy):
            pass
    with locked(lock, timeout=0):
        assert lock.exists()


def test_a_lock_is_waited_for(tmp_path: Path) -> None:
    entered = []
    with locked(tmp_path / "lock"):
        waiting = threading.Thread(target=lambda: entered.append(_enter(tmp_path / "lock")))
        waiting.start()
        assert not entered
    waiting.join(5)
    assert entered == [True]


def _enter(lock: Path) -> bool:
    with locked(lock, timeout=5):
        return True


def _threshold(path: Path, number: int) -> None:
    ThresholdStore(path).put(f"model {number}", LabelThreshold(number / 10))


def _capabilities(path: Path, number: int) -> None:
    transport = HTTPTransport(f"http://127.0.0.1:{number + 1}/v1", "", 1.0, 0, 1)
    CapabilityProbe(transport, "model", path)._store(CapabilityReport(dict.fromkeys(CHECKS, CheckResult("supported"))))


def _key(path: Path, number: int) -> None:
    Keys(path).add(f"user{number}")


@pytest.mark.parametrize("write", [_threshold, _capabilities, _key])
def test_entries_written_at_the_same_time_are_all_kept(write: Callable[[Path, int], None], tmp_path: Path) -> None:
    path = tmp_path / "kept.json"
    with ThreadPoolExecutor(_WRITERS) as threads:
        list(threads.map(lambda number: write(path, number), range(_WRITERS)))
    assert len(json.loads(path.read_text(encoding="utf-8"))) == _WRITERS


def test_processes_that_write_at_the_same_time_lose_no_entry(tmp_path: Path) -> None:
    path = tmp_path / "thresholds.json"
    context = multiprocessing.get_context("fork")
    writers = [context.Process(target=_threshold, args=(path, number)) for number in range(4)]
    for one in writers:
        one.start()
    for one in writers:
        one.join(20)
    assert [one.exitcode for one in writers] == [0] * 4
    assert sorted(json.loads(path.read_text(encoding="utf-8"))) == [f"model {number}" for number in range(4)]


def test_digests_are_those_of_sha256(tmp_path: Path) -> None:
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "c.txt").write_bytes(b"c")
    (tmp_path / "a.txt").write_bytes(b"a")
    whole = hashlib.sha256(b"a").hexdigest()
    assert digest_of(b"a") == digest_of("a") == digest_of(tmp_path / "a.txt") == whole
    assert digest_of("a", 12) == whole[:12]
    named = f"a.txt {whole}\nb/c.txt {hashlib.sha256(b'c').hexdigest()}"
    assert digest_of(tmp_path) == hashlib.sha256(named.encode()).hexdigest()


def test_no_other_module_locks_or_replaces_files_by_itself() -> None:
    root = Path(__file__).parents[2]
    tracked = [path for folder in root.iterdir() if (folder / "__init__.py").exists() for path in folder.rglob("*.py")]
    mine = {root / "prompts" / "files.py"} | set((root / "tests").rglob("*.py"))
    for path in set(tracked) - mine:
        source = path.read_text(encoding="utf-8")
        for word in ("fcntl", "mkstemp", "os.replace(", 'with_suffix(".new")', "FileLock("):
            assert word not in source, f"{path.relative_to(root)} has its own {word}; use prompts/files.py"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", r"m\.json:1 is not JSON"),
        ("[1]", r"m\.json must be a JSON object, not a list"),
        ("null", r"m\.json must be a JSON object, not a NoneType"),
    ],
)
def test_a_json_file_without_an_object_is_an_error_that_names_it(content: str, message: str, tmp_path: Path) -> None:
    (tmp_path / "m.json").write_text(content)
    with pytest.raises(InvalidSetting, match=message):
        read_json(tmp_path / "m.json", InvalidSetting)
