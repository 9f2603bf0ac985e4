"""Own folders of taxonomies and prompts: changes are found without a restart, and a faulty file harms no other."""

import logging
import os
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from prompts import folders, registry
from prompts.errors import InvalidPrompt, InvalidSetting, InvalidTaxonomy, UnknownName
from prompts.taxonomy import Taxonomy
from prompts.text import Text

PROMPT = "{# Letters. #}\n--- system ---\n%s\n--- user ---\n%s\n"


@pytest.fixture(autouse=True)
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder of own taxonomies and prompts, checked at every call."""
    monkeypatch.setattr(folders, "_CHECK_SECONDS", 0.0)
    folder = tmp_path / "own"
    folder.mkdir()
    registry.use_folders(folder, folder)
    yield folder
    registry.use_folders(None, None)


def write(path: Path, content: str, age: float = 60.0) -> None:
    """Write a file that was last changed some seconds ago."""
    path.write_text(content, encoding="utf-8")
    os.utime(path, (time.time() - age,) * 2)


def test_a_new_a_changed_and_a_removed_file_are_found(own: Path) -> None:
    with pytest.raises(UnknownName, match="parcels"):
        registry.taxonomy("parcels")
    before = registry.versions()
    write(own / "parcels.yaml", "labels: [delay, damage]")
    assert registry.taxonomy("parcels").names == ("delay", "damage")
    write(own / "parcels.yaml", "labels: [delay, refund]", age=30)
    assert registry.taxonomy("parcels").names == ("delay", "refund")
    assert registry.versions() != before
    (own / "parcels.yaml").unlink()
    with pytest.raises(UnknownName, match="parcels"):
        registry.taxonomy("parcels")


def test_an_unchanged_folder_is_not_read_again(own: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(own / "parcels.yaml", "labels: [delay]")
    found, version = registry.taxonomies(), registry.versions()
    monkeypatch.setattr(Path, "read_bytes", lambda path: pytest.fail(f"{path} was read"))
    assert registry.taxonomies() is found
    assert registry.versions() == version


def test_an_own_taxonomy_replaces_a_bundled_one_of_its_name(own: Path) -> None:
    write(own / "tickets.yml", "labels: [hardware, software]")
    assert registry.taxonomy("tickets").names == ("hardware", "software")
    assert registry.taxonomies().own == {"tickets": own / "tickets.yml"}
    assert registry.taxonomy("tmdb").subject == "film"


@pytest.mark.parametrize("name", ["parcels.yaml", "tickets.yaml"])
def test_a_faulty_file_is_skipped_and_reported(own: Path, name: str, caplog: pytest.LogCaptureFixture) -> None:
    write(own / name, "labels: [a, a]")
    write(own / "good.yaml", "labels: [a, b]")
    for _ in range(3):
        assert registry.taxonomy("good").names == ("a", "b")
    stem = name.removesuffix(".yaml")
    with pytest.raises(InvalidTaxonomy, match="'a' occurs twice"):  # not the bundled labels of the same name
        registry.taxonomy(stem)
    assert stem not in registry.taxonomies()
    assert [f"'{stem}'" in message for message in registry.skipped()] == [True]
    assert caplog.text.count("skipped: ") == 1


def test_a_file_that_becomes_invalid_keeps_its_last_valid_content(own: Path, caplog: pytest.LogCaptureFixture) -> None:
    write(own / "parcels.yaml", "labels: [delay, damage]")
    assert registry.taxonomy("parcels").names == ("delay", "damage")
    write(own / "parcels.yaml", "labels: [delay", age=30)
    assert registry.taxonomy("parcels").names == ("delay", "damage")
    assert "the last valid version stays: parcels.yaml:1 is not YAML" in caplog.text
    assert len(registry.skipped()) == 1
    write(own / "parcels.yaml", "labels: [delay]", age=20)
    assert registry.taxonomy("parcels").names == ("delay",)
    assert registry.skipped() == []


def test_a_file_that_is_being_written_is_left_for_the_next_check(own: Path) -> None:
    registry.taxonomies()
    write(own / "parcels.yaml", "labels:\n- delay\n", age=0)
    assert "parcels" not in registry.taxonomies()
    write(own / "parcels.yaml", "labels:\n- delay\n- damage\n", age=2)
    assert registry.taxonomy("parcels").names == ("delay", "damage")
    write(own / "parcels.yaml", "labels:\n- dela\n", age=0)
    assert registry.taxonomy("parcels").names == ("delay", "damage")


def test_a_file_becomes_readable(own: Path) -> None:
    write(own / "parcels.yaml", "labels: [delay]")
    (own / "parcels.yaml").chmod(0)
    if os.access(own / "parcels.yaml", os.R_OK):
        pytest.skip("this user may read every file")
    assert "cannot read" in registry.skipped()[0]
    (own / "parcels.yaml").chmod(0o600)
    assert registry.taxonomy("parcels").names == ("delay",)


def test_a_mounted_config_map_is_swapped_as_a_whole(own: Path, tmp_path: Path) -> None:
    """Kubernetes: the files are links through ``..data``, which leads to another folder after a change."""
    for version, label in (("..1", "delay"), ("..2", "damage")):
        (own / version).mkdir()
        write(own / version / "parcels.yaml", f"labels: [{label}]")
    (own / "..data").symlink_to("..1")
    (own / "parcels.yaml").symlink_to("..data/parcels.yaml")
    assert registry.taxonomy("parcels").names == ("delay",)
    (tmp_path / "new").symlink_to("..2")
    (tmp_path / "new").rename(own / "..data")
    assert registry.taxonomy("parcels").names == ("damage",)


def test_files_of_other_kinds_and_hidden_files_are_ignored(own: Path) -> None:
    for name in ("README.md", ".parcels.yaml", ".#x.yaml", "parcels.yaml.bak", "parcels.json"):
        write(own / name, "labels: [a")
    (own / "folder.yaml").mkdir()
    assert registry.taxonomies().own == {}
    assert registry.skipped() == []


def test_of_two_files_with_one_name_the_second_is_reported(own: Path) -> None:
    write(own / "parcels.yaml", "labels: [a]")
    write(own / "parcels.yml", "labels: [b]")
    assert registry.taxonomy("parcels").names == ("a",)
    assert [str(own / "parcels.yml") in message for message in registry.skipped()] == [True]


@pytest.mark.parametrize("is_file", [False, True])
def test_a_folder_that_does_not_exist_is_an_error_at_the_start(tmp_path: Path, is_file: bool) -> None:
    place = tmp_path / "none"
    if is_file:
        place.write_text("")
    registry.use_folders(place, None)
    with pytest.raises(InvalidSetting, match=rf"{place} cannot be read as a folder .*give an existing folder"):
        registry.taxonomies()


def test_a_folder_that_is_lost_later_changes_nothing(own: Path, caplog: pytest.LogCaptureFixture) -> None:
    write(own / "parcels.yaml", "labels: [delay]")
    assert "parcels" in registry.taxonomies()
    own.rename(own.with_name("away"))
    for _ in range(3):
        assert registry.taxonomy("parcels").names == ("delay",)
    assert caplog.text.count("cannot be listed") == 1


def test_changes_are_logged(own: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    write(own / "parcels.yaml", "labels: [delay]")
    registry.taxonomies()
    write(own / "parcels.yaml", "labels: [damage]", age=30)
    registry.taxonomies()
    (own / "parcels.yaml").unlink()
    registry.taxonomies()
    words = [message for message in caplog.messages if "parcels" in message]
    assert [message.partition(":")[0] for message in words] == [str(own), "read again", "removed"]


# --- prompts ---


def test_an_own_prompt_is_used_by_its_kind_and_by_the_subject_of_a_taxonomy(own: Path) -> None:
    letters = Taxonomy("letters", Taxonomy.of(["delay", "damage"]).labels, subject="letter")
    assert registry.prompt_for(Text("x"), letters).kind == "text"
    write(own / "letter.v1.jinja", PROMPT % ("{{ taxonomy.name }}", "{{ text }}"))
    write(own / "letter.v2.jinja", PROMPT % ("{{ taxonomy.name }}!", "{{ text }}"))
    assert registry.prompt_for(Text("x"), letters).name == "letter.v2"
    assert registry.prompt_for(Text("", "x"), letters).name == "letter.v2"


def test_an_own_version_of_a_bundled_kind_is_its_default(own: Path) -> None:
    write(own / "plot.v7.jinja", PROMPT % ("{% set fence = 'plot' %}{% include 'rules.v1.jinja' %}", "{{ text }}"))
    assert registry.prompt("plot").name == "plot.v7"
    assert registry.prompt("plot.v1").name == "plot.v1"


@pytest.mark.parametrize(
    ("system", "user", "said"),
    [
        ("{{ txt }}", "{{ text }}", "'txt' is undefined"),
        ("{{ text }}", "{{ text }}", "section system: 'text' is undefined"),
        ("x", "x", "it leaves the text out"),
        ("{% include 'nope.jinja' %}", "{{ text }}", r"includes 'nope\.jinja'; there is: .*rules"),
        ("{{ 1 / 0 }}", "{{ text }}", "division by zero"),
        ("{{ x | nope }}", "{{ text }}", "No filter named 'nope'"),
    ],
)
def test_a_prompt_that_could_not_be_rendered_is_skipped(own: Path, system: str, user: str, said: str) -> None:
    write(own / "bad.v1.jinja", PROMPT % (system, user))
    write(own / "good.v1.jinja", PROMPT % ("{{ taxonomy.name }}", "{{ title }} {{ text }}"))
    assert registry.prompt("good").name == "good.v1"
    with pytest.raises(InvalidPrompt, match=said):
        registry.prompt("bad")
