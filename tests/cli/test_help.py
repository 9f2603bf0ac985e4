"""`--help` of every command: groups, short lines, examples that are accepted, and only its own options."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator

import click
import pytest
from click.testing import CliRunner

from cli.training_kinds import LORA, SETTINGS
from eval.baselines.registry import BASELINES, kind_of
from main import main
from tests.test_docs import check_options
from training.lora.config import LoraConfig

GROUPS = ["Use", "Evaluate", "Train", "Operate", "Data"]
COLUMNS = 80


def commands(group: click.Group = main, before: str = "") -> Iterator[tuple[str, click.Command]]:
    for name, command in group.commands.items():
        yield f"{before}{name}", command
        if isinstance(command, click.Group):
            yield from commands(command, f"{before}{name} ")


COMMANDS = dict(commands())


def help_of(name: str) -> str:
    result = CliRunner().invoke(main, [*name.split(), "--help"])
    assert result.exit_code == 0, result.output
    return result.stdout


def test_the_commands_are_listed_in_five_groups() -> None:
    text = help_of("")
    assert re.findall(r"^([A-Z]\w+):$", text, re.MULTILINE) == ["Options", *GROUPS]
    for name, command in main.commands.items():
        assert f"\n  {name:16}  {command.short_help}\n" in text, name


@pytest.mark.parametrize("name", COMMANDS)
def test_a_command_has_a_short_line_and_fits_80_columns(name: str) -> None:
    short = COMMANDS[name].short_help or ""
    assert 10 < len(short) < 60
    assert max(map(len, help_of(name).splitlines())) <= COLUMNS
    parent = help_of(name.rpartition(" ")[0])
    assert re.search(rf"^  {re.escape(name.split()[-1])} +{re.escape(short)}$", parent, re.MULTILINE)


@pytest.mark.parametrize("name", COMMANDS)
def test_a_command_has_examples_that_it_accepts(name: str) -> None:
    lines = re.findall(r"^ +main\.py (.+)$", help_of(name).partition("Examples:")[2], re.MULTILINE)
    assert any(shlex.split(line)[: len(name.split())] == name.split() for line in lines)
    for line in lines:
        check_options(main, tuple(shlex.split(line)))


# --- train ---


def test_every_kind_of_model_is_a_subcommand() -> None:
    train = main.commands["train"]
    assert isinstance(train, click.Group)
    assert set(train.commands) == {*BASELINES, "lora", "matcher"}


@pytest.mark.parametrize("name", BASELINES)
def test_a_kind_has_the_options_of_its_settings_and_shows_their_defaults(name: str) -> None:
    defaults = vars(kind_of(name).settings())
    named = {parameter.name for parameter in COMMANDS[f"train {name}"].params}
    assert named & (SETTINGS.keys() | {"parts"}) == defaults.keys()
    text = " ".join(help_of(f"train {name}").split())
    for setting, value in defaults.items():
        if value and not isinstance(value, tuple) and setting != "base":
            option = text.partition(f" --{setting.replace('_', '-')} ")[2]
            assert f"[default: {value}]" in option[:200], setting


def test_the_options_of_an_adapter_have_the_defaults_of_its_configuration() -> None:
    config = vars(LoraConfig())
    assert {name: config[name] for name in LORA} == LORA


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("tfidf-lr", "--data", "x", "--rank", "3"), "tfidf-lr has no option --rank; it is for lora"),
        (("prior", "--data", "x", "--ngrams", "3"), "it is for tfidf-nb, tfidf-svm, tfidf-knn, tfidf-lr, hybrid"),
        (("lora", "--data", "x", "--more-texts", "y"), "lora has no option --more-texts; it is for prior, "),
        (("lora", "--data", "x", "--decode", "global"), "lora has no option --decode; it is for prior, "),
        (("tfidf-lr", "--data", "x", "--ngram", "3"), "No such option '--ngram'. Did you mean"),
        (("tfidf-l", "--data", "x"), "No such command 'tfidf-l'. (Did you mean one of: 'tfidf-lr'"),
    ],
)
def test_an_option_of_another_kind_is_an_error_with_a_hint(arguments: tuple[str, ...], said: str) -> None:
    result = CliRunner().invoke(main, ["train", *arguments])
    assert result.exit_code == 2
    assert said in result.stderr.splitlines()[-1]
