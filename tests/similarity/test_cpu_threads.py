"""The model's threads leave room for others."""

import os
from pathlib import Path

import pytest

from similarity import native
from similarity.native import cores, physical_cores, share_cores


@pytest.fixture
def eight_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(native, "cores", lambda: 8)


def shared(workers: int, quota: Path, **environment: str) -> dict[str, str]:
    share_cores(workers, environment, quota)
    return environment


@pytest.mark.usefixtures("eight_cores")
@pytest.mark.parametrize(
    ("told", "workers", "threads"),
    [
        ("max 100000", 1, None),
        ("max 100000", 3, "2"),
        ("max 100000", 20, "1"),
        ("200000 100000", 1, "2"),
        ("50000 100000", 1, "1"),
        ("900000 100000", 1, None),
        ("nothing of the kind", 1, None),
    ],
)
def test_each_worker_has_its_part_of_what_the_container_is_granted(
    told: str, workers: int, threads: str | None, tmp_path: Path
) -> None:
    quota = tmp_path / "cpu.max"
    quota.write_text(told)
    assert shared(workers, quota).get("OMP_NUM_THREADS") == threads
    assert shared(workers, quota, OMP_NUM_THREADS="5")["OMP_NUM_THREADS"] == "5"


def test_waiting_threads_sleep_unless_they_were_told_otherwise(tmp_path: Path) -> None:
    nowhere = tmp_path / "nowhere"
    assert shared(1, nowhere) == {"OMP_WAIT_POLICY": "PASSIVE"}
    assert shared(1, nowhere, OMP_WAIT_POLICY="ACTIVE") == {"OMP_WAIT_POLICY": "ACTIVE"}


def test_the_cores_of_this_machine_are_counted_up_to_the_limit_of_the_environment(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    assert 1 <= cores() <= (os.cpu_count() or 1)
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    assert cores() == 1


@pytest.mark.parametrize(
    ("siblings", "quota", "expected"),
    [
        (("0", "1", "2", "3"), "max 100000", 4),
        (("0-1", "0-1", "2-3", "2-3"), "max 100000", 2),
        (("0,2", "1,3", "0,2", "1,3"), "100000 100000", 1),
        (("0", "1", "2", "3"), "250000 100000", 2),
        ((), "max 100000", 4),
    ],
    ids=["no hyperthreads", "neighbours", "quota", "quota below", "unknown"],
)
def test_two_threads_of_one_core_count_once(
    siblings: tuple[str, ...], quota: str, expected: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: {0, 1, 2, 3})
    for number, listed in enumerate(siblings):
        topology = tmp_path / f"cpu{number}" / "topology"
        topology.mkdir(parents=True)
        (topology / "thread_siblings_list").write_text(f"{listed}\n")
    (tmp_path / "cpu.max").write_text(quota)
    assert physical_cores(tmp_path, tmp_path / "cpu.max") == expected
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    assert physical_cores(tmp_path, tmp_path / "cpu.max") == 1
