"""Adapters: told from what is none, held to their own base, served by vLLM as it can, merged in this process."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from llm.backends.local_backend import LocalBackend
from llm.backends.lora_adapter import check_base, load_adapter, vllm_arguments, weights_digest
from llm.backends.vllm_server import VLLMServer
from main import main
from marquee.serving import adapter_in_use, as_trained, with_vllm
from marquee.settings import read_settings
from prompts import registry
from prompts.errors import InvalidSetting
from tests.support.bare_model import rendered, spellings
from tests.support.tiny_qwen2 import build

pytestmark = pytest.mark.usefixtures("away")
CODES = ("A", "B", "C")


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build(tmp_path_factory.mktemp("adapters") / "tiny-qwen2")


@pytest.fixture(scope="module")
def genres(base: Path) -> Path:
    """An adapter of random weights for the base, as a training would leave it."""
    return written(base, base.parent / "genres", base)


def written(base: Path, folder: Path, named: Path, manifest: bool = True, **config: Any) -> Path:
    import torch
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM

    torch.manual_seed(1)
    settings: Mapping[str, Any] = {"r": 12, "target_modules": "all-linear", "init_lora_weights": False, **config}
    tuned: Any = get_peft_model(AutoModelForCausalLM.from_pretrained(base), LoraConfig(**settings))
    tuned.peft_config["default"].base_model_name_or_path = str(named)
    tuned.save_pretrained(folder, save_embedding_layers=False)
    if manifest:
        taxonomy = registry.taxonomy("imdb")
        made = {
            "kind": "lora",
            "base": {"name": str(named), "weights": weights_digest(str(base))},
            "taxonomy": taxonomy.as_json(),
            "strategy": "label_tokens",
            "prompts": ["plot.v1@0123456789ab"],
        }
        (folder / "manifest.json").write_text(json.dumps(made))
    return folder


def serve(*arguments: str) -> str:
    result = CliRunner().invoke(main, ["serve", "--port", "0", *arguments])
    assert result.exit_code in (1, 2)
    return result.stderr


def test_a_folder_without_an_adapter_or_with_another_kind_is_refused_by_name(tmp_path: Path, genres: Path) -> None:
    with pytest.raises(InvalidSetting, match=r"holds no LoRA adapter \(no adapter_config.json\)"):
        load_adapter(tmp_path)
    (tmp_path / "adapter_config.json").write_text((genres / "adapter_config.json").read_text())
    with pytest.raises(InvalidSetting, match="without weights"):
        load_adapter(tmp_path)
    (tmp_path / "adapter_model.safetensors").write_bytes(b"")
    for wrong, said in (
        ("[]", "must be a JSON object, not a list"),
        ("{}", "not that of a LoRA adapter"),
        ("{", "is not JSON"),
    ):
        (tmp_path / "adapter_config.json").write_text(wrong)
        with pytest.raises(InvalidSetting, match=said):
            load_adapter(tmp_path)
    config = json.loads((genres / "adapter_config.json").read_text()) | {"peft_type": "IA3"}
    (tmp_path / "adapter_config.json").write_text(json.dumps(config))
    with pytest.raises(InvalidSetting, match=r"another kind \(IA3\)"):
        load_adapter(tmp_path)


def test_another_base_is_refused_by_its_weights_whatever_it_is_called(tmp_path: Path, base: Path, genres: Path) -> None:
    other = build(tmp_path / "tiny-qwen2", seed=5)
    moved = tmp_path / "moved"
    moved.mkdir()
    for file in base.iterdir():
        (moved / file.name).write_bytes(file.read_bytes())
    check_base(load_adapter(genres), str(moved))
    with pytest.raises(InvalidSetting, match="is another model"):
        check_base(load_adapter(genres), str(other))
    with pytest.raises(InvalidSetting, match="is another model"):
        LocalBackend(str(other), device="cpu", adapter=genres)


def test_without_a_manifest_or_weights_here_the_names_decide(tmp_path: Path, base: Path) -> None:
    strange = load_adapter(written(base, tmp_path / "strange", Path("org/tiny-qwen2"), manifest=False))
    check_base(strange, "org/tiny-qwen2")
    check_base(strange, str(base))
    with pytest.raises(InvalidSetting, match="not on org/other"):
        check_base(strange, "org/other")


def test_it_is_merged_into_the_model_and_named_beside_it(base: Path, genres: Path) -> None:
    import torch
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    backend = LocalBackend(str(base), device="cpu", dtype="float32", adapter=genres)
    plain = LocalBackend(str(base), device="cpu", dtype="float32")
    digest = load_adapter(genres).digest
    assert backend.name == f"tiny-qwen2+genres@{digest}"
    assert backend.decoding["adapter"] == digest
    unmerged: Any = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32), genres)
    for conversation in rendered(["A baker.", "The lift stops between two floors."]):
        (found,) = backend.next_token_logprobs([conversation], CODES)
        with torch.no_grad():
            scores = unmerged(torch.tensor(backend._causal.tokens([conversation]))).logits[0, -1].log_softmax(-1)
        expected = [scores[ids].logsumexp(-1).item() for ids in spellings(backend._causal.tokenizer, CODES)]
        assert [found.logprobs[code] for code in CODES] == pytest.approx(expected, abs=1e-3)
        (before,) = plain.next_token_logprobs([conversation], CODES)
        assert max(abs(found.logprobs[code] - before.logprobs[code]) for code in CODES) > 0.01


def test_a_manifest_without_prompts_names_none(genres: Path) -> None:
    manifest = {"taxonomy": {"name": "films", "digest": "0123"}, "strategy": "json_list"}
    assert replace(load_adapter(genres), manifest=manifest).purpose == "films@0123, read as json_list"


def test_another_scale_of_the_same_weights_has_another_name(base: Path, tmp_path: Path) -> None:
    adapter = written(base, tmp_path / "genres", base, manifest=False)
    before, config = load_adapter(adapter), adapter / "adapter_config.json"
    config.write_text(json.dumps({**before.config, "base_model_name_or_path": "moved/elsewhere"}))
    assert load_adapter(adapter).digest == before.digest
    config.write_text(json.dumps({**before.config, "lora_alpha": 2 * before.config["lora_alpha"]}))
    assert load_adapter(adapter).digest != before.digest  # cached answers of one are not those of the other


def test_vllm_serves_it_under_its_own_name_beside_the_base(
    away: Path, base: Path, genres: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings, vllm = with_vllm(str(base), adapter=str(genres))
    name = f"tiny-qwen2+genres@{load_adapter(genres).digest}"
    assert (settings.model, settings.adapter, settings.uses_language_model) == (name, "", True)
    command = vllm.command
    assert command[command.index("--served-model-name") + 1] == "tiny-qwen2"
    module = json.loads(command[command.index("--lora-modules") + 1])
    assert module == {"name": name, "path": str(genres.resolve())}
    assert "--enable-lora" in command
    assert command[command.index("--max-lora-rank") + 1] == "16", "the next that vLLM takes"
    monkeypatch.setenv("MARQUEE_MODEL", "mine")
    assert with_vllm(str(base), adapter=str(genres))[0].model == "mine"
    assert with_vllm("", adapter=str(written(base, away / "x", Path("mine"), manifest=False)))[0].model.startswith(
        "mine+"
    )


def test_an_adapter_names_the_model_to_serve_where_nobody_does(genres: Path, base: Path) -> None:
    _, vllm = with_vllm("", adapter=str(genres))
    assert vllm.command[vllm.command.index("--model") + 1] == str(base)


@pytest.mark.parametrize(
    ("config", "said"), [({"use_dora": True}, "it is a DoRA"), ({"bias": "all"}, "trains biases"), ({"r": 513}, "513")]
)
def test_what_vllm_cannot_serve_is_told_before_it_starts(
    tmp_path: Path, genres: Path, config: dict[str, Any], said: str
) -> None:
    for file in genres.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    kept = json.loads((genres / "adapter_config.json").read_text())
    (tmp_path / "adapter_config.json").write_text(json.dumps(kept | config))
    with pytest.raises(InvalidSetting, match=f"vLLM does not serve .*{said}.*use serve --local"):
        vllm_arguments(load_adapter(tmp_path), "name")


def test_serve_refuses_an_adapter_that_cannot_work_before_anything_is_started(
    tmp_path: Path, base: Path, genres: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(VLLMServer, "start", lambda self, told: pytest.fail("it was started"))
    other = build(tmp_path / "other", seed=7)
    for way in ("--local", "--vllm"):
        assert "holds no LoRA adapter" in serve(way, str(base), "--adapter", str(tmp_path))
        assert "is another model" in serve(way, str(other), "--adapter", str(genres))
    assert "give --local, --vllm or --gguf beside it" in serve("--adapter", str(genres))
    assert "serve it with --vllm MODEL or --local MODEL" in serve("--trained", str(_manifested(genres, tmp_path)))
    monkeypatch.setenv("MARQUEE_ADAPTER", str(genres))
    assert "MARQUEE_ADAPTER is for a model that Marquee loads" in serve()


def _manifested(genres: Path, folder: Path) -> Path:
    kept = json.loads((genres / "manifest.json").read_text())
    (folder / "manifest.json").write_text(json.dumps(kept | {"format": 1}))
    return folder


def test_it_is_asked_as_it_was_taught_unless_somebody_says_otherwise(
    genres: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings, words = as_trained(read_settings(), genres)
    assert (settings.taxonomy, settings.strategy) == ("imdb", "label_tokens")
    assert f"imdb@{registry.taxonomy('imdb').digest}, read as label_tokens, under plot.v1@0123456789ab" in words[0]
    assert words[1] == "  warning: the prompt plot.v1@0123456789ab does not exist any more; another one is used"
    monkeypatch.setenv("MARQUEE_TAXONOMY", "tmdb")
    monkeypatch.setenv("MARQUEE_STRATEGY", "json_list")
    kept, _ = as_trained(read_settings(), genres)
    assert (kept.taxonomy, kept.strategy) == ("tmdb", "json_list")


def test_an_adapter_of_the_settings_is_in_use_where_a_model_is_loaded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MARQUEE_ADAPTER", "films")
    assert adapter_in_use(read_settings(local_model="x"), started=False) == "films"
    assert adapter_in_use(read_settings(classifier="embedded"), started=True) == "films"
    assert adapter_in_use(read_settings(local_model="x", classifier="embedded"), started=False) == ""
    monkeypatch.delenv("MARQUEE_ADAPTER")
    assert adapter_in_use(read_settings(local_model="x"), started=False) == ""
