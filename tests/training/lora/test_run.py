"""Training an adapter: the loss is the answers' alone, it falls, what is saved answers as what was trained."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import pytest
import torch
from click.testing import CliRunner

from eval.datasets import Example
from eval.metrics import indicator
from llm.backends.causal_lm_loading import load
from llm.backends.local_backend import LocalBackend
from llm.backends.lora_adapter import check_base, load_adapter
from llm.language_model import LanguageModel
from llm.strategies import STRATEGIES
from main import main
from prompts import registry
from prompts.errors import InvalidDataset, InvalidSetting
from prompts.text import Text
from tests.support.tiny_qwen2 import SAMPLE, build
from tests.support.trained_qwen2 import GENRES, PROMPT, films
from training.lora.config import Hardware, LoraConfig, PromptSetup
from training.lora.lessons import tokenised
from training.lora.run import LoraPlan, metrics, train_adapter
from training.lora.train import AnswerTrainer, as_rows, collated, packed, shares_prefixes, with_adapter

FAST = LoraConfig(rank=4, alpha=8, lr=1e-2, epochs=3, batch_size=6, micro_batch=3, precision="fp32", judged=4)


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build(tmp_path_factory.mktemp("teach") / "tiny-qwen2")


def examples(side: str) -> list[Example]:
    known = [Example(f"{side} {place}", text, labels) for place, (text, labels) in enumerate(films()) if labels]
    return [replace(one, text=Text(" ".join(one.text.body.split()[:6]))) for one in known[:6]]


@pytest.fixture(scope="module")
def made(base: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    """An adapter after a few steps, and its manifest."""
    folder = tmp_path_factory.mktemp("made") / "genres"
    plan = LoraPlan(
        PromptSetup(GENRES, "json_list", PROMPT), replace(FAST, base=str(base)), seed=3, data="films", command="main.py"
    )
    return folder, train_adapter(plan, examples("a"), examples("b"), folder)


def test_the_loss_falls_and_the_manifest_says_how_and_from_what(made: tuple[Path, dict[str, Any]], base: Path) -> None:
    folder, told = made
    losses = told["notes"]["losses"]
    assert losses[-1] < losses[0] < math.log(3_000)
    assert json.loads(json.dumps(told)) == json.loads((folder / "manifest.json").read_text())
    assert sorted(file.name for file in folder.iterdir()) == [
        "adapter_config.json", "adapter_model.safetensors", "manifest.json",
    ]  # fmt: skip
    assert (told["kind"], told["strategy"], told["seed"], told["command"]) == ("lora", "json_list", 3, "main.py")
    assert told["prompts"] == [f"short.v1@{PROMPT.digest}"]
    assert told["data"]["train"]["lessons"] == 6
    assert told["data"]["train"]["digest"] != told["data"]["validation"]["digest"]
    assert (told["settings"]["rank"], told["notes"]["steps"]) == (4, 3)
    assert told["stopped by"] == "the lowest loss on the validation texts"
    assert {"peft", "torch", "transformers"} <= told["versions"].keys()
    assert told["validation"]["texts"] == 4
    assert told["validation"]["before"].keys() == told["validation"]["after"].keys()
    check_base(load_adapter(folder), str(base))


def test_what_was_saved_answers_as_the_manifest_says(made: tuple[Path, dict[str, Any]], base: Path) -> None:
    folder, told = made
    backend = LocalBackend(str(base), device="cpu", dtype="float32", adapter=folder)
    assert backend.name.startswith("tiny-qwen2+genres@")
    assert metrics(backend._causal, PromptSetup(GENRES, "json_list", PROMPT), examples("b")[:0]) == {}
    from eval.datasets import sample
    from eval.metrics import METRICS

    judged = sample(examples("b"), 4)
    found = LanguageModel(backend, STRATEGIES["json_list"], PROMPT).classify([one.text for one in judged], GENRES)
    pair = [indicator([one.labels for one in some], GENRES) for some in (judged, found)]
    assert round(METRICS["micro-F1"](*pair), 4) == told["validation"]["after"]["micro-F1"]


def test_the_same_seed_teaches_the_same(made: tuple[Path, dict[str, Any]], base: Path, tmp_path: Path) -> None:
    plan = LoraPlan(PromptSetup(GENRES, "json_list", PROMPT), replace(FAST, base=str(base)), seed=3)
    assert train_adapter(plan, examples("a"), examples("b"), tmp_path)["notes"] == made[1]["notes"]


@pytest.mark.parametrize("form", ["json_list", "label_likelihood", "label_tokens"])
def test_the_loss_is_the_mean_surprise_at_the_answers_tokens(base: Path, form: Any) -> None:
    held = load(str(base), "cpu", "float32")
    prompt = None if form == "label_likelihood" else PROMPT
    taught = tokenised(held, PromptSetup(GENRES, form, prompt), examples("a")[:3], 4_096).examples
    rows = [
        {"input_ids": [*one.prompt_ids, *(tokens[0] for tokens in one.target_ids)], "target_ids": one.target_ids}
        for one in taught
    ]
    with torch.no_grad():
        found = AnswerTrainer.compute_loss(AnswerTrainer.__new__(AnswerTrainer), held.network, collated(rows, 0))
        expected = []
        for one, row in zip(taught, rows, strict=True):
            logprobs = held.network(torch.tensor([row["input_ids"]])).logits[0].log_softmax(-1)
            for place, tokens in enumerate(one.target_ids, len(one.prompt_ids) - 1):
                expected.append(-sum(float(logprobs[place, token]) for token in tokens) / len(tokens))
    assert float(found) == pytest.approx(sum(expected) / len(expected), abs=1e-3)


def test_texts_together_or_in_parts_with_or_without_checkpoints_have_one_gradient(base: Path) -> None:
    gradients = []
    for recipe in (replace(FAST, checkpointing=False), FAST):
        held = load(str(base), "cpu", "float32")
        torch.manual_seed(0)
        tuned = with_adapter(held, replace(recipe, dropout=0.0), Hardware("cpu", "float32"))
        if recipe.checkpointing:
            tuned.activation_checkpointing_enable({"use_reentrant": False})
        tuned.train()
        taught = tokenised(held, PromptSetup(GENRES, "label_tokens", PROMPT), examples("a")[:2], 4_096).examples
        rows = [
            {"input_ids": [*one.prompt_ids, *(tokens[0] for tokens in one.target_ids)], "target_ids": one.target_ids}
            for one in taught
        ]
        AnswerTrainer.compute_loss(AnswerTrainer.__new__(AnswerTrainer), tuned, collated(rows, 0)).backward()
        gradients.append([one.grad for one in tuned.parameters() if one.grad is not None])
        assert all(not one.requires_grad or one.grad is not None for one in tuned.parameters())
    assert all(torch.allclose(one, other, atol=1e-5) for one, other in zip(*gradients, strict=True))


@pytest.mark.parametrize("form", ["json_list", "label_likelihood", "label_tokens", "yes_no"])
def test_texts_behind_their_common_tokens_have_the_loss_and_gradient_of_texts_by_themselves(
    base: Path, form: Any
) -> None:
    found = []
    for collate in (packed, partial(collated, fill=0)):
        held = load(str(base), "cpu", "float32")
        tuned = with_adapter(held, replace(FAST, dropout=0.0), Hardware("cpu", "float32"))
        assert shares_prefixes(tuned)
        rows = as_rows(tokenised(held, PromptSetup(GENRES, form), examples("a")[:4], 4_096).examples)
        batch = collate(rows)
        tokens = batch["input_ids"].numel()
        loss = AnswerTrainer.compute_loss(AnswerTrainer.__new__(AnswerTrainer), tuned, batch)
        loss.backward()
        found.append((tokens, loss, [one.grad for one in tuned.parameters() if one.grad is not None]))
    (few, loss, gradients), (many, expected, gradients_by_themselves) = found
    assert few < many * 0.5
    assert loss.item() == pytest.approx(expected.item(), rel=1e-5)
    for one, other in zip(gradients, gradients_by_themselves, strict=True):
        assert torch.allclose(one, other, atol=1e-5)


def test_texts_whose_answers_begin_alike_share_these_tokens_too() -> None:
    rows: list[dict[str, Any]] = [
        {"input_ids": [1, 2, 3, 4], "target_ids": ((4,), (5,))},
        {"input_ids": [1, 2, 3, 4], "target_ids": ((4, 7), (6,))},
        {"input_ids": [1, 2, 3, 9, 8], "target_ids": ((8,),)},
    ]
    batch = packed(rows)
    assert batch["input_ids"].tolist() == [[1, 2, 3, 4, 4, 9, 8]]
    assert batch["position_ids"].tolist() == [[0, 1, 2, 3, 3, 3, 4]]
    assert batch["logits_to_keep"].tolist() == [1, 2, 1, 2, 5]
    assert batch["targets"].tolist() == [[[4, 0], [5, 0], [4, 7], [6, 0], [8, 0]]]
    seen = [[*row.nonzero().flatten().tolist()] for row in batch["attention_mask"][0, 0]]
    assert seen == [[0], [0, 1], [0, 1, 2], [0, 1, 2, 3], [0, 1, 2, 4], [0, 1, 2, 5], [0, 1, 2, 5, 6]]


def test_a_killed_training_resumes_and_ends_as_one_that_was_not(
    made: tuple[Path, dict[str, Any]], base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The training is killed at its second step; the third starts from what was saved after the first."""
    monkeypatch.setattr("training.lora.train._SAVE_EVERY", 0.0)
    judged = Mock(return_value={"micro-F1": 0.5})
    monkeypatch.setattr("training.lora.run.metrics", judged)
    config = replace(FAST, base=str(base), batch_size=3)
    plan = LoraPlan(PromptSetup(GENRES, "json_list", PROMPT), config, seed=3)
    whole = train_adapter(plan, examples("a"), examples("b"), tmp_path / "whole")

    def killing(items: Any, label: str) -> Any:
        for step in items:
            if step == 3:
                raise KeyboardInterrupt
            yield step

    with pytest.raises(KeyboardInterrupt):
        train_adapter(plan, examples("a"), examples("b"), tmp_path / "killed", killing)
    assert not (tmp_path / "killed" / "manifest.json").exists()
    begun: list[int] = []
    judged.reset_mock()

    def counting(items: Any, label: str) -> Any:
        for step in items:
            begun.append(step)
            yield step

    resumed = train_adapter(plan, examples("a"), examples("b"), tmp_path / "killed", counting)
    assert 0 < len(begun) < whole["notes"]["steps"]
    assert judged.call_count == 1, "the metrics before the training are not computed again"
    assert resumed["notes"] == whole["notes"]
    names = ["adapter_config.json", "adapter_model.safetensors"]
    for name in names:
        assert (tmp_path / "killed" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()
    assert sorted(one.name for one in (tmp_path / "killed").iterdir()) == [*names, "manifest.json"]


def test_the_state_of_another_training_is_not_resumed(base: Path, tmp_path: Path) -> None:
    def killing(items: Any, label: str) -> Any:
        raise KeyboardInterrupt

    plan = LoraPlan(PromptSetup(GENRES, "json_list", PROMPT), replace(FAST, base=str(base), judged=0), seed=3)
    with pytest.raises(KeyboardInterrupt):
        train_adapter(plan, examples("a"), examples("b"), tmp_path, killing)
    (tmp_path / "state" / "checkpoint-1").mkdir()
    other = train_adapter(replace(plan, seed=4), examples("a"), examples("b"), tmp_path)
    assert other["notes"]["steps"] == 3


def test_what_cannot_be_trained_is_told_first(base: Path, tmp_path: Path) -> None:
    asking = PromptSetup(GENRES, "json_list", PROMPT)
    with pytest.raises(InvalidDataset, match="6 examples are in training and validation"):
        train_adapter(LoraPlan(asking, replace(FAST, base=str(base))), examples("a"), examples("a"), tmp_path)
    with pytest.raises(InvalidSetting, match="the model 'no/such' cannot be loaded"):
        train_adapter(LoraPlan(asking, replace(FAST, base="no/such")), examples("a"), examples("b"), tmp_path)
    if not torch.cuda.is_available():
        with pytest.raises(InvalidSetting, match="four_bit is not possible: there is no CUDA GPU here"):
            train_adapter(LoraPlan(asking, replace(FAST, four_bit=True)), examples("a"), examples("b"), tmp_path)
    for wrong in ({"rank": 0}, {"lr": 0.0}, {"dropout": 1.0}, {"precision": "int8"}, {"judged": -1}):
        with pytest.raises(InvalidSetting):
            replace(FAST, **wrong)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("batch", "micro", "at_once", "parts"), [(16, 4, 4, 4), (2, 4, 2, 1), (5, 2, 2, 3)])
def test_a_step_is_computed_in_portions(batch: int, micro: int, at_once: int, parts: int) -> None:
    recipe = LoraConfig(batch_size=batch, micro_batch=micro)
    assert (recipe.at_once, recipe.parts) == (at_once, parts)


# --- the command ---


def call(*arguments: str) -> Any:
    return CliRunner().invoke(main, ["train", "lora", *arguments], catch_exceptions=False)


def test_the_command_teaches_from_a_table_with_the_shipped_prompt(base: Path, away: Path) -> None:
    rows = [json.loads(line) for line in SAMPLE.read_text(encoding="utf-8").splitlines()[:12]]
    for place, row in enumerate(rows):
        row |= {"split": ("train", "validation")[place % 2], "plot": "A short plot."}
    (away / "films.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    data = ("--data", "films.jsonl", "--text-field", "plot", "--labels-field", "tmdb_genres", "--base", str(base))
    (away / "own.v1.jinja").write_text(registry.prompt("plot.v1").source)
    done = call(*data, "--epochs", "1", "--limit", "4", "--judged", "2", "--rank", "2", "--no-checkpointing", "--json")
    assert done.exit_code == 0, done.output
    assert "micro-F1" in json.loads(done.stdout)["validation"]["after"]
    assert "saved in var/models/lora-tmdb; serve it with" in done.stderr
    told = json.loads((away / "var/models/lora-tmdb/manifest.json").read_text())
    assert told["prompts"][0].startswith("plot.v2@")
    assert told["command"].startswith("main.py")
    assert (told["settings"]["rank"], told["settings"]["checkpointing"]) == (2, False)
    for refused, said in (
        (("--split", "test"), "the test split is for reporting"),
        (("--ngrams", "2"), "lora has no option --ngrams; it is for tfidf-nb"),
        (("--decode", "global"), "lora has no option --decode; it is for prior"),
        (("--prompt", "plat"), "there is no prompt 'plat'"),
    ):
        assert said in call(*data, *refused).stderr
    own = call(
        *data, "--epochs", "1", "--limit", "2", "--judged", "1", "--rank", "2", "--prompt", "own.v1.jinja",
        "--strategy", "label_likelihood", "--out", "own", "--json",
    )  # fmt: skip
    assert own.exit_code == 0, own.output
    told = json.loads((away / "own/manifest.json").read_text())
    assert (told["strategy"], told["prompts"][0].partition("@")[0]) == ("label_likelihood", "own.v1")
