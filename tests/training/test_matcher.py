"""How the matcher is taught: what is known of a text, how batches are made, and that something is learnt."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from eval.datasets import Example, Fields, load
from llm.embedded.matcher import matcher
from llm.embedded.saved_weights import save
from llm.embedded.weights import MatcherWeights
from prompts import registry
from prompts.text import Text
from similarity.encoders.minilm import MiniLM
from similarity.encoders.tokens import tokenizer
from training.matcher.calibration import general, with_words, with_zero_shot
from training.matcher.dataset import Concept, batches, concepts, held_out, items
from training.matcher.model import Checkpoints, pretrained
from training.matcher.train import MatcherSchedule, fit

SAMPLE = Path("data/sample")
CONCEPTS = concepts(())


def films(count: int) -> list[Example]:
    fields = Fields("plot", "imdb_genres")
    return list(load(SAMPLE / "films.jsonl", registry.taxonomy("imdb"), fields).examples)[:count]


def shallow() -> Any:
    """MiniLM's first layer alone, which trains in a fifth of the time."""
    model = pretrained()
    model.encoder.layer = model.encoder.layer[:1]
    return model


@pytest.fixture
def one_layer(monkeypatch: pytest.MonkeyPatch) -> None:
    """Training of that layer."""
    monkeypatch.setattr("training.matcher.train.pretrained", shallow)


THREE_CYCLES = MatcherSchedule(epochs=5, again=(2, 1))


@pytest.fixture(scope="module")
def encoder() -> MiniLM:
    return MiniLM()


@pytest.fixture(scope="module")
def three_cycles(encoder: MiniLM, tmp_path_factory: pytest.TempPathFactory) -> MatcherWeights:
    """What four films taught in three cycles."""
    wanted, kept = worded_twice("genres"), Checkpoints(tmp_path_factory.mktemp("three") / "stages")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("training.matcher.train.pretrained", shallow)
        return fit(items(films(4), wanted, tokenizer()), wanted, encoder, "tiny", THREE_CYCLES, kept, lambda *_: None)


def worded_twice(*kinds: str) -> list[Concept]:
    """The labels of some kinds, with two wordings each: encoding all takes longer than the steps."""
    return [replace(one, wordings=one.wordings[:2]) for one in CONCEPTS if one.kind in kinds]


def column(kind: str, name: str) -> int:
    return [(one.kind, one.name) for one in CONCEPTS].index((kind, name))


def test_every_genre_sub_genre_and_opinion_has_several_wordings_and_none_means_two() -> None:
    assert all(len(one.wordings) >= 4 for one in CONCEPTS)
    assert {one.name for one in CONCEPTS if one.kind == "genres"} == set(registry.taxonomy("imdb").names)
    descriptions = [wording for one in CONCEPTS for wording in one.wordings if len(wording) > 30]
    assert len(set(descriptions)) == len(descriptions)


def test_sub_genres_held_out_are_the_same_every_time_and_never_taught() -> None:
    interests = [["Heist", "Slapstick", "Giallo"]] * 50
    left_out = held_out(interests, 2)
    assert held_out(reversed(interests), 2) == left_out
    assert set(left_out) < {"Heist", "Slapstick", "Giallo"}
    assert not set(left_out) & {one.name for one in concepts(left_out)}


def test_what_is_missing_from_a_cut_list_weighs_less_than_what_is_known() -> None:
    whole = Example("a", Text("A war."), ("War",))
    cut = Example("b", Text("A war."), ("War",), complete=False)
    first, second = items([whole, cut], CONCEPTS, tokenizer())
    war, comedy = column("genres", "War"), column("genres", "Comedy")
    assert first.weight[war] == second.weight[war] == first.weight[comedy] > second.weight[comedy] > 0
    assert first.true[war] == 1
    assert first.true.sum() == 1


def test_sub_genres_are_unknown_where_a_film_has_none_and_opinions_are_of_reviews_alone() -> None:
    plain = Example("a", Text("A robbery."), ("Crime",))
    told = Example("b", Text("A robbery."), ("Crime",), extra=("Heist", "a kind nobody words"))
    review = Example("c", Text("I loved it."), ("positive",))
    first, second, third = items([plain, told, review], CONCEPTS, tokenizer())
    heist, positive, crime = column("interests", "Heist"), column("reviews", "positive"), column("genres", "Crime")
    assert (first.weight[heist], second.true[heist]) == (0, 1)
    assert second.weight[heist] > 0
    assert (first.weight[positive], third.true[positive], third.weight[crime]) == (0, 1, 0)


def test_an_epoch_holds_every_text_once_in_batches_without_waste() -> None:
    given = items([*films(150), Example("r", Text("Bad. " * 300), ("negative",))], CONCEPTS, tokenizer())
    found = list(batches(given, seed=3))
    assert sum(len(batch.tokens) for batch in found) == 151
    for batch in found:
        assert (batch.mask.sum(axis=1) > 0).all()
        assert (batch.tokens[:, 0] == 101).all()
        assert batch.tokens.shape[1] == batch.mask.sum(axis=1).max()
    assert [batch.tokens.tolist() for batch in batches(given, 3)] == [batch.tokens.tolist() for batch in found]


@pytest.mark.usefixtures("one_layer")
def test_a_few_steps_teach_a_few_films_and_the_file_answers_as_taught(encoder: MiniLM, tmp_path: Path) -> None:
    wanted = worded_twice("genres", "reviews")
    losses: list[float] = []
    given = items(films(8), wanted, tokenizer())
    recipe = MatcherSchedule(epochs=12, again=(), encoder_rate=5e-4, label_rate=5e-3)
    kept = Checkpoints(tmp_path / "stages")
    learnt = fit(given, wanted, encoder, "tiny", recipe, kept, lambda step, steps, loss: losses.append(loss))
    assert np.mean(losses[-3:]) < 0.7 * np.mean(losses[:3])
    far = with_zero_shot(learnt, encoder, general(SAMPLE, "validation"))
    save(with_words(far, given, films(8), wanted, encoder), tmp_path / "tiny.safetensors", rank=64)
    taught = matcher(tmp_path / "tiny.safetensors", encoder)
    answers = taught.classify([one.text for one in films(8)], registry.taxonomy("imdb"))
    hits = [answer.labels[0] in film.labels for answer, film in zip(answers, films(8), strict=True)]
    assert np.mean(hits) > 0.7
    assert answers[0].source.model == "embedded/tiny"


@pytest.mark.usefixtures("one_layer")
def test_one_that_was_ended_goes_on_where_it_was(
    encoder: MiniLM, three_cycles: MatcherWeights, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("training.matcher.train._SAVE_EVERY", 2)
    wanted = worded_twice("genres")
    given = items(films(4), wanted, tokenizer())
    kept, told = Checkpoints(tmp_path / "stages"), list[tuple[int, int]]()

    def ended(step: int, steps: int, loss: float) -> None:
        told.append((step, steps))
        if len(told) == 6:  # the first of the second cycle
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fit(given, wanted, encoder, "tiny", THREE_CYCLES, kept, ended)
    again = fit(given, wanted, encoder, "tiny", THREE_CYCLES, kept, ended)
    assert told == [(step, 8) for step in (*range(1, 7), *range(6, 9))], "five are not done a second time"
    for name, change in three_cycles.changes.items():
        np.testing.assert_allclose(again.changes[name], change, atol=1e-7)
    np.testing.assert_allclose(again.offsets, three_cycles.offsets, atol=1e-7)
    kept.remove()
    assert not (tmp_path / "stages").exists()


@pytest.mark.usefixtures("one_layer")
def test_the_weights_at_the_ends_of_all_cycles_are_averaged(encoder: MiniLM, tmp_path: Path) -> None:
    wanted = worded_twice("genres")
    given = items(films(4), wanted, tokenizer())

    def taught(*again: float) -> MatcherWeights:
        kept = Checkpoints(tmp_path / "stages")
        return fit(given, wanted, encoder, "tiny", MatcherSchedule(epochs=3, again=again), kept, lambda *_: None)

    first, both = taught(), taught(2)
    newest = max((tmp_path / "stages").iterdir(), key=lambda path: path.stat().st_mtime_ns)
    last = torch.load(newest, weights_only=True)["student"]["labels.offsets"].numpy()
    assert np.abs(last - first.offsets).max() > 1e-4
    np.testing.assert_allclose(both.offsets, (first.offsets + last) / 2, atol=1e-7)


def test_what_is_frozen_is_the_same_to_the_bit_after_three_cycles(three_cycles: MatcherWeights) -> None:
    assert three_cycles.changes
    assert not [name for name in three_cycles.changes if name.startswith("embeddings.")]
