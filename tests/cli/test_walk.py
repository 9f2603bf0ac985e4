"""A command touches few files: those that a text enters between ``main.py classify`` and the classifier's answer."""

import ast
from pathlib import Path

from click.testing import CliRunner

from main import main
from tests.support.walk import check_at_most, entered_files

CLASSIFY = Path(__file__).parents[2] / "cli" / "classify.py"
TEXT = "A smith forges a magic sword to free her kingdom."
MAX_STOPS = 8  # files that receive the text
MAX_FILES = 23  # with settings, taxonomies and weights, which a command reads once


def test_a_text_passes_through_few_files() -> None:
    with entered_files(receiving=TEXT) as files:
        result = CliRunner().invoke(main, ["classify", TEXT])
    assert result.stdout.startswith("Adventure, Fantasy"), result.output
    assert files[:2] == ["cli/arguments.py", "cli/classify.py"]
    assert not [file for file in files if file.startswith("service/")]
    check_at_most(files, MAX_STOPS)


def test_the_command_enters_few_files_without_imports() -> None:
    with entered_files() as files:
        assert CliRunner().invoke(main, ["classify", TEXT]).exit_code == 0
    check_at_most(files, MAX_FILES)


def test_an_answer_in_this_process_needs_marquee_and_not_the_service() -> None:
    functions = {node.name: node for node in ast.parse(CLASSIFY.read_text()).body if isinstance(node, ast.FunctionDef)}
    imports = [node for node in ast.walk(functions["_classify_here"]) if isinstance(node, ast.ImportFrom)]
    assert {(node.module or "").partition(".")[0] for node in imports} == {"marquee"}
    factory = [name.name for node in imports if node.module == "marquee.factory" for name in node.names]
    assert sorted(factory) == ["RequestOptions", "classifier_of"]
