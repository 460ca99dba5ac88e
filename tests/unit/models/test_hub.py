"""Models of the Hub, out of a cache that lies here: their states, the comparison, and what is refused."""

import shutil
from pathlib import Path
from typing import Any

import pytest
import torch

import laminar_lens.models.load as load
from laminar_lens.capture import capture_residuals
from laminar_lens.cli import main
from laminar_lens.errors import InputError, ModelError
from laminar_lens.models import describe, load_model
from laminar_lens.models.hub import cached
from laminar_lens.models.names import official_name
from tests.conftest import build_tokenizer
from tests.hub_cache import put

HAS_HOOKED = load._hooked_transformer(None) is not None
GENERATIONS = [None, True] if HAS_HOOKED else [True]
TEXT = "He gave her the book."
PYTHIA = "EleutherAI/pythia-70m"


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty one, that everything of Hugging Face reads."""
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    return tmp_path / "hub"


def states(model: Any) -> torch.Tensor:
    return capture_residuals(model, TEXT).values


def refused(kind: type[Exception], name: Any, **options: Any) -> str:
    with pytest.raises(kind) as error:
        load_model(name, **options)
    assert "\n" not in str(error.value)
    return str(error.value)


@pytest.mark.parametrize("bridge", GENERATIONS)
def test_a_model_in_the_cache_is_compared(cache: Path, tiny_neox: Path, bridge: bool | None) -> None:
    commit = put(cache, PYTHIA, tiny_neox, "main")
    model = load_model("pythia-70m", bridge=bridge)
    info = describe(model)
    assert (info.name, info.revision, info.checkpoint) == ("pythia-70m", commit, None)
    assert info.compared == "with Hugging Face, in float64, 64 tokens"
    assert torch.equal(states(model), states(load_model(tiny_neox, bridge=bridge)))
    assert describe(load_model("pythia-70m", bridge=bridge, check=False)).compared is None


@pytest.mark.parametrize("bridge", GENERATIONS)
def test_a_revision_and_a_checkpoint_are_other_weights(
    cache: Path, tiny_neox: Path, make_model_folder: Any, bridge: bool | None
) -> None:
    early = make_model_folder("neox", seed=1)
    put(cache, PYTHIA, tiny_neox, "main")
    commit = put(cache, PYTHIA, early, "step1000")
    right = describe(load_model(early, bridge=bridge)).weights_sha256
    for state in ({"revision": "step1000"}, {"revision": commit}, {"checkpoint": 1000}):
        info = describe(load_model(PYTHIA, bridge=bridge, **state))
        assert (info.weights_sha256, info.revision) == (right, commit)
        step = "step 1000" if "checkpoint" in state else None
        assert info.checkpoint == step
        assert info.name == (PYTHIA if step is None else f"{PYTHIA} ({step})")
        assert info.bos_token_id == 0  # as the tokenizer of that state says
    assert describe(load_model(PYTHIA, bridge=bridge)).weights_sha256 != right


def test_a_converter_that_differs_is_refused_with_the_first_layer(
    cache: Path, make_model_folder: Any
) -> None:
    put(cache, str(official_name("gpt2")), make_model_folder("gpt2", scale_attn_weights=False), "main")
    said = refused(ModelError, "gpt2", bridge=True)
    assert "'gpt2': TransformerLens does not compute what Hugging Face does" in said
    assert "first in hidden state 1, beginning at token 1 of 64" in said
    assert describe(load_model("gpt2", bridge=True, check=False)).n_layers == 3


@pytest.mark.parametrize("bridge", GENERATIONS)
def test_a_state_that_is_not_there_is_named(cache: Path, tiny_neox: Path, bridge: bool | None) -> None:
    put(cache, PYTHIA, tiny_neox, "main")
    assert "at revision 'nowhere' is not in the local" in refused(
        ModelError, PYTHIA, revision="nowhere", bridge=bridge
    )
    assert "checkpoint=1001 is none of" in refused(InputError, PYTHIA, checkpoint=1001, bridge=bridge)
    assert "the nearest is 1000" in refused(InputError, PYTHIA, checkpoint=1001, bridge=bridge)
    assert "lists no training checkpoints of" in refused(InputError, "gpt2", checkpoint=3, bridge=bridge)


def test_what_a_model_does_not_take_is_refused_by_name(tiny_gpt2: Path) -> None:
    folder = str(tiny_gpt2)
    assert "revision='main' chooses a state" in refused(InputError, folder, revision="main")
    assert "checkpoint=0 chooses a state" in refused(InputError, "novella", checkpoint=0)
    assert "give one of them" in refused(InputError, "gpt2", revision="main", checkpoint=0)
    assert "device= and device_map=" in refused(InputError, folder, device="cpu", device_map="auto")
    assert "tokenizer= belongs to a model in memory" in refused(InputError, folder, tokenizer=object())
    assert "device_map is 3; expected 'auto'" in refused(InputError, folder, device_map=3)
    if HAS_HOOKED:
        assert "add bridge=True" in refused(InputError, folder, device_map="auto")
        own = "NeelNanda/SoLU_1L_v9_old"
        assert "format of TransformerLens's own" in refused(InputError, own, revision="main")
        assert "check=True" in refused(InputError, own, check=True)


def test_the_command_line_says_it_in_its_words(
    tiny_gpt2: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    argv = ["sinks", "--model", str(tiny_gpt2), "--out", str(tmp_path / "out")]
    for given, said in (
        (["--revision", "main"], "--revision main chooses a state of a model on the Hugging Face Hub"),
        (["--checkpoint", "3"], "--checkpoint 3 chooses a state"),
        (["--device", "cpu", "--device-map", "auto"], "--device and --device-map both say"),
    ):
        assert main([*argv, *given]) == 2
        error = capsys.readouterr().err
        assert (said in error, error.count("\n")) == (True, 1), error


@pytest.mark.parametrize("spread", ["auto", {"": "cpu"}, {"transformer": "cpu", "lm_head": "cpu"}])
def test_a_device_map_reaches_the_bridge(
    tiny_gpt2: Path, spread: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    from transformer_lens.model_bridge import TransformerBridge

    asked: list[Any] = []
    boot = TransformerBridge.boot_transformers

    def seen(*given: Any, **how: Any) -> Any:
        asked.append((how["device_map"], how["device"]))
        return boot(*given, **how)

    monkeypatch.setattr(TransformerBridge, "boot_transformers", seen)
    model = load_model(tiny_gpt2, bridge=True, device_map=spread)
    assert set(map(repr, asked)) == {repr((spread, None))}
    if not torch.cuda.is_available():
        assert describe(model).device == "cpu"
    assert torch.equal(states(model), states(load_model(tiny_gpt2, bridge=True)))


def test_a_device_that_is_not_there_is_one_line(tiny_gpt2: Path) -> None:
    assert "could not be loaded" in refused(ModelError, tiny_gpt2, bridge=True, device_map={"": "disc"})


@pytest.mark.parametrize("bridge", GENERATIONS)
def test_weights_that_lack_a_shard_are_not_here(
    cache: Path, tiny_neox: Path, tmp_path: Path, bridge: bool | None
) -> None:
    from transformers import AutoModelForCausalLM, AutoTokenizer

    AutoModelForCausalLM.from_pretrained(tiny_neox).save_pretrained(tmp_path / "m", max_shard_size="40KB")
    AutoTokenizer.from_pretrained(tiny_neox).save_pretrained(tmp_path / "m")
    put(cache, PYTHIA, tmp_path / "m", "main")
    whole = cached(PYTHIA, None)
    assert whole is not None
    assert describe(load_model(PYTHIA, bridge=bridge)).n_layers == 3
    sorted(whole.glob("*.safetensors"))[1].unlink()
    assert cached(PYTHIA, None) is None
    assert "is not in the local Hugging Face cache" in refused(ModelError, PYTHIA, bridge=bridge)


def test_what_is_no_decoder_is_refused(cache: Path, tmp_path: Path) -> None:
    import transformers

    shape = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 64}
    vocab = build_tokenizer(tmp_path)
    made = {
        "some/encoder": transformers.BertForMaskedLM(transformers.BertConfig(vocab_size=vocab, **shape)),
        "some/t5": transformers.T5ForConditionalGeneration(
            transformers.T5Config(vocab_size=vocab, d_model=32, d_kv=8, d_ff=64, num_layers=2, num_heads=4)
        ),
        "some/bart": transformers.BartForConditionalGeneration(
            transformers.BartConfig(vocab_size=vocab, d_model=32, encoder_layers=2, decoder_layers=2)
        ),
    }
    for name, model in made.items():
        build_tokenizer(tmp_path / name)
        model.save_pretrained(tmp_path / name)
        put(cache, name, tmp_path / name, "main")
        said = refused(ModelError, name, bridge=True)
        assert ("is not causal" if name == "some/encoder" else "is an encoder-decoder") in said


def test_an_adapter_without_its_base_is_refused(cache: Path, tiny_neox: Path, tmp_path: Path) -> None:
    """Without weights of its own, or beside a whole model: neither is what its owner runs."""
    (tmp_path / "adapter").mkdir()
    (tmp_path / "adapter" / "adapter_config.json").write_text('{"base_model_name_or_path": "some/base"}')
    put(cache, "some/adapter", tmp_path / "adapter", "main")
    said = refused(ModelError, "some/adapter", bridge=True)
    assert said.startswith("model 'some/adapter': it holds an adapter of 'some/base' (adapter_config.json), ")
    whole = shutil.copytree(tiny_neox, tmp_path / "whole")
    shutil.copy(tmp_path / "adapter" / "adapter_config.json", whole)
    put(cache, PYTHIA, whole, "main")
    for bridge in GENERATIONS:
        assert "it holds an adapter of 'some/base'" in refused(ModelError, PYTHIA, bridge=bridge)


@pytest.mark.network
@pytest.mark.parametrize("bridge", GENERATIONS)
def test_a_checkpoint_from_the_hub(bridge: bool | None) -> None:
    early = describe(load_model("pythia-70m", checkpoint=1000, bridge=bridge, check=True))
    assert (early.name, early.checkpoint) == ("pythia-70m (step 1000)", "step 1000")
    assert str(early.compared).startswith("with Hugging Face")
    assert early.weights_sha256 != describe(load_model("pythia-70m", bridge=bridge)).weights_sha256
