"""The public benchmark BTZSC: its data format, its metric, and its data from the hub."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, ClassVar

import pytest

from eval.btzsc import BTZSC, MACRO_F1, REVISION, read
from eval.metrics import METRICS, indicator
from prompts.errors import InvalidDataset, UnknownName
from tests.eval.btzsc_data import COLUMNS, TEXTS, rows_of, write, write_all

ROOT = Path(__file__).parents[2]
Rows = list[dict[str, Any]]
# By the functions load_btzsc_dataset and compute_metrics of the package btzsc 0.1.2 on the data of btzsc_data.py:
# places of the true labels, places of some predicted labels, and their macro-F1.
PACKAGE = {
    "imdb": ([0, 0, 1, 0], [0, 1, 1, 0], 0.7333333333333334),
    "emotiondair": ([0, 0, 1, 2], [0, 1, 1, 0], 0.38888888888888884),
    "agnews": ([0, 0, 1, 1, 2, 0, 1, 1], [0, 2, 1, 1, 2, 2, 0, 2], 0.48888888888888893),
}
# The same for the first label as the prediction of every text.
FIRST_LABEL = {"imdb": 0.42857142857142855, "emotiondair": 0.2222222222222222, "agnews": 0.1818181818181818}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write_all(tmp_path / "data")


# --- the data format ---


@pytest.mark.parametrize("name", PACKAGE)
def test_texts_labels_and_truths_are_those_of_the_package(folder: Path, name: str) -> None:
    dataset = read(folder, name).family.dataset
    hypotheses, texts = TEXTS[name]
    assert dataset.taxonomy.names == tuple(hypotheses.values())
    assert not any(label.description for label in dataset.taxonomy.labels)
    assert (dataset.taxonomy.multi, dataset.taxonomy.allow_none) == (False, False)
    assert [example.text.body for example in dataset.examples] == [text for text, _ in texts]
    places = [dataset.taxonomy.names.index(label) for example in dataset.examples for label in example.labels]
    assert places == PACKAGE[name][0]


def test_texts_without_a_true_hypothesis_and_with_several_are_counted(folder: Path) -> None:
    assert read(folder, "imdb").notes == ()
    assert read(folder, "agnews").notes == (
        "agnews: texts without a true hypothesis: 1 of 8; they count as the first label.",
        "agnews: texts with several true hypotheses: 1 of 8; the first one counts.",
    )


def test_equal_texts_have_their_own_ids_and_one_group(folder: Path) -> None:
    examples = read(folder, "agnews").family.dataset.examples
    assert [example.id for example in examples] == [str(number) for number in range(1, 9)]
    first, second = (example.group for example in examples if example.text.body.startswith("The goalkeeper"))
    assert first == second
    assert len({example.group for example in examples}) == 7


def test_a_single_file_and_several_parts_are_read_too(folder: Path) -> None:
    rows = rows_of("agnews")
    expected = read(folder, "agnews").family.dataset.examples
    write(folder / "one" / "agnews.parquet", rows, COLUMNS[:3])
    for part, some in enumerate((rows[:7], rows[7:])):  # the boundary is between two rows of a text
        write(folder / "two" / "agnews" / f"test-0000{part}-of-00002.parquet", some)
    found = [read(folder / kind, "agnews").family for kind in ("one", "two")]
    assert [family.dataset.examples for family in found] == [expected, expected]
    assert [family.data.name for family in found] == ["agnews.parquet", "agnews"]


def _change(**cells: Any) -> Callable[[Rows], Rows]:
    """Change cells of the fifth row, which is the second one of the second text."""
    return lambda rows: [*rows[:4], rows[4] | cells, *rows[5:]]


def _in_another_order(rows: Rows) -> Rows:
    return [*rows[:4], rows[5], rows[4], *rows[6:]]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (_change(text="Another text."), "row 5: another text begins before the first hypothesis occurs again"),
        (_change(hypothesis="It rains"), "row 4: the text does not have the 3 hypotheses of the first text"),
        (_in_another_order, "row 4: the text does not have the 3 hypotheses of the first text in the same order"),
        (lambda rows: [*rows[:4], *rows[5:]], "row 4: the text does not have the 3 hypotheses"),
        (lambda rows: rows[:-1], "row 22: the text does not have the 3 hypotheses"),
        (lambda rows: [*rows[:3], *rows[4:]], "row 4: another text begins"),
        (_change(labels=2), "row 5: 'labels' is 2; it must be 0 or 1"),
        (_change(labels=None), "row 5: 'labels' is empty; it must be 0 or 1"),
        (lambda rows: [row | {"labels": "entailment"} for row in rows], "row 1: 'labels' is 'entailment'; it must be"),
        (lambda rows: [row | {"labels": 1.0} for row in rows], "row 1: 'labels' is 1.0; it must be 0 or 1"),
        (_change(text=None), "row 5: 'text' is empty; it must be a string"),
        (lambda rows: [row | {"hypothesis": 7} for row in rows], "row 1: 'hypothesis' is 7; it must be a string"),
        (lambda rows: rows[::3], "must have rows of at least two hypotheses for its first text"),
        (lambda rows: rows[:0], "must have rows of at least two hypotheses for its first text"),
    ],
)
def test_rows_that_are_no_pairs_are_named(tmp_path: Path, change: Callable[[Rows], Rows], said: str) -> None:
    write(tmp_path / "agnews.parquet", change(rows_of("agnews")))
    with pytest.raises(InvalidDataset) as error:
        read(tmp_path, "agnews")
    assert said in str(error.value)
    assert "agnews.parquet" in str(error.value)


def test_missing_columns_and_files_and_damaged_files_are_named(folder: Path) -> None:
    write(folder / "massive.parquet", rows_of("imdb"), ("text", "labels", "label_text"))
    with pytest.raises(InvalidDataset, match=r"massive\.parquet has no column 'hypothesis'; columns: text, labels"):
        read(folder, "massive")
    with pytest.raises(InvalidDataset, match=rf"has no data set 'capsotu': .*hf download btzsc/btzsc .*{REVISION}"):
        read(folder, "capsotu")
    path = folder / "imdb" / "test-00000-of-00001.parquet"
    path.write_bytes(path.read_bytes()[:-60])
    with pytest.raises(InvalidDataset, match="as Parquet: it is damaged or cut off"):
        read(folder, "imdb")


# --- the metric and the published values ---


@pytest.mark.parametrize("name", PACKAGE)
def test_the_metric_is_that_of_the_package(name: str) -> None:
    true, predicted, expected = PACKAGE[name]
    labels = list(TEXTS[name][0])
    matrices = [
        indicator([[labels[place]] for place in places], labels) for places in (true, predicted, [0] * len(true))
    ]
    assert MACRO_F1(matrices[0], matrices[1]) == pytest.approx(expected, abs=1e-12)
    assert MACRO_F1(matrices[0], matrices[2]) == pytest.approx(FIRST_LABEL[name], abs=1e-12)


def test_a_label_that_is_neither_true_nor_predicted_does_not_count_but_a_missing_answer_does() -> None:
    true = indicator([["a"], ["a"], ["b"]], "abc")
    right = indicator([["a"], ["a"], ["b"]], "abc")
    assert MACRO_F1(true, right) == 1
    assert METRICS["macro-F1"](true, right) == pytest.approx(2 / 3)
    unanswered = indicator([["a"], ["a"], []], "abc")
    assert MACRO_F1(true, unanswered) == 0.5  # F1 of a: 1; of b: 0


def test_the_published_models_have_a_value_for_each_data_set_and_the_known_means() -> None:
    models = {model.name: model.values for model in BTZSC.published()}
    assert all(values.keys() == set(BTZSC.data_sets) for values in models.values())
    means = {name: round(sum(values.values()) / len(values), 3) for name, values in models.items()}
    assert means["all-MiniLM-L6-v2"] == 0.366
    assert means["e5-base-v2"] == 0.597
    assert means["Qwen3-8B"] == 0.665
    assert max(means, key=means.__getitem__) == "Qwen3-Reranker-8B"


def test_data_sets_are_chosen_by_name_and_by_group() -> None:
    assert len(BTZSC.chosen([])) == len(set(BTZSC.data_sets)) == 22
    assert BTZSC.chosen(["agnews", "emotion", "imdb"]) == ["imdb", "emotiondair", "empathetic", "agnews"]
    with pytest.raises(UnknownName, match="there is no data set 'agnew'; did you mean 'agnews'"):
        BTZSC.chosen(["agnew"])


# --- the hub ---


class _Hub(BaseHTTPRequestHandler):
    """The routes of Hugging Face's hub that a download of these data needs; ``files`` by their paths."""

    files: ClassVar[Mapping[str, bytes]] = {}

    def do_GET(self) -> None:
        self._answer(True)

    def do_HEAD(self) -> None:
        self._answer(False)

    def _answer(self, with_body: bool) -> None:
        path = self.path.partition("?")[0]
        api, whole = "/api/datasets/btzsc/btzsc", f"/datasets/btzsc/btzsc/resolve/{REVISION}/"
        if path == f"{api}/revision/{REVISION}":
            body = json.dumps({"id": "btzsc/btzsc", "sha": REVISION}).encode()
        elif path == f"{api}/tree/{REVISION}":
            tree = [
                {"type": "file", "path": name, "size": len(data), "oid": "0" * 40} for name, data in self.files.items()
            ]
            body = json.dumps(tree).encode()
        elif (name := path.removeprefix(whole)) in self.files:
            body = self.files[name]
        else:
            return self.send_error(404)
        self.send_response(200)
        for head, value in (
            ("Content-Length", str(len(body))),
            ("X-Repo-Commit", REVISION),
            ("ETag", f'"{hash(body)}"'),
        ):
            self.send_header(head, value)
        self.end_headers()
        if with_body:
            self.wfile.write(body)
        return None

    def log_message(self, format: str, *arguments: Any) -> None:
        pass


@pytest.fixture
def hub(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """A hub with the test's data; its address."""
    files = {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*.parquet")}
    monkeypatch.setattr(_Hub, "files", files)
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Hub)
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


def _download(away: Path, *names: str, endpoint: str, offline: str = "0") -> subprocess.CompletedProcess[str]:
    """Download in a new process, because the library reads its environment when it is imported."""
    script = "import sys; from eval.btzsc import download; print(download(sys.argv[1:]))"
    environment = {
        **os.environ, "HF_HUB_OFFLINE": offline, "HF_ENDPOINT": endpoint, "HF_HOME": str(away / "hub"),
        "PYTHONPATH": str(ROOT), "HF_HUB_DISABLE_XET": "1",
    }  # fmt: skip
    command = [sys.executable, "-c", script, *names]
    return subprocess.run(command, cwd=away, env=environment, capture_output=True, text=True, check=False)


def test_data_come_from_the_hub_and_then_from_its_cache(away: Path, folder: Path, hub: str) -> None:
    first = _download(away, "imdb", endpoint=hub)
    assert first.returncode == 0, first.stderr
    found = Path(first.stdout.strip())
    assert read(found, "imdb").family.dataset == read(folder, "imdb").family.dataset
    assert not (found / "agnews").exists()
    assert _download(away, "imdb", endpoint="http://127.0.0.1:9").stdout == first.stdout
    assert _download(away, "imdb", endpoint=hub, offline="1").stdout == first.stdout
    forbidden = _download(away, "imdb", "agnews", endpoint=hub, offline="1").stderr.splitlines()[-1]
    assert "(HF_HUB_OFFLINE is set, and the hub's cache does not have all of it); set HF_HUB_OFFLINE=0" in forbidden


def test_a_hub_that_cannot_be_reached_is_an_error_that_says_what_to_do(away: Path) -> None:
    failed = _download(away, "imdb", endpoint="http://127.0.0.1:9")
    assert failed.returncode == 1
    said = failed.stderr.splitlines()[-1]
    assert "the data of BTZSC cannot be downloaded (" in said
    assert "Connection refused" in said
    assert "try again where http://127.0.0.1:9 can be reached, or run `hf download btzsc/btzsc" in said
    assert "give it with --local" in said
