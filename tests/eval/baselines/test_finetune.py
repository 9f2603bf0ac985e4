"""Fine-tuning: what is frozen, where it starts from, what is read of a text."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from eval.baselines import Trained, TrainingPlan, train
from eval.baselines.embeddings import embeddings
from eval.baselines.finetune import fit
from eval.baselines.losses import DistilBert
from eval.baselines.mlp import validation_score
from eval.baselines.trained import Split, TrainingData, likelihoods
from eval.baselines.transformer import TokenWindow, Transformer, padded, pretrained
from llm.embedded.matcher import SHIPPED
from llm.embedded.weights import load
from prompts.errors import InvalidSetting
from prompts.taxonomy import Taxonomy
from similarity.encoders.minilm import MiniLM
from similarity.encoders.tokens import weights_folder
from tests.eval.baselines.labelled import MULTI, OTHER, SINGLE, examples
from tests.eval.baselines.tiny_encoder import build

TRAINING, VALIDATION = examples(48), examples(24, seed=2)
QUICK = {"epochs": 1, "batch_size": 16, "lr": 1e-2}


@pytest.fixture(scope="module")
def encoder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build(tmp_path_factory.mktemp("encoder"))


def fine_tuned(base: Path, out: Path, **settings: object) -> Trained:
    return train(TrainingPlan("distilbert", QUICK | {"base": str(base)} | settings), MULTI, TRAINING, VALIDATION, out)


def weights(folder: Path) -> dict[str, torch.Tensor]:
    found: dict[str, torch.Tensor] = load_file(folder / "model.safetensors")
    return found


def test_all_but_the_last_layers_and_the_head_can_be_frozen(encoder: Path, tmp_path: Path) -> None:
    fine_tuned(encoder, tmp_path, last_layers=1)
    before, after = weights(encoder), weights(tmp_path / "encoder")
    moved = {name for name in before if not torch.equal(before[name], after[name])}
    assert moved
    assert all(name.startswith("transformer.layer.1.") for name in moved)


@pytest.mark.parametrize("which", ["minilm", "distilbert"])
def test_on_a_processor_attention_is_plain_products_without_dropout(which: str, encoder: Path) -> None:
    model, _ = pretrained(weights_folder() if which == "minilm" else str(encoder))
    config: Any = model.config
    dropouts = {getattr(config, name, 0.0) for name in ("attention_probs_dropout_prob", "attention_dropout")}
    assert (config._attn_implementation, dropouts) == ("eager", {0.0})


def test_without_freezing_the_embeddings_learn_too(encoder: Path, tmp_path: Path) -> None:
    fine_tuned(encoder, tmp_path)
    name = "embeddings.word_embeddings.weight"
    assert not torch.equal(weights(encoder)[name], weights(tmp_path / "encoder")[name])


def test_an_earlier_training_is_a_base_and_keeps_its_head_for_the_same_labels(encoder: Path, tmp_path: Path) -> None:
    fine_tuned(encoder, tmp_path / "first")
    again = fine_tuned(tmp_path / "first", tmp_path / "again", lr=1e-9)
    assert again.manifest["notes"]["head kept"] is True
    heads = [load_file(tmp_path / where / "head.safetensors")["weight"] for where in ("first", "again")]
    torch.testing.assert_close(*heads, atol=1e-5, rtol=1e-4)


def test_a_round_is_judged_by_the_score_that_its_weights_have(encoder: Path, tmp_path: Path) -> None:
    trained = fine_tuned(encoder, tmp_path, epochs=3, patience=3)
    judged = Split.of(VALIDATION, MULTI)
    lengths = [len(text) for text in judged.texts]
    assert lengths != sorted(lengths), "of texts in order of length this would tell nothing"
    score = validation_score(trained.scorer.probabilities(judged.texts), judged.truth, MULTI.max_labels, multi=True)
    assert score == pytest.approx(max(trained.manifest["notes"]["validation scores"]), abs=2e-4)


def test_for_other_labels_the_head_begins_anew(encoder: Path, tmp_path: Path) -> None:
    fine_tuned(encoder, tmp_path / "first")
    material = TrainingData(OTHER, _as_other(1), _as_other(2), 0, tmp_path, tmp_path / "scratch")
    moved = fit(material, DistilBert(base=str(tmp_path / "first"), epochs=1))
    assert moved.train_info()["head kept"] is False
    assert moved.model.head.out_features == 2


@pytest.mark.parametrize("vocabulary", [MULTI, SINGLE], ids=["several", "one"])
def test_a_linear_probe_finds_the_head_of_least_loss_before_the_encoder_moves(
    vocabulary: Taxonomy, encoder: Path, tmp_path: Path
) -> None:
    train_split, validation = (Split.of(examples(n, vocabulary, seed=n), vocabulary) for n in (48, 24))
    material = TrainingData(vocabulary, train_split, validation, 0, tmp_path, tmp_path / "scratch")
    still = DistilBert(base=str(encoder), epochs=1, lr=1e-12, precision="fp32")
    losses = [_loss_of(fit(material, replace(still, linear_probe=probed)), train_split) for probed in (False, True)]
    assert losses[1] < 0.8 * losses[0]


def _loss_of(scorer: Transformer, split: Split) -> float:
    found = likelihoods(scorer.probabilities(split.texts), split.truth, scorer.multi)
    return float(-np.log(found).mean())


def _as_other(seed: int) -> Split:
    some = examples(16, seed=seed)
    split = Split.of(some, MULTI)
    return Split(split.texts, split.truth[:, :2], split.complete, split.digest)


@pytest.mark.parametrize(
    "settings", [{"loss": "focal"}, {"loss": "log-weights", "oversample": True}, {"precision": "bf16"}]
)
def test_losses_oversampling_and_bf16_train(settings: dict[str, object], encoder: Path, tmp_path: Path) -> None:
    found = fine_tuned(encoder, tmp_path, **settings)
    assert found.manifest["settings"].items() >= settings.items()
    assert len(found.manifest["notes"]["validation scores"]) == 1


def test_training_stops_when_nothing_is_gained(encoder: Path, tmp_path: Path) -> None:
    found = fine_tuned(encoder, tmp_path, epochs=9, patience=1, lr=1e-9, precision="fp32")
    assert len(found.manifest["notes"]["validation scores"]) < 9


def test_without_a_base_minilm_is_taken(tmp_path: Path) -> None:
    plan = TrainingPlan("minilm", {"epochs": 1, "last_layers": 1, "max_tokens": 16})
    found = train(plan, MULTI, TRAINING[:16], VALIDATION[:8], tmp_path)
    assert (tmp_path / "encoder" / "model.safetensors").stat().st_size > 80_000_000
    assert found.classify(["a ghost in the cellar"], MULTI)[0].labels


def test_the_matcher_s_encoder_is_a_base(tmp_path: Path) -> None:
    frozen = {"epochs": 1, "last_layers": 1, "lr": 1e-12, "max_tokens": 16, "base": "matcher", "precision": "fp32"}
    train(TrainingPlan("minilm", frozen), MULTI, TRAINING[:16], VALIDATION[:8], tmp_path)
    plain, found, changes = weights(Path(weights_folder())), weights(tmp_path / "encoder"), load(SHIPPED).changes
    assert changes
    for name, change in changes.items():
        assert torch.allclose(found[name], plain[name] + torch.from_numpy(change), atol=1e-6)


def test_a_base_without_an_encoder_is_refused(encoder: Path, tmp_path: Path) -> None:
    train(TrainingPlan("prior"), MULTI, TRAINING, VALIDATION, tmp_path / "prior")
    with pytest.raises(InvalidSetting, match="without an encoder"):
        fine_tuned(tmp_path / "prior", tmp_path / "next")
    with pytest.raises(InvalidSetting, match="reads 256 at most"):
        fine_tuned(encoder, tmp_path / "next", max_tokens=512)


def test_of_a_long_text_the_head_or_both_ends_are_read() -> None:
    tokens = [2, *range(10, 20), 3]
    assert TokenWindow(6, "head").cut(tokens) == [2, 10, 11, 12, 13, 3]
    assert TokenWindow(6, "head-tail").cut(tokens) == [2, 10, 11, 18, 19, 3]
    assert TokenWindow(12).cut(tokens) == tokens


def test_a_batch_is_as_long_as_its_longest_text() -> None:
    tokens, mask = padded([[2, 7, 3], [2, 3]], fill=0)
    assert tokens.tolist() == [[2, 7, 3], [2, 3, 0]]
    assert mask.tolist() == [[1, 1, 1], [1, 1, 0]]


class Counting(MiniLM):
    """MiniLM that counts what it is asked to encode."""

    def __init__(self) -> None:
        super().__init__()
        self.encoded: list[str] = []

    def encode(self, texts):  # type: ignore[no-untyped-def]
        self.encoded += texts
        return super().encode(texts)


def test_a_text_is_encoded_once(tmp_path: Path) -> None:
    encoder = Counting()
    first = embeddings(encoder, ["a ghost", "a much longer song", "a ghost"], tmp_path)
    second = embeddings(encoder, ["a much longer song", "a ranch", "a ghost"], tmp_path)
    assert sorted(encoder.encoded) == ["a ghost", "a much longer song", "a ranch"]
    assert (first[0] == first[2]).all()
    assert (first[0] == second[2]).all()
    assert (first[1] == second[0]).all()
