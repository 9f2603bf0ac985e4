"""The picture of a catalogue: where its points lie, and a page that needs nothing beside it."""

import base64
import hashlib
import json
import re
from html.parser import HTMLParser
from itertools import combinations
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest

from similarity.errors import InvalidIndex
from similarity.index.builder import FilmSource, build
from similarity.index.catalog import Film
from similarity.index.reloading import LoadedIndex, load_index
from similarity.map import page, picture, points, principal
from tests.similarity.films import film, films
from tests.similarity.words import Words

SVG = "{http://www.w3.org/2000/svg}"
UGLY = '</script><script>alert(1)</script> & "quoted" \u2028'


def of(folder: Path, some: list[Film]) -> LoadedIndex:
    build(folder, FilmSource(some, str(len(some))), Words())
    return load_index(folder, Words.name, Words.dimension)


def test_axes_are_the_directions_in_which_vectors_differ_most() -> None:
    rng = np.random.default_rng(0)
    plane = rng.standard_normal((500, 2)) * [5, 2]
    axes = np.linalg.qr(rng.standard_normal((30, 30)))[0][:2]
    found = principal((plane @ axes + 7 + 0.01 * rng.standard_normal((500, 30))).astype(np.float32))
    for column in (0, 1):
        assert abs(np.corrcoef(found[:, column], plane[:, column])[0, 1]) > 0.99


def test_every_film_has_a_place_in_the_unit_square(tmp_path: Path) -> None:
    found = points(of(tmp_path, films(90)), 1_000, "pca")
    assert found.places.shape == (90, 2)
    assert found.places.min() >= 0
    assert found.places.max() <= 1
    assert [one.id for one in found.films] == [one.id for one in films(90)]


def test_a_large_catalogue_is_thinned_out_and_says_so(tmp_path: Path) -> None:
    found = points(of(tmp_path, films(90)), 40, "pca")
    assert (len(found.films), found.of) == (40, 90)
    assert "40 of 90 films" in page(found, "many")


def test_a_film_has_the_colour_of_its_rarest_genre(tmp_path: Path) -> None:
    some = [film(0, genres=("Drama", "War")), *(film(number, genres=("Drama",)) for number in range(1, 9)),
            film(9, genres=())]  # fmt: skip
    found = points(of(tmp_path, some), 100, "pca")
    assert list(found.genres) == ["Drama", "War"]
    assert [found.colour(one) for one in (some[0], some[1], some[9])] == [1, 0, None]


def test_the_page_is_whole_and_no_title_can_break_out_of_it(tmp_path: Path) -> None:
    html = page(points(of(tmp_path, [*films(5), film(7, title=UGLY)]), 100, "pca"), UGLY)
    assert "alert(1)</script>" not in html
    assert not re.search(r"""(?:src|href)=|url\(|@import|https?:""", html)
    held = re.search(r'<script type="application/json" id="data">(.*?)</script>', html, re.DOTALL)
    assert held
    data = json.loads(held[1])
    assert data["title"][5] == UGLY
    assert [data["genres"][place] for place in range(3) if data["mask"][1] >> place & 1] == ["Comedy"]
    parser = HTMLParser()
    parser.feed(html)


def test_its_policy_allows_its_own_style_and_script_and_nothing_else(tmp_path: Path) -> None:
    html = page(points(of(tmp_path, films(5)), 100, "pca"), "films")
    for tag in ("style", "script"):
        inner = re.search(rf"<{tag}>(.*?)</{tag}>", html, re.DOTALL)
        assert inner
        digest = base64.b64encode(hashlib.sha256(inner[1].encode()).digest()).decode()
        assert f"{tag}-src 'sha256-{digest}'" in html.replace("&#39;", "'")
    assert "default-src 'none'" in html


def test_what_cannot_be_drawn_is_refused(tmp_path: Path) -> None:
    index = of(tmp_path, films(2))
    with pytest.raises(InvalidIndex, match="three films at least"):
        points(index, 10)
    with pytest.raises(InvalidIndex, match="no method 'tsne'"):
        points(of(tmp_path, films(4)), 10, "tsne")


def test_a_still_picture_shows_every_film_and_names_the_wanted_ones_apart(tmp_path: Path) -> None:
    some = [*films(40), film(40, title=UGLY, genres=())]
    found = points(of(tmp_path, some), 1_000, "pca")
    root = ElementTree.fromstring(picture(found, {"f1", "f18", "f35", "f40"}))
    titles = [one.text or "" for one in root.iter(f"{SVG}title")]
    assert sorted(title.partition(" (")[0] for title in titles) == sorted(one.title for one in some)
    names = [one for one in root.iter(f"{SVG}text") if one.get("stroke")]
    assert {one.text for one in names} == {"Film 1", "Film 18", "Film 35", UGLY}
    places = [(float(one.get("x", "")), float(one.get("y", ""))) for one in names]
    crossing = [(a, b) for a, b in combinations(places, 2) if abs(a[1] - b[1]) < 12 and abs(a[0] - b[0]) < 36]
    assert not crossing
    key = [one.text for one in root.iter(f"{SVG}text") if not one.get("stroke")]
    assert key == [*found.genres[: found.coloured], "other"]
