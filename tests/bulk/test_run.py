"""Never lost, never twice: whatever ends a run, the same command makes the output of an undisturbed one."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from bulk.answer_store import TRANSIENT
from bulk.job import final_manifest, locked_folder
from llm.classifier import Problem
from prompts.errors import Interrupted, InvalidSetting
from tests.bulk.words import ByWords, job_of, label, read_lines, rows, write_lines

ROOT = Path(__file__).parent.parent.parent


def parts_of(out: Path) -> Path:
    """The folder of an unfinished output."""
    return out.with_name(f"{out.name}.parts")


class Ended(BaseException):
    """What ends a run from outside."""


def ends_after(batches: int) -> ByWords:
    """A classifier in whose next batch the process ends."""
    classifier, answer = ByWords(), ByWords().classify

    def classify(texts, taxonomy):  # type: ignore[no-untyped-def]
        if len(classifier.requests) == batches:
            raise Ended
        classifier.requests.append(list(texts))
        return answer(texts, taxonomy)

    classifier.classify = classify  # type: ignore[method-assign]
    return classifier


def end(given: Path, out: Path, batches: int) -> int:
    """A run that is ended in the batch after so many; returns how many texts it asked about."""
    classifier = ends_after(batches)
    with pytest.raises(Ended):
        label(given, out, classifier)
    return sum(map(len, classifier.requests))


def test_each_different_text_is_asked_about_once_in_full_batches(tmp_path: Path) -> None:
    classifier = ByWords()
    given = write_lines(tmp_path / "i.jsonl", rows(3_000, different=20))
    summary = label(given, tmp_path / "o.jsonl", classifier)
    assert [len(batch) for batch in classifier.requests] == [8, 8, 4]
    assert len({text for batch in classifier.requests for text in batch}) == 20
    assert summary is not None
    assert (summary.rows, summary.texts) == (3_000, 20)
    found = read_lines(tmp_path / "o.jsonl")
    assert [row["id"] for row in found] == [f"f{n}" for n in range(3_000)]
    assert all(("War" in row["labels"]) == ("sword" in row["plot"]) for row in found)


def test_a_title_makes_another_text(tmp_path: Path) -> None:
    classifier = ByWords()
    given = write_lines(tmp_path / "i.jsonl", [{"plot": "A sword.", "title": name} for name in ("x", "y", "x")])
    label(given, tmp_path / "o.jsonl", classifier)
    assert [len(batch) for batch in classifier.requests] == [2]


def test_a_run_ended_again_and_again_gives_the_same_bytes_and_asks_nothing_twice(tmp_path: Path) -> None:
    given = write_lines(tmp_path / "i.jsonl", rows(500, different=61))
    label(given, tmp_path / "undisturbed.parquet")
    asked = [end(given, tmp_path / "o.parquet", batches) for batches in (0, 3, 1, 0)]
    assert not (tmp_path / "o.parquet").exists()
    last = ByWords()
    label(given, tmp_path / "o.parquet", last)
    assert sum(asked) + sum(map(len, last.requests)) == 61
    assert (tmp_path / "o.parquet").read_bytes() == (tmp_path / "undisturbed.parquet").read_bytes()
    assert not parts_of(tmp_path / "o.parquet").exists()


# Kills a run in a forked child at its n-th dealing with the file system or the classifier, for every n there is, lets
# another child go on, and prints how many kills there were.
_KILL_EVERYWHERE = """
import os, signal, sys
from pathlib import Path
from tests.bulk.words import label

given, undisturbed, folder = map(Path, sys.argv[1:])
EVENTS = ("open", "os.rename", "os.remove", "os.rmdir", "os.mkdir", "shutil.rmtree", "sqlite3.connect", "bulk.requests")

def child(number, out, log):
    pid = os.fork()
    if pid:
        return os.waitpid(pid, 0)[1]
    count = 0
    def hook(event, arguments):
        nonlocal count
        if event == "bulk.requests":
            os.write(log, b"x" * arguments[0])
        if event in EVENTS:
            count += 1
            if count == number:
                os.kill(os.getpid(), signal.SIGKILL)
    sys.addaudithook(hook)
    label(given, out, batch=10)
    os._exit(0)

number = 0
while True:
    number += 1
    out, log = folder / f"{number}.jsonl", os.open(folder / "log", os.O_RDWR | os.O_CREAT | os.O_TRUNC)
    status = child(number, out, log)
    if status == 0:
        break
    assert os.WIFSIGNALED(status), status
    assert child(0, out, log) == 0
    assert out.read_bytes() == undisturbed.read_bytes(), number
    assert os.fstat(log).st_size <= 20 + 10, (number, os.fstat(log).st_size)
    assert sorted(path.name for path in folder.glob(f"{number}.*")) == [out.name, f"{out.name}.manifest.json"]
    os.close(log)
print(number - 1)
"""


def test_killed_at_any_step_the_output_is_the_same_and_at_most_one_batch_is_asked_again(tmp_path: Path) -> None:
    given = write_lines(tmp_path / "i.jsonl", rows(60, different=20))
    label(given, tmp_path / "undisturbed.jsonl", batch=10)
    (tmp_path / "runs").mkdir()
    arguments = [given, tmp_path / "undisturbed.jsonl", tmp_path / "runs"]
    command: list[str | Path] = [sys.executable, "-c", _KILL_EVERYWHERE, *arguments]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) > 20


def test_killed_between_the_outputs_last_steps_it_is_finished_and_left_alone(tmp_path: Path) -> None:
    given, classifier = write_lines(tmp_path / "i.jsonl", rows(9)), ByWords()
    label(given, tmp_path / "o.jsonl")
    before = (tmp_path / "o.jsonl").stat()
    assert label(given, tmp_path / "o.jsonl", classifier) is None
    assert ((tmp_path / "o.jsonl").stat(), classifier.requests) == (before, [])
    assert not parts_of(tmp_path / "o.jsonl").exists()


def test_a_second_run_on_the_same_output_is_refused_while_the_first_one_lasts(tmp_path: Path) -> None:
    given = write_lines(tmp_path / "i.jsonl", rows(9))
    busy = pytest.raises(InvalidSetting, match="another run is writing to")
    with locked_folder(parts_of(tmp_path / "o.jsonl")), busy:
        label(given, tmp_path / "o.jsonl")
    assert label(given, tmp_path / "o.jsonl") is not None


def test_an_output_that_was_there_before_is_not_written_over(tmp_path: Path) -> None:
    given = write_lines(tmp_path / "i.jsonl", rows(9))
    (tmp_path / "o.jsonl").write_text("precious")
    with pytest.raises(InvalidSetting, match="exists already"):
        label(given, tmp_path / "o.jsonl")
    assert not parts_of(tmp_path / "o.jsonl").exists()
    end(given, tmp_path / "p.jsonl", 1)
    (tmp_path / "p.jsonl").write_text("precious")
    with pytest.raises(InvalidSetting, match="was not there when this run began"):
        label(given, tmp_path / "p.jsonl")
    assert (tmp_path / "o.jsonl").read_text() == (tmp_path / "p.jsonl").read_text() == "precious"


def test_an_input_that_changed_between_two_runs_is_refused_and_its_old_self_goes_on(tmp_path: Path) -> None:
    given = write_lines(tmp_path / "i.jsonl", rows(40))
    asked = end(given, tmp_path / "o.jsonl", 2)
    write_lines(given, rows(41))
    with pytest.raises(InvalidSetting, match="the input has changed"):
        label(given, tmp_path / "o.jsonl")
    write_lines(given, rows(40))  # the same bytes at another time
    last = ByWords()
    label(given, tmp_path / "o.jsonl", last)
    assert asked + sum(map(len, last.requests)) == 40


def test_an_input_that_changes_during_a_run_makes_no_output(tmp_path: Path) -> None:
    given = write_lines(tmp_path / "i.jsonl", rows(40))
    text = given.read_text()
    with pytest.raises(Interrupted, match=r"i\.jsonl changed while it was read"):
        label(given, tmp_path / "o.jsonl", on_progress=lambda progress: given.write_text(text + " "))
    assert not (tmp_path / "o.jsonl").exists()
    given.write_text(text)
    last = ByWords()
    assert label(given, tmp_path / "o.jsonl", last) is not None
    assert last.requests == []


def test_another_taxonomy_system_or_column_is_refused_unless_all_is_begun_anew(tmp_path: Path) -> None:
    given = write_lines(tmp_path / "i.jsonl", [{**row, "body": row["plot"]} for row in rows(40)])
    end(given, tmp_path / "o.jsonl", 2)
    job = job_of(given, tmp_path / "o.jsonl", temperature=1)
    from bulk.answer_store import LocalRunner
    from bulk.run import run

    with pytest.raises(InvalidSetting, match=r"settings differ \(temperature null, now 1\); give another --out"):
        run(job, LocalRunner(ByWords, job.taxonomy))
    summary = run(job, LocalRunner(ByWords, job.taxonomy), overwrite=True)
    assert summary is not None
    assert summary.rows == 40


_FULL = """
import resource, sys
from pathlib import Path
from prompts.errors import Interrupted
from tests.bulk.words import label

given, out, limit = Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3])
resource.setrlimit(resource.RLIMIT_FSIZE, (limit, resource.RLIM_INFINITY))
try:
    label(given, out)
except Interrupted as error:
    print(error)
"""


@pytest.mark.parametrize("limit", [20_000, 60_000])
def test_a_disk_that_takes_no_more_is_told_and_loses_nothing(tmp_path: Path, limit: int) -> None:
    given = write_lines(tmp_path / "i.jsonl", rows(1_000, different=200))
    command: list[str | Path] = [sys.executable, "-c", _FULL, given, tmp_path / "o.jsonl", str(limit)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "are kept" in done.stdout
    assert "run the same command again" in done.stdout
    assert not (tmp_path / "o.jsonl").exists()
    assert label(given, tmp_path / "o.jsonl") is not None
    label(given, tmp_path / "undisturbed.jsonl")
    assert (tmp_path / "o.jsonl").read_bytes() == (tmp_path / "undisturbed.jsonl").read_bytes()


def test_a_place_that_cannot_be_written_to_is_told(tmp_path: Path) -> None:
    given = write_lines(tmp_path / "i.jsonl", rows(3))
    (tmp_path / "file").write_text("")
    with pytest.raises(Interrupted, match=r"cannot write .*file"):
        label(given, tmp_path / "file" / "o.jsonl")


def test_failed_rows_are_asked_about_again_and_only_they(tmp_path: Path) -> None:
    for name in ("o.jsonl", "o.csv", "o.parquet"):
        given, out = write_lines(tmp_path / "i.jsonl", [*rows(30, 20), {"id": "none"}]), tmp_path / name
        summary = label(given, out, ByWords(problems={"heart": Problem("unreadable", "it mumbled")}))
        assert summary is not None
        assert summary.problems == {"unreadable": 12, "empty": 1}
        assert summary.examples["unreadable"] == ["f1", "f3", "f6", "f8", "f11"]
        classifier = ByWords()

        summary = label(given, out, classifier, retry_failed=True)
        assert summary is not None
        assert summary.problems == {"empty": 1}
        assert all("heart" in text for batch in classifier.requests for text in batch)
        assert sum(map(len, classifier.requests)) == 8
    label(given, tmp_path / "whole.jsonl")
    again, whole = (
        [{**row, "scores": None} for row in read_lines(tmp_path / name)] for name in ("o.jsonl", "whole.jsonl")
    )
    assert again == whole


def test_retrying_needs_a_finished_output_of_the_same_options(tmp_path: Path) -> None:

    given = write_lines(tmp_path / "i.jsonl", rows(30))
    with pytest.raises(InvalidSetting, match="is no finished output"):
        label(given, tmp_path / "o.jsonl", retry_failed=True)
    label(given, tmp_path / "o.jsonl")
    write_lines(given, rows(31))
    with pytest.raises(InvalidSetting, match="the input has changed"):
        label(given, tmp_path / "o.jsonl", retry_failed=True)
    assert len(read_lines(tmp_path / "o.jsonl")) == 30


def test_a_retry_that_is_ended_leaves_the_old_output_and_goes_on(tmp_path: Path) -> None:

    given, out = write_lines(tmp_path / "i.jsonl", rows(30)), tmp_path / "o.jsonl"
    label(given, out, ByWords(problems={"Plot": Problem("unreadable", "it mumbled")}))
    old, classifier = out.read_bytes(), ends_after(1)
    with pytest.raises(Ended):
        label(given, out, classifier, retry_failed=True)
    assert out.read_bytes() == old
    last = ByWords()
    label(given, out, last, retry_failed=True)
    assert sum(map(len, last.requests)) == 22
    assert all(row["problem"] is None for row in read_lines(out))


@pytest.mark.parametrize("kind", sorted(TRANSIENT))
def test_an_endpoint_that_is_down_stops_the_run_instead_of_failing_every_row(tmp_path: Path, kind: str) -> None:
    given = write_lines(tmp_path / "i.jsonl", rows(30))
    problem = Problem(kind, "no connection")  # type: ignore[arg-type]
    down = ByWords(problems={f"Plot {n} ": problem for n in range(8, 30)})
    with pytest.raises(Interrupted, match=r"no connection.*run the same command again"):
        label(given, tmp_path / "o.jsonl", down)
    last = ByWords()
    label(given, tmp_path / "o.jsonl", last)
    assert sum(map(len, last.requests)) == 22


def test_a_label_outside_the_taxonomy_is_a_problem(tmp_path: Path) -> None:
    classifier, answer = ByWords(), ByWords().classify

    def classify(texts, taxonomy):  # type: ignore[no-untyped-def]
        from dataclasses import replace

        return [replace(one, labels=("Peace",)) for one in answer(texts, taxonomy)]

    classifier.classify = classify  # type: ignore[method-assign]
    label(write_lines(tmp_path / "i.jsonl", rows(1)), tmp_path / "o.jsonl", classifier)
    assert "the answer 'Peace' is no label of kinds" in read_lines(tmp_path / "o.jsonl")[0]["problem"]


_PEAK = """
import sys
from pathlib import Path
from eval.manifest import peak_megabytes
from tests.bulk.words import ByWords, label

folder, count, classifier = Path(sys.argv[1]), int(sys.argv[2]), ByWords()
with (folder / "i.jsonl").open("w") as file:
    for number in range(count):
        file.write('{"plot": "Plot number %d of a sword. %s"}\\n' % (number, "x" * 4_000))
label(folder / "i.jsonl", folder / "o.jsonl", classifier, lambda progress: classifier.requests.clear(), batch=512)
print(peak_megabytes())
"""


def peak_of(folder: Path, count: int) -> float:
    folder.mkdir()
    command: list[str | Path] = [sys.executable, "-c", _PEAK, folder, str(count)]
    return float(subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout)


def test_memory_does_not_grow_with_the_rows(tmp_path: Path) -> None:
    few, many = peak_of(tmp_path / "few", 12_000), peak_of(tmp_path / "many", 30_000)  # both fill all that is held
    assert many - few < 7  # MB; the rows alone are 72 more


def test_the_manifest_beside_the_output_tells_how_it_was_made(tmp_path: Path) -> None:
    given = write_lines(tmp_path / "i.jsonl", rows(30, 20))
    label(given, tmp_path / "o.jsonl")
    done = json.loads(final_manifest(tmp_path / "o.jsonl").read_text())
    assert (done["system"], done["taxonomy"]["name"], done["columns"]["text"]) == ("words", "kinds", "plot")
    assert done["counts"] == {"rows": 30, "texts": 20, "problems": {}}
    assert done["tokens"]["completion_tokens"] == 20
