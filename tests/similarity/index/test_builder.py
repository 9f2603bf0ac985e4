"""Building an index and adding to it, with an end at any moment."""

import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from similarity.errors import InvalidIndex
from similarity.index import builder, versions
from similarity.index.builder import Built, FilmSource, build
from similarity.index.catalog import Film, SearchFilter
from similarity.index.reloading import LoadedIndex, load_index
from similarity.index.versions import current
from tests.similarity.films import film, films
from tests.similarity.words import Words
from tests.support.process import ROOT

SLOW_BUILD = """
import sys
from pathlib import Path
from typing import Any
from similarity.index import builder
from tests.similarity.films import films
from tests.similarity.words import Words

folder, count, start, append = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]), sys.argv[4] == "append"
builder._CHUNK = 20
source = builder.FilmSource(films(count, start), f"{count} from {start}")
builder.build(folder, source, Words(0.1), append=append, on_progress=lambda stage, done: print(stage, done, flush=True))
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "index"


def made(folder: Path, some: list[Film], origin: str = "", **options: Any) -> Built:
    encoder = options.pop("encoder", Words())
    return build(folder, FilmSource(some, origin or str(len(some))), encoder, **options)


def held(folder: Path) -> LoadedIndex:
    return load_index(folder, Words.name, Words.dimension)


def ids(folder: Path) -> list[str]:
    return [entry.film.id for entry in held(folder).films.everything()]


def test_what_was_put_in_is_there_with_its_vectors(folder: Path) -> None:
    built = made(folder, films(50))
    index = held(folder)
    assert (built.added, built.version.name, len(index.vectors)) == (50, "000001", 50)
    assert index.vectors.vectors == pytest.approx(Words().encode([one.text for one in films(50)]), abs=1e-6)
    entry = index.films.by_id("f7")
    assert entry is not None
    assert (entry.row, entry.film.title, entry.film.year, entry.film.genres) == (7, "Film 7", 1957, ("Comedy",))


def test_the_same_again_is_nothing_to_do(folder: Path) -> None:
    made(folder, films(5))
    encoder = Words()
    again = made(folder, films(5), encoder=encoder)
    assert (again.version.name, again.added, encoder.calls) == ("000001", 0, [])


def test_films_are_added_behind_the_others_and_a_changed_one_takes_its_place(folder: Path) -> None:
    made(folder, films(30))
    changed = film(3, text="quite another story", genres=("Western",))
    built = made(folder, [film(1), changed, film(90), Film("empty")], append=True)
    assert (built.added, built.replaced, built.unchanged, built.without_text) == (1, 1, 1, 1)
    assert ids(folder) == [*(one.id for one in films(30)), "f90"]
    index = held(folder)
    assert index.vectors.vectors[3] == pytest.approx(Words().encode(["quite another story"])[0], abs=1e-6)
    rows = index.films.rows_with(SearchFilter(("western",)))
    assert rows is not None
    assert list(rows) == [3]
    assert made(folder, [film(1), changed, film(90)], "again", append=True).version.name == built.version.name


def test_a_film_without_a_text_is_known_by_its_title(folder: Path) -> None:
    made(folder, [Film("a", title="w1 w2"), film(3)])
    assert held(folder).vectors.vectors[0] == pytest.approx(Words().encode(["w1 w2"])[0], abs=1e-6)


def test_repeated_texts_are_counted(folder: Path) -> None:
    built = made(folder, [film(1), film(2, text=f" {film(1).text.upper()} ")])
    assert (built.version.manifest.count, built.version.manifest.repeated) == (2, 1)


@pytest.mark.parametrize(
    ("some", "options", "said"),
    [
        ([], {}, "no films to index"),
        ([film(1), film(2), film(1)], {}, "the id 'f1' is used twice"),
        ([film(1)], {"kind": "tree"}, "no kind of index 'tree'; kinds: auto, flat"),
        ([film(1)], {"kind": "ivf"}, "needs 39 films"),
        ([film(1)], {"append": True}, "has no index to add to"),
    ],
)
def test_what_cannot_be_built_is_refused(folder: Path, some: list[Film], options: dict[str, Any], said: str) -> None:
    with pytest.raises(InvalidIndex, match=said):
        made(folder, some, **options)
    assert current(folder) is None


def test_nothing_is_added_to_another_encoders_index(folder: Path) -> None:
    made(folder, films(3))
    other = Words()
    other.name = "others"
    with pytest.raises(InvalidIndex, match=r"was built with words .* but the encoder here is others"):
        made(folder, films(4), append=True, encoder=other)


def test_one_version_before_is_kept_for_whoever_is_about_to_open_it(folder: Path) -> None:
    for count in (3, 4, 5):
        made(folder, films(count), append=count > 3)
    assert sorted(path.name for path in (folder / "versions").iterdir()) == ["000002", "000003"]


# --- an end in the middle ---


def start(folder: Path, count: int, first: int, mode: str = "build") -> "subprocess.Popen[str]":
    command = [sys.executable, "-c", SLOW_BUILD, str(folder), str(count), str(first), mode]
    return subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)


def kill_after(process: "subprocess.Popen[str]", line: str) -> None:
    with process:
        assert process.stdout
        for said in process.stdout:
            if said.strip() == line:
                break
        else:
            raise AssertionError(f"it ended without saying {line!r}")
        process.kill()
        assert process.wait(30) == -signal.SIGKILL


def test_a_build_that_was_killed_goes_on_behind_its_last_whole_chunk(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kill_after(start(folder, 300, 0), "encoded 60")
    assert current(folder) is None
    monkeypatch.setattr(builder, "_CHUNK", 20)
    encoder = Words()
    made(folder, films(300), "300 from 0", encoder=encoder)
    assert sum(encoder.calls) <= 240
    assert ids(folder) == [one.id for one in films(300)]
    assert held(folder).vectors.vectors == pytest.approx(Words().encode([one.text for one in films(300)]), abs=1e-6)
    assert not (folder / "work").exists()


def test_while_films_are_added_and_after_a_kill_the_old_index_answers(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made(folder, films(40))
    kill_after(start(folder, 200, 30, "append"), "encoded 40")
    assert ids(folder) == [one.id for one in films(40)]
    monkeypatch.setattr(builder, "_CHUNK", 20)
    encoder = Words()
    built = made(folder, films(200, 30), "200 from 30", append=True, encoder=encoder)
    assert (built.added, built.unchanged) == (190, 10)
    assert sum(encoder.calls) <= 160
    assert ids(folder) == [one.id for one in films(230)]


@pytest.mark.parametrize("step", ["_files", "facts", "publish", "_prune"])
def test_an_end_while_the_version_is_put_together_loses_nothing(
    folder: Path, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    made(folder, films(10))

    def dies(*arguments: object) -> object:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(builder if hasattr(builder, step) else versions, step, dies)
        with pytest.raises(KeyboardInterrupt):
            made(folder, films(10, 5), "more", append=True)
    put_in_force = step == "_prune"
    assert len(held(folder).vectors) == (15 if put_in_force else 10)
    encoder = Words()
    made(folder, films(10, 5), "more", append=True, encoder=encoder)
    assert sum(encoder.calls) == 0  # what was encoded is not encoded again
    assert ids(folder) == [one.id for one in films(15)]
    assert [path.name for path in (folder / "versions").glob("*.new")] == []


def test_an_unfinished_build_of_something_else_is_not_mixed_in(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patched:
        patched.setattr(builder, "_files", lambda *arguments: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            made(folder, films(10), "first")
    with pytest.raises(InvalidIndex, match="unfinished build of other data"):
        made(folder, films(5, 50), "second")
    made(folder, films(5, 50), "second", overwrite=True)
    assert ids(folder) == [one.id for one in films(5, 50)]


def test_two_builds_at_once_are_one_too_many_unless_the_second_waits(folder: Path) -> None:
    with start(folder, 200, 0) as process:
        deadline = time.monotonic() + 60
        while not (folder / "work").exists() and time.monotonic() < deadline:
            time.sleep(0.01)
        with pytest.raises(InvalidIndex, match="is running"):
            made(folder, films(3))
        built = made(folder, films(3), wait=True)
        assert (process.wait(30), built.version.name) == (0, "000002")


# --- damage ---


@pytest.mark.parametrize("name", ["vectors.f32", "films.sqlite", "index.faiss", "manifest.json"])
@pytest.mark.parametrize("harm", ["flip", "cut", "remove"])
def test_a_damaged_file_is_refused_by_name(folder: Path, name: str, harm: str) -> None:
    path = made(folder, films(60), kind="hnsw").version.path / name
    content = path.read_bytes()
    middle = len(content) // 2
    if harm == "remove":
        path.unlink()
    else:
        flipped = content[:middle] + bytes([content[middle] ^ 1]) + content[middle + 1 :]
        path.write_bytes(flipped if harm == "flip" else content[:middle])
    with pytest.raises(InvalidIndex, match=name):
        held(folder)


def test_an_index_of_another_encoder_is_refused(folder: Path) -> None:
    made(folder, films(3))
    with pytest.raises(InvalidIndex, match="built with words"):
        load_index(folder, "all-MiniLM-L6-v2", 384)
    with pytest.raises(InvalidIndex, match="vector length 48"):
        load_index(folder, "words", 64)


def test_an_empty_folder_says_how_to_fill_it(tmp_path: Path) -> None:
    with pytest.raises(InvalidIndex, match="build one with"):
        held(tmp_path)


def test_a_half_written_pointer_is_no_version(folder: Path) -> None:
    made(folder, films(3))
    (folder / "current").write_text("000001")
    with pytest.raises(InvalidIndex, match="current is damaged"):
        held(folder)


def test_vectors_on_the_disk_need_no_more_than_their_numbers(folder: Path) -> None:
    version = made(folder, films(64)).version
    assert (version.path / "vectors.f32").stat().st_size == 64 * Words.dimension * np.dtype(np.float32).itemsize
