"""`main.py index`, `similar`, `map` and `evaluate-similar`, with the real MiniLM over a few films."""

import json
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from main import main
from tests.support.process import ROOT

pytestmark = pytest.mark.usefixtures("away")
PLOTS = {
    "Space": ("Science Fiction", "A crew aboard a spaceship is hunted by an alien creature."),
    "Ship": ("Science Fiction", "Astronauts far from Earth fight a monster on their vessel."),
    "Ranch": ("Western", "Cowboys defend a ranch from cattle thieves."),
    "Sheriff": ("Western", "A sheriff faces outlaws in a dusty frontier town."),
    "Wedding": ("Romance", "Two rivals fall in love while planning a wedding."),
    "Letters": ("Romance", "A widow finds love again through letters from a stranger."),
    "Trenches": ("War", "Young soldiers lose their illusions in the trenches."),
    "Siege": ("War", "A platoon holds a ruined city against a siege."),
    "Haunting": ("Horror", "A family moves into a house haunted by a child's ghost."),
    "Curse": ("Horror", "Students wake an ancient curse in a cellar."),
    "Heist": ("Crime", "Thieves plan to rob a casino."),
    "Trial": ("Crime", "A lawyer defends a man accused of murder."),
}


def call(*arguments: str) -> Result:
    return CliRunner().invoke(main, arguments)


def write(path: Path, titles: list[str]) -> Path:
    rows = [
        {"id": title.lower(), "title": title, "year": 2000, "genres": [PLOTS[title][0]], "description": PLOTS[title][1]}
        for title in titles
    ]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def test_films_are_indexed_asked_for_added_to_and_drawn(away: Path) -> None:
    titles = list(PLOTS)
    write(away / "films.jsonl", titles[:10])
    made = call("index", "films.jsonl", "--out", "ix")
    assert made.exit_code == 0, made.output
    assert "10 films, flat, exact" in made.stdout
    found = call("similar", "Cosmonauts meet a hostile life form on a rocket.", "--index", "ix", "--k", "2", "--json")
    assert {film["title"] for film in json.loads(found.stdout)["films"]} == {"Space", "Ship"}
    assert call("similar", "--id", "ranch", "--index", "ix").stdout.splitlines()[1].split()[1] == "Sheriff"

    write(away / "more.jsonl", titles[8:])
    added = call("index", "more.jsonl", "--out", "ix", "--append")
    assert "12 films" in added.stdout
    assert "2 films are unchanged" in added.stderr

    assert call("map", "--index", "ix", "--out", "map.html", "--method", "pca").exit_code == 0
    page = (away / "map.html").read_text()
    assert all(title in page for title in titles)


def test_systems_are_measured_side_by_side(away: Path) -> None:
    write(away / "films.jsonl", list(PLOTS))
    reworded = {"id": "heist", "text": "Crooks prepare to steal from a gambling house."}
    (away / "reworded.jsonl").write_text(json.dumps(reworded) + "\n")
    done = call("evaluate-similar", "films.jsonl", "--paraphrases", "reworded.jsonl", "--out", "found.json")
    assert done.exit_code == 0, done.output
    assert re.findall(r"^\| (\S+) \|", done.stdout, re.MULTILINE) == ["system", "tfidf", "minilm"]
    systems = json.loads((away / "found.json").read_text())["systems"]
    assert systems["minilm"]["reworded"]["R@1"] == 1
    assert systems["minilm"]["share@10"]["chance"] == pytest.approx(1 / 11)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("index", "none.jsonl", "--out", "ix"), "cannot read none.jsonl"),
        (("similar", "x", "--index", "none"), "none has no index; build one with `main.py index"),
        (("similar", "x", "--id", "y"), "give TEXT or --id, not both"),
        (("similar", " "), "there is nothing to compare"),
        (("evaluate-similar", "films.jsonl"), "need at least eleven"),
        (("evaluate-similar", "films.jsonl", "--systems", "minlm"), "need at least eleven"),
    ],
)
def test_errors_are_one_line(away: Path, arguments: tuple[str, ...], said: str) -> None:
    write(away / "films.jsonl", ["Space"])
    result = call(*arguments)
    assert result.exit_code != 0
    assert said in result.stderr
    assert "Traceback" not in result.stderr


def test_the_command_killed_in_the_middle_goes_on_the_next_time(away: Path) -> None:
    rows = [{"id": f"f{n}", "title": "", "description": f"film {n}", "genres": []} for n in range(2_000)]
    (away / "many.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    command = [sys.executable, str(ROOT / "main.py"), "index", "many.jsonl", "--out", "ix"]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True, cwd=away) as process:
        assert process.stderr
        for line in process.stderr:
            if line.startswith("encoded 1,024"):
                break
        process.kill()
        assert process.wait(60) == -signal.SIGKILL
    assert not (away / "ix" / "current").exists()
    again = call("index", "many.jsonl", "--out", "ix")
    assert "encoded 1,024" not in again.stderr
    assert "2,000 films" in again.stdout
