"""A model of Hugging Face that is in memory: its weights are shared, and it stays as it is."""

import copy
from pathlib import Path
from typing import Any

import pytest
import torch

import laminar_lens.models.load as load
from laminar_lens.capture import capture_residuals
from laminar_lens.errors import InputError, LaminarLensError, ModelError
from laminar_lens.models import describe, load_model

HAS_HOOKED = load._hooked_transformer(None) is not None
KINDS = ["tiny_gpt2", "tiny_llama", "tiny_neox"]
TEXT = "He gave her the book."


@pytest.fixture(params=KINDS)
def folder(request: pytest.FixtureRequest) -> Path:
    return Path(request.getfixturevalue(request.param))


def held(folder: Path, **options: Any) -> tuple[Any, Any]:
    """A model and its tokenizer, as a user has them."""
    from transformers import AutoModelForCausalLM, AutoTokenizer

    hf = AutoModelForCausalLM.from_pretrained(folder, **options)
    return hf, AutoTokenizer.from_pretrained(folder)


def states(model: Any) -> torch.Tensor:
    return capture_residuals(model, TEXT).values


def places(model: Any) -> set[int]:
    """Where the weights lie."""
    return {weight.untyped_storage().data_ptr() for weight in model.parameters()}


def test_a_bridge_shares_the_weights_and_leaves_the_model_alone(folder: Path) -> None:
    hf, tokenizer = held(folder)
    kept = {name: weight.clone() for name, weight in hf.state_dict().items()}
    parts, config = dict(hf.named_modules()), copy.deepcopy(hf.config.to_dict())
    settings = repr(tokenizer)
    model = load_model(hf, tokenizer=tokenizer)
    info = describe(model)
    assert (info.name, info.generation, info.dtype) == (folder.name, "TransformerBridge", "float32")
    assert str(info.compared).startswith("with Hugging Face, in float32")
    assert places(hf) <= places(model)
    torch.testing.assert_close(states(model), states(load_model(folder, bridge=True)), atol=1e-5, rtol=1e-5)
    assert dict(hf.named_modules()) == parts
    assert hf.config.to_dict() == config
    assert repr(tokenizer) == settings
    model.to(torch.float64)
    load_model(hf, tokenizer=tokenizer, processed=True)
    assert {weight.dtype for weight in hf.parameters()} == {torch.float32}
    assert all(torch.equal(weight, kept[name]) for name, weight in hf.state_dict().items())


def test_what_is_changed_in_one_is_changed_in_the_other(tiny_llama: Path) -> None:
    hf, tokenizer = held(tiny_llama)
    model = load_model(hf, tokenizer=tokenizer)
    before = states(model)
    with torch.no_grad():
        hf.model.layers[1].mlp.down_proj.weight.mul_(2)
    after = states(model)
    assert torch.equal(after[:2], before[:2])
    assert not torch.allclose(after[2:], before[2:])


@pytest.mark.skipif(not HAS_HOOKED, reason="transformer-lens 4 has no HookedTransformer")
def test_it_is_converted_where_that_is_asked_for(folder: Path) -> None:
    hf, tokenizer = held(folder)
    info = describe(model := load_model(hf, tokenizer=tokenizer, bridge=False))
    assert (info.generation, info.compared is None) == ("HookedTransformer", False)
    torch.testing.assert_close(states(model), states(load_model(folder)), atol=1e-5, rtol=1e-5)


@pytest.mark.filterwarnings("ignore:.*padding on its left")  # Hugging Face's softmax is in float32
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float64])
def test_it_keeps_its_dtype(tiny_llama: Path, dtype: torch.dtype) -> None:
    hf, tokenizer = held(tiny_llama, dtype=dtype)
    model = load_model(hf, tokenizer=tokenizer)
    assert describe(model).dtype == str(dtype).removeprefix("torch.")
    assert places(hf) <= places(model)
    assert describe(load_model(hf, tokenizer=tokenizer, dtype="float32")).dtype == "float32"
    assert hf.dtype is dtype


def test_hooks_that_are_on_it_act_and_are_said(tiny_gpt2: Path) -> None:
    hf, tokenizer = held(tiny_gpt2)
    plain = states(load_model(hf, tokenizer=tokenizer))

    def twice(module: Any, given: Any, made: Any) -> Any:
        return 2 * made

    hf.transformer.h[1].mlp.register_forward_hook(twice)
    model = load_model(hf, tokenizer=tokenizer)
    with pytest.warns(UserWarning, match="Hooks that were left on the model .*twice"):
        assert not torch.allclose(states(model)[2:], plain[2:])


def test_a_model_that_accelerate_placed(tiny_llama: Path) -> None:
    from accelerate import dispatch_model

    hf, tokenizer = held(tiny_llama)
    plain = states(load_model(hf, tokenizer=tokenizer))
    hf = dispatch_model(hf, {"model": "cpu", "lm_head": "cpu"}, force_hooks=True)
    model = load_model(hf, tokenizer=tokenizer)
    assert torch.equal(states(model), plain)
    assert hf.model.layers[0].mlp.forward.args[0] is hf.model.layers[0].mlp, "its hooks are still its own"


def refused(kind: type[LaminarLensError], *given: Any, **options: Any) -> str:
    with pytest.raises(kind) as error:
        load_model(*given, **options)
    assert "\n" not in str(error.value)
    return str(error.value)


def test_what_cannot_be_taken_is_refused_in_one_line(tiny_gpt2: Path) -> None:
    from transformers import BertConfig, BertForMaskedLM, T5Config, T5ForConditionalGeneration

    hf, tokenizer = held(tiny_gpt2)
    assert "tokenizer is a NoneType; give the tokenizer of" in refused(InputError, hf)
    assert "tokenizer is a str" in refused(InputError, hf, tokenizer="gpt2")
    for choice in ({"revision": "main"}, {"checkpoint": 3}, {"device_map": "auto"}):
        assert f"{next(iter(choice))}=" in refused(InputError, hf, tokenizer=tokenizer, **choice)
    shape = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 64}
    bert = BertForMaskedLM(BertConfig(vocab_size=320, **shape))
    assert "is not causal" in refused(ModelError, bert, tokenizer=tokenizer)
    t5 = T5ForConditionalGeneration(
        T5Config(vocab_size=320, d_model=32, d_kv=8, d_ff=64, num_layers=2, num_heads=4)
    )
    assert "is an encoder-decoder (t5)" in refused(ModelError, t5, tokenizer=tokenizer)
    assert "the 'Linear'" not in refused(ModelError, torch.nn.Linear(2, 2))
    hf.transformer.h[1].to("meta")
    assert "is not in memory (it is on 'meta'" in refused(InputError, hf, tokenizer=tokenizer)


def test_a_bridge_that_differs_is_refused(make_model_folder: Any) -> None:
    hf, tokenizer = held(make_model_folder("gpt2", scale_attn_weights=False))
    assert "does not compute what Hugging Face does" in refused(ModelError, hf, tokenizer=tokenizer)
    assert describe(load_model(hf, tokenizer=tokenizer, check=False)).compared is None
