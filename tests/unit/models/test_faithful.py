"""What loading compares with Hugging Face (windows, scalings, padding), contexts, causality, checkpoints.

The right values are Hugging Face's own, in float64, computed here without the package's loading."""

import warnings
from pathlib import Path
from typing import Any

import pytest
import torch

import laminar_lens.models.faithful as faithful
import laminar_lens.models.load as load
import laminar_lens.models.local as local
from laminar_lens.capture import capture_residuals
from laminar_lens.errors import InputError, ModelError
from laminar_lens.models import describe, load_model, sample_tokens
from laminar_lens.models.causality import check_causal
from laminar_lens.models.context import config_context, context_length, turning_lengths
from laminar_lens.models.exact import AllFloat64
from laminar_lens.models.originals import load_hf
from tests.conftest import build_tokenizer

HAS_HOOKED = load._hooked_transformer(None) is not None
GENERATIONS = [None, True] if HAS_HOOKED else [True]
HOOKED = pytest.mark.skipif(not HAS_HOOKED, reason="transformer-lens 4 has no HookedTransformer")
SHAPE = {
    "hidden_size": 32,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "intermediate_size": 64,
    "max_position_embeddings": 128,
}
ROTARY = SHAPE | {"num_key_value_heads": 2}
WINDOW = {"use_sliding_window": True, "sliding_window": 32, "max_window_layers": 1}


def scaling(kind: str, **options: Any) -> dict[str, Any]:
    return {"rope_parameters": {"rope_theta": 10000.0, "rope_type": kind, "factor": 4.0} | options}


BEFORE = {"original_max_position_embeddings": 32}
LLAMA3 = scaling("llama3", low_freq_factor=1.0, high_freq_factor=4.0, **BEFORE)
FOUR = {"num_key_value_heads": 4}
SHORT_OR_LONG = {"short_factor": [1.0] * 4, "long_factor": [1.5, 2.0, 3.0, 4.0]}
LOCAL = {"num_layers": 4, "num_heads": 4, "attention_types": [[["global", "local"], 2]], "window_size": 16}


@pytest.fixture(scope="module")
def save(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """`save("Qwen2", **config)` → the folder of a random model whose layers turn the stream."""
    made: dict[str, Path] = {}

    def folder(kind: str, **options: Any) -> Path:
        import transformers

        if (key := repr((kind, options))) in made:
            return made[key]
        path = made[key] = tmp_path_factory.mktemp(kind)
        vocab = build_tokenizer(path)
        tokens = {"bos_token_id": 0, "eos_token_id": 0, "pad_token_id": 0, "vocab_size": vocab}
        config = getattr(transformers, f"{kind}Config")(**tokens | options)
        masked = kind in ("Bert", "Roberta")
        auto = transformers.AutoModelForMaskedLM if masked else transformers.AutoModelForCausalLM
        with torch.random.fork_rng():
            torch.manual_seed(0)
            model = auto.from_config(config)
            with torch.no_grad():
                for name, parameter in model.named_parameters():
                    noise = torch.randn_like(parameter)
                    is_gain = parameter.ndim == 1 and name.endswith("weight") and "Gemma" not in kind
                    parameter.copy_(is_gain + (0.1 if parameter.ndim == 1 else 0.15) * noise)
        model.save_pretrained(path)
        return path

    return folder


def hugging_face(folder: Path, tokens: torch.Tensor) -> torch.Tensor:
    """Hidden states [layer pos d_model] in float64."""
    from transformers import AutoModelForCausalLM

    with AllFloat64(), torch.no_grad():
        model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float64, attn_implementation="eager")
        return torch.cat(model.eval()(tokens, output_hidden_states=True).hidden_states)


def largest_angle(states: torch.Tensor, expected: torch.Tensor) -> float:
    u, v = (torch.nn.functional.normalize(x.double(), dim=-1) for x in (states, expected))
    return float((2 * torch.atan2((u - v).norm(dim=-1), (u + v).norm(dim=-1))).max())


RIGHT = [
    ("GPTNeo", {"hidden_size": 32, "max_position_embeddings": 128} | LOCAL, True),
    ("Bloom", {"hidden_size": 32, "n_layer": 3, "n_head": 4}, True),
    ("Llama", ROTARY | LLAMA3, True),
    ("Llama", ROTARY | scaling("dynamic"), True),
    ("Mistral", ROTARY | {"sliding_window": 16}, True),
    ("Qwen3", ROTARY | {"head_dim": 8}, True),
    ("Phi3", SHAPE | FOUR | {"sliding_window": 16}, True),
    ("Gemma2", ROTARY | {"head_dim": 8, "sliding_window": 16}, False),
    ("Gemma3Text", ROTARY | {"head_dim": 8, "sliding_window": 16, "num_hidden_layers": 7}, False),
]
"""Configuration, and whether a HookedTransformer is right too."""

WRONG = [
    ("Qwen2", ROTARY | WINDOW, 32),
    ("Qwen3", ROTARY | {"head_dim": 8} | WINDOW, 32),
    ("Llama", ROTARY | scaling("linear"), 1),
    ("Llama", ROTARY | scaling("yarn", **BEFORE), 1),
    ("Phi3", SHAPE | FOUR | BEFORE | scaling("longrope", **BEFORE, **SHORT_OR_LONG), None),
]
"""Configurations that HookedTransformer ignores, and the first token that shows it."""


@pytest.mark.parametrize("bridge", GENERATIONS)
@pytest.mark.parametrize(("kind", "config", "hooked"), RIGHT)
def test_what_loads_is_hugging_face_s(
    save: Any, kind: str, config: dict[str, Any], hooked: bool, bridge: bool | None
) -> None:
    if not (hooked or bridge):
        pytest.skip(f"HookedTransformer loads no {kind} from a folder")
    folder = save(kind, **config)
    tokens = torch.randint(0, 300, (1, 100), generator=torch.Generator().manual_seed(5))
    states = capture_residuals(load_model(folder, bridge=bridge), tokens, final_norm=True).values[:, 0]
    assert largest_angle(states, hugging_face(folder, tokens)) < 5e-6


@HOOKED
@pytest.mark.parametrize(("kind", "config", "token"), WRONG)
def test_what_a_converter_ignores_is_refused_wherever_it_begins(
    save: Any, kind: str, config: dict[str, Any], token: int | None
) -> None:
    begins = "" if token is None else f"beginning at token {token} of 128; "
    with pytest.raises(ModelError, match=rf"does not compute what Hugging Face does.*{begins}.*bridge=True"):
        load_model(save(kind, **config))


@pytest.mark.parametrize(("kind", "config", "_"), WRONG)
def test_the_bridge_is_right_where_the_converter_is_not(
    save: Any, kind: str, config: dict[str, Any], _: Any
) -> None:
    folder = save(kind, **config)
    tokens = torch.randint(0, 300, (1, 100), generator=torch.Generator().manual_seed(5))
    states = capture_residuals(load_model(folder, bridge=True), tokens, final_norm=True).values[:, 0]
    assert largest_angle(states, hugging_face(folder, tokens)) < 5e-6


@pytest.mark.parametrize(
    ("parameters", "tokens", "unchecked"), [(10**6, 128, ()), (10**9, 48, ()), (10**11, 16, (32,))]
)
def test_a_probe_is_as_long_as_it_is_worth_and_goes_beyond_a_window(
    parameters: int, tokens: int, unchecked: tuple[int, ...]
) -> None:
    from transformers import Qwen2Config

    probe = faithful.make_probe(Qwen2Config(vocab_size=300, **ROTARY | WINDOW), parameters, "cpu")
    assert (probe.text.shape, probe.unchecked) == ((1, tokens), unchecked)


@pytest.mark.parametrize("bos", [7, None])
def test_the_long_text_and_the_padded_one_begin_with_the_bos(bos: int | None, save: Any) -> None:
    hf = load_hf(save("Llama", **ROTARY, bos_token_id=bos), dtype=torch.float32)
    found = local.make_reference(hf, "m")
    begins = [int(text[0, 0]) for text in (found.probe.text, found.shorter, found.short)]
    assert [first == 7 for first in begins] == [bos == 7, bos == 7, False]


def test_a_window_too_long_to_compare_is_told(save: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(faithful, "PLAIN", (0.0, 0))
    monkeypatch.setattr(faithful, "TURNING", (0.0, 0))
    with pytest.warns(UserWarning, match="on 16 tokens; its attention or positions change beyond 32 tokens"):
        load_model(save("Qwen2", **ROTARY | WINDOW), bridge=True)


def test_a_model_that_pads_otherwise_is_told(tiny_gpt2: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(faithful, "_padded_distance", lambda model, reference: 0.1)
    with pytest.warns(UserWarning, match="other states for a text with padding on its left"):
        load_model(tiny_gpt2)


@pytest.mark.parametrize("bridge", GENERATIONS)
def test_padding_is_compared(tiny_gpt2: Path, bridge: bool | None) -> None:
    """Left-padded rows agree where the mask is given, and would be seen not to where it is not."""
    hf = load_hf(tiny_gpt2, dtype=torch.float32)
    reference = local.make_reference(hf, "m")
    model = load_model(tiny_gpt2, bridge=bridge)
    assert faithful._padded_distance(model, reference) < 5e-6
    run = model.run_with_hooks
    model.run_with_hooks = lambda tokens, attention_mask, **rest: run(tokens, **rest)
    try:
        assert faithful._padded_distance(model, reference) > 0.01
    finally:
        del model.run_with_hooks


@pytest.mark.parametrize("bridge", GENERATIONS)
@pytest.mark.parametrize(("float32_rad", "loads"), [(1e-6, True), (1e-4, True), (1e-2, False)])
def test_a_larger_model_is_decided_in_float64(
    tiny_gpt2: Path, monkeypatch: pytest.MonkeyPatch, bridge: bool | None, float32_rad: float, loads: bool
) -> None:
    """Float32 decides what is plainly right or wrong; a doubt of 10⁻⁴ rad, float64."""
    monkeypatch.setattr(local, "SMALL_BYTES", 0)
    real = local.distance

    def distance(model: Any, reference: Any, name: str) -> Any:
        found = real(model, reference, name)
        exact = reference.states[0].dtype is torch.float64
        return found if exact else faithful.Distance(torch.full_like(found.angles, float32_rad))

    monkeypatch.setattr(local, "distance", distance)
    if loads:
        assert describe(load_model(tiny_gpt2, bridge=bridge)).dtype == "float32"
    else:
        with pytest.raises(ModelError, match=r"1\.0e-02 rad apart"):
            load_model(tiny_gpt2, bridge=bridge)


def test_float64_is_wide_everywhere_and_leaves_no_trace() -> None:
    with AllFloat64():
        assert torch.ones(3, dtype=torch.float64).to(torch.float32).dtype is torch.float64
        assert (torch.arange(3) / 3).dtype is torch.float64
        assert torch.ones(2).float().softmax(-1, dtype=torch.float32).dtype is torch.float64
    assert torch.ones(2).dtype is torch.get_default_dtype() is torch.float32


def test_lengths_that_matter_and_contexts() -> None:
    from transformers import GPT2Config, LlamaConfig, MistralConfig, MptConfig, Qwen2Config

    assert turning_lengths(MistralConfig(sliding_window=512)) == [512]
    assert turning_lengths(MistralConfig(sliding_window=None)) == []
    assert turning_lengths(Qwen2Config(sliding_window=32)) == []  # use_sliding_window is False
    assert turning_lengths(LlamaConfig(**LLAMA3)) == [32]
    assert config_context(GPT2Config(n_positions=77)) == 77
    assert config_context(MptConfig(max_seq_len=99)) == 99
    assert config_context({"text_config": {"max_position_embeddings": 5}}) == 5
    assert config_context({"max_position_embeddings": True}) is None


@pytest.mark.parametrize("bridge", GENERATIONS)
@pytest.mark.parametrize("kind", ["Qwen3", "Mistral"])
@pytest.mark.parametrize("context", [128, 4096])
def test_the_context_is_the_model_s_own(save: Any, kind: str, context: int, bridge: bool | None) -> None:
    """TransformerLens's tables say 2,048: 600 tokens are refused for 128, 3,000 are right for 4,096."""
    head = {"head_dim": 8} if kind == "Qwen3" else {"sliding_window": None}
    folder = save(kind, **ROTARY | head | {"max_position_embeddings": context, "num_hidden_layers": 1})
    model = load_model(folder, bridge=bridge)
    assert describe(model).n_ctx == context_length(model) == context
    length = 600 if context == 128 else 3000
    tokens = torch.randint(0, 300, (1, length), generator=torch.Generator().manual_seed(5))
    if length > context:
        with pytest.raises(InputError, match="600 tokens, more than the model's context of 128"):
            capture_residuals(model, tokens)
        with pytest.raises(InputError, match="length is 600"):
            sample_tokens(model, 2, 600)
        return
    states = capture_residuals(model, tokens, final_norm=True).values[:, 0]
    assert largest_angle(states, hugging_face(folder, tokens)) < 1e-4  # rotary angles of 3,000 rad in float32


def test_the_context_of_a_user_s_own_bridge_is_its_configuration_s(save: Any) -> None:
    from transformer_lens.model_bridge import TransformerBridge

    folder = save("Qwen3", **ROTARY | {"head_dim": 8, "num_hidden_layers": 1})
    model = TransformerBridge.boot_transformers(str(folder), device="cpu")
    model.cfg.n_ctx = 2048  # as TransformerLens's tables say for the family
    assert describe(model).n_ctx == context_length(model) == 128
    with pytest.raises(InputError, match="600 tokens, more than the model's context of 128"):
        capture_residuals(model, torch.ones(1, 600, dtype=torch.long))


@HOOKED
def test_a_table_that_nothing_reads_is_no_part_of_the_fingerprint(save: Any) -> None:
    folder = save("Bloom", hidden_size=32, n_layer=3, n_head=4)
    assert not load_model(folder, bridge=False).pos_embed.W_pos.any()


@pytest.mark.parametrize("bridge", GENERATIONS)
@pytest.mark.parametrize("kind", ["Bert", "Roberta"])
def test_encoders_are_refused(save: Any, kind: str, bridge: bool | None) -> None:
    with pytest.raises(ModelError, match=r"is not causal: .* in both directions") as error:
        load_model(save(kind, **SHAPE), bridge=bridge)
    assert "bridge=True" not in str(error.value)


@pytest.mark.parametrize("bridge", GENERATIONS)
def test_encoder_decoders_are_refused(tmp_path: Path, bridge: bool | None) -> None:
    from transformers import T5Config, T5ForConditionalGeneration

    vocab = build_tokenizer(tmp_path)
    T5ForConditionalGeneration(
        T5Config(vocab_size=vocab, d_model=32, d_kv=8, d_ff=64, num_layers=2, num_heads=4)
    ).save_pretrained(tmp_path)
    with pytest.raises(ModelError, match=r"of an encoder-decoder \(t5\): give a causal language") as error:
        load_model(tmp_path, bridge=bridge)
    assert "bridge=True" not in str(error.value)


@HOOKED
@pytest.mark.parametrize("name", ["bert-base-cased", "t5-small"])
def test_encoders_that_transformerlens_knows_by_name_are_refused(name: str) -> None:
    with pytest.raises(ModelError) as error:
        load_model(name, bridge=False)
    assert "bridge=True" not in str(error.value)


@pytest.mark.parametrize("measure", [capture_residuals, lambda model, _: sample_tokens(model, 2, 4)])
def test_a_user_s_own_encoder_is_refused(save: Any, measure: Any) -> None:
    from transformer_lens.model_bridge import TransformerBridge

    model = TransformerBridge.boot_transformers(str(save("Bert", **SHAPE)), device="cpu")
    for _ in range(2):
        with pytest.raises(ModelError, match="is not causal"):
            measure(model, torch.arange(1, 9)[None])


def test_a_user_s_own_model_is_tested_once(tiny_gpt2: Path) -> None:
    from transformer_lens.model_bridge import TransformerBridge

    model = TransformerBridge.boot_transformers(str(tiny_gpt2), device="cpu")
    passes: list[int] = []
    model.blocks[0].register_forward_hook(lambda *_: passes.append(1))
    for _ in range(3):
        check_causal(model, "m")
    assert len(passes) == 2


@HOOKED
def test_a_hooked_transformer_that_looks_ahead_is_refused() -> None:
    from transformer_lens import HookedTransformer

    shape = {"n_layers": 2, "d_model": 16, "n_ctx": 32, "d_head": 8, "d_vocab": 50, "act_fn": "gelu"}
    model = HookedTransformer(shape | {"seed": 0, "attention_dir": "bidirectional"})
    with pytest.raises(ModelError, match="is not causal"):
        capture_residuals(model, torch.tensor([[1, 2, 3]]))
    causal = HookedTransformer(shape | {"seed": 0})
    assert capture_residuals(causal, torch.tensor([[1, 2, 3]])).values.shape == (3, 1, 3, 16)


@pytest.mark.parametrize("bridge", GENERATIONS)
def test_checkpoints_are_told_apart(tiny_gpt2: Path, bridge: bool | None) -> None:
    from laminar_lens.models.sources import SOURCES

    model = load_model(tiny_gpt2, bridge=bridge)
    assert describe(model).checkpoint is None
    del SOURCES[model]  # as a user's own
    model.cfg.model_name = "pythia-70m"
    names = []
    for step in (0, 1000):
        model.cfg.checkpoint_value, model.cfg.checkpoint_label_type = step, "step"
        assert describe(model).checkpoint == f"step {step}"
        assert capture_residuals(model, torch.tensor([[1, 2]])).info["checkpoint"] == f"step {step}"
        names.append(describe(model).name)
    assert names == ["pythia-70m (step 0)", "pythia-70m (step 1000)"]
    model.cfg.checkpoint_value, model.cfg.checkpoint_index = None, 7
    assert describe(model).checkpoint == "checkpoint number 7"


def test_loading_a_right_model_warns_of_nothing(tiny_llama: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        info = describe(load_model(tiny_llama))
    assert info.compared == "with Hugging Face, in float64, 64 tokens"
