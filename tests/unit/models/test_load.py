"""load_model and describe: names, folders, faithfulness to Hugging Face, and every refusal in one line."""

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

import laminar_lens.models.load as load
import laminar_lens.models.local as local
from laminar_lens.capture import capture_residuals
from laminar_lens.errors import InputError, ModelError
from laminar_lens.models import check_name, describe, load_model, near_matches, processing_note
from laminar_lens.models.info import describe_name
from laminar_lens.models.names import NOVELLA

HAS_HOOKED = load._hooked_transformer(None) is not None
TEXT = "He gave her the book."


@pytest.fixture
def copied(tiny_gpt2: Path, tmp_path: Path) -> Path:
    """A folder that a test may damage."""
    return Path(shutil.copytree(tiny_gpt2, tmp_path / "model"))


@pytest.mark.parametrize(
    ("given", "name"),
    [
        ("/home/me/models/my-gpt2/", "my-gpt2"),
        ("./my-gpt2", "my-gpt2"),
        ("~/my-gpt2", "my-gpt2"),
        ("EleutherAI/pythia-70m", "EleutherAI/pythia-70m"),
        ("gpt2", "gpt2"),
        (None, "the model"),
    ],
)
def test_a_model_that_was_built_by_hand_is_named_without_its_path(given: str | None, name: str) -> None:
    class Model:
        class cfg:  # noqa: N801
            model_name = given

    assert describe_name(Model()) == name  # type: ignore[arg-type]


def test_a_copy_of_an_embedded_model_is_not_taken_for_it(tmp_path: Path, tiny_gpt2: Path) -> None:
    info = describe(load_model(shutil.copytree(tiny_gpt2, tmp_path / "novella"), keep_paths=True))
    assert info.name == "novella (a folder)"
    assert info.as_dict()["path"] == str(tmp_path / "novella")


@pytest.mark.parametrize("kind", ["tiny_gpt2", "tiny_llama", "tiny_neox"])
@pytest.mark.parametrize("bridge", [None, True])
def test_folders_load(kind: str, bridge: bool | None, request: pytest.FixtureRequest) -> None:
    folder = request.getfixturevalue(kind)
    info = describe(load_model(str(folder), bridge=bridge))
    assert info.name == folder.name
    assert "path" not in info.as_dict()
    assert (info.n_layers, info.d_model, info.n_ctx, info.bos_token_id) == (3, 32, 64, 0)
    assert info.generation == ("HookedTransformer" if HAS_HOOKED and not bridge else "TransformerBridge")
    assert info.weight_processing == "none"
    assert (info.device, info.dtype) == ("cpu", "float32")
    assert info.positions == ("absolute" if kind == "tiny_gpt2" else "rotary")
    assert json.loads(json.dumps(info.as_dict())) == info.as_dict()


def test_fingerprint_tells_weights_apart(tiny_gpt2: Path, make_model_folder: Any) -> None:
    first, again = describe(load_model(tiny_gpt2)), describe(load_model(tiny_gpt2))
    assert first.weights_sha256 == again.weights_sha256
    assert describe(load_model(make_model_folder("gpt2", seed=1))).weights_sha256 != first.weights_sha256


@pytest.mark.usefixtures("seed")
def test_fingerprint_sees_any_changed_value(tiny_gpt2: Path) -> None:
    model = load_model(tiny_gpt2)
    before = describe(model).weights_sha256
    for name, parameter in model.named_parameters():
        place = tuple(int(torch.randint(size, ())) for size in parameter.shape)
        kept = parameter.data[place].clone()
        parameter.data[place] += 0.25
        assert describe(model).weights_sha256 != before, name
        parameter.data[place] = kept
    assert describe(model).weights_sha256 == before


@pytest.mark.parametrize("bridge", [None, True])
def test_loading_leaves_the_global_generator_alone(tiny_gpt2: Path, bridge: bool | None) -> None:
    before = torch.random.get_rng_state()
    load_model(tiny_gpt2, bridge=bridge)
    assert torch.equal(torch.random.get_rng_state(), before)


def test_loading_prints_nothing(tiny_gpt2: Path, capfd: pytest.CaptureFixture[str]) -> None:
    load_model(tiny_gpt2)
    load_model(tiny_gpt2, bridge=True, processed=True)
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("dtype", ["float64", "bfloat16", torch.float16, "torch.float32"])
def test_dtypes(tiny_gpt2: Path, dtype: Any) -> None:
    model = load_model(tiny_gpt2, dtype=dtype)
    assert describe(model).dtype == str(dtype).removeprefix("torch.")
    assert str(capture_residuals(model, TEXT).values.dtype).endswith(describe(model).dtype)


@pytest.mark.parametrize(
    ("kind", "config"),
    [
        ("llama", {"attention_bias": True}),
        ("llama", {"mlp_bias": True}),
    ],
)
def test_a_converter_that_ignores_the_configuration_is_caught(
    make_model_folder: Any, kind: str, config: dict[str, Any]
) -> None:
    """HookedTransformer's converter drops these biases without a word; the bridge runs Hugging Face's own
    code."""
    folder = make_model_folder(kind, **config)
    if HAS_HOOKED:
        with pytest.raises(
            ModelError, match=r"does not compute what Hugging Face does, .* rad apart .*bridge=True"
        ):
            load_model(folder)
    assert describe(load_model(folder, bridge=True)).n_layers == 3


def test_a_bridge_that_differs_is_refused(make_model_folder: Any) -> None:
    with pytest.raises(ModelError, match="does not compute what Hugging Face does"):
        load_model(make_model_folder("gpt2", scale_attn_weights=False), bridge=True)


@pytest.mark.parametrize("bridge", [None, True])
@pytest.mark.parametrize(
    ("kind", "expected"),
    [("tiny_gpt2", "folded, centred"), ("tiny_llama", "folded"), ("tiny_neox", "folded, centred")],
)
def test_processing_is_opt_in_and_recorded(
    kind: str, expected: str, bridge: bool | None, request: pytest.FixtureRequest
) -> None:
    model = load_model(request.getfixturevalue(kind), bridge=bridge, processed=True)
    assert describe(model).weight_processing == expected
    assert ("centring" in processing_note(model)) == ("centred" in expected)


def test_a_user_built_model_is_taken_as_it_is() -> None:
    if not HAS_HOOKED:
        pytest.skip("transformer-lens 4 has no HookedTransformer")
    from transformer_lens import HookedTransformer

    shape = {
        "n_layers": 2,
        "d_model": 16,
        "n_ctx": 32,
        "d_head": 8,
        "d_vocab": 50,
        "act_fn": "gelu",
        "seed": 0,
    }
    model = HookedTransformer(shape)
    info = describe(model)
    assert (info.weight_processing, info.bos_token_id, info.vocab_size) == ("none", None, 50)
    assert info.name
    tokens = torch.tensor([[1, 2, 3]])
    before = capture_residuals(model, tokens)
    assert before.values.shape == (3, 1, 3, 16)
    model.process_weights_()
    with pytest.warns(UserWarning, match="processed by TransformerLens"):
        capture_residuals(model, tokens)
    assert describe(model).weight_processing == "folded, centred"


def test_a_user_built_bridge_is_taken_as_it_is(tiny_gpt2: Path) -> None:
    from transformer_lens.model_bridge import TransformerBridge

    model = TransformerBridge.boot_transformers(str(tiny_gpt2), device="cpu")
    assert describe(model).bos_token_id == 0
    assert capture_residuals(model, TEXT, prepend_bos=True).tokens[0, 0] == 0
    model.enable_compatibility_mode(disable_warnings=True)
    assert describe(model).weight_processing == "folded, centred"


def test_a_tokenizer_without_bos_has_none(copied: Path) -> None:
    """TransformerLens puts the EOS in the BOS's place; a token of another meaning is not the model's BOS."""
    file = copied / "tokenizer_config.json"
    content = json.loads(file.read_text())
    del content["bos_token"]
    file.write_text(json.dumps(content))
    model = load_model(copied)
    assert describe(model).bos_token_id is None
    with pytest.raises(InputError, match="no BOS token"):
        capture_residuals(model, TEXT, prepend_bos=True)


def refused(name: Any, **options: Any) -> str:
    with pytest.raises(ModelError) as error:
        load_model(name, **options)
    assert "\n" not in str(error.value)
    return str(error.value)


def test_unknown_names() -> None:
    assert "did you mean novella" in refused("novela")
    assert "gpt2-xl" in refused("gpt2-xll")
    assert near_matches("pythia-70")[0].startswith("pythia-70")
    assert "empty" in refused("")
    assert "is a dict; give a name or a folder" in refused({})
    assert "no such folder" in refused("./nowhere")
    assert "no such folder" in refused(Path("nowhere"))
    assert "not the name of a model" in refused("two words")
    reason = refused("nobody/nothing-at-all", bridge=True)
    assert "not in the local Hugging Face cache" in reason


def test_names_that_may_be_models_pass() -> None:
    for name in ("gpt2", "GPT2", "pythia-70m", "EleutherAI/pythia-70m", "somebody/something"):
        check_name(name)


def test_checking_a_name_imports_nothing_heavy() -> None:
    code = (
        "import sys; from laminar_lens.models import check_name; check_name('gpt2'); "
        "sys.exit(bool({'torch', 'transformers', 'transformer_lens'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_damaged_folders(copied: Path) -> None:
    weights = copied / "model.safetensors"
    whole = weights.read_bytes()
    weights.write_bytes(whole[: len(whole) // 2])
    assert f"half-written: {len(whole) // 2:,} of {len(whole):,} bytes" in refused(copied)
    weights.write_bytes(whole[:6])
    assert "its header is cut" in refused(copied)
    weights.write_bytes(len(b"no json").to_bytes(8, "little") + b"no json")
    assert "unreadable header" in refused(copied)
    weights.unlink()
    assert "holds no weights" in refused(copied)
    (copied / "model.safetensors.index.json").write_text('{"weight_map": {"a": "model-1.safetensors"}}')
    assert "model-1.safetensors are missing" in refused(copied)
    (copied / "config.json").write_text("{")
    assert "not valid JSON" in refused(copied)
    (copied / "config.json").unlink()
    assert "has no config.json" in refused(copied)
    assert "is a file" in refused(copied / "tokenizer.json")


def test_damaged_torch_weights(copied: Path) -> None:
    (copied / "model.safetensors").unlink()
    for content in (b"", b"PK half of a zip file"):
        (copied / "pytorch_model.bin").write_bytes(content)
        assert "half-written" in refused(copied)


def test_weights_that_are_not_finite_are_said_to_be(copied: Path) -> None:
    from safetensors.torch import load_file, save_file

    weights = copied / "model.safetensors"
    tensors = load_file(weights)
    next(iter(tensors.values())).fill_(float("nan"))
    save_file(tensors, weights, {"format": "pt"})
    for bridge in (None, True):
        assert "is not finite" in refused(copied, bridge=bridge)


@pytest.mark.parametrize("bridge", [None, True])
def test_a_small_difference_is_refused_too(
    copied: Path, monkeypatch: pytest.MonkeyPatch, bridge: bool | None
) -> None:
    """Less than float32 could tell: float64 tells it."""
    reference = local.make_reference

    def turned(hf: Any, name: str) -> Any:
        made = reference(hf, name)
        axis = torch.nn.functional.normalize(torch.randn_like(made.states[2]), dim=-1)
        made.states[2] += 1e-7 * made.states[2].norm(dim=-1, keepdim=True) * axis
        return made

    monkeypatch.setattr(local, "make_reference", turned)
    assert "hidden state 2" in refused(copied, bridge=bridge)


def test_missing_tensors_are_not_filled_in_silently(copied: Path) -> None:
    from safetensors.torch import load_file, save_file

    weights = copied / "model.safetensors"
    tensors = load_file(weights)
    name = next(name for name in tensors if name.endswith("h.1.attn.c_proj.weight"))
    del tensors[name]
    save_file(tensors, weights, {"format": "pt"})
    assert "the weights lack 1 of the model's tensors" in refused(copied)


def test_a_folder_without_a_tokenizer(copied: Path) -> None:
    for file in copied.glob("tokenizer*"):
        file.unlink()
    assert "has no tokenizer" in refused(copied)


def test_remote_code_is_not_run_unasked(copied: Path) -> None:
    config = json.loads((copied / "config.json").read_text())
    config |= {
        "model_type": "unheard-of",
        "auto_map": {"AutoConfig": "code.Config", "AutoModelForCausalLM": "code.M"},
    }
    (copied / "config.json").write_text(json.dumps(config))
    (copied / "code.py").write_text("raise SystemExit('remote code ran')")
    assert "trust_remote_code" in refused(copied)


def test_devices_and_dtypes_that_are_not_there(tiny_gpt2: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    for options, message in (
        ({"device": "cuda"}, "finds no CUDA device; use 'cpu'"),
        ({"device": "abacus"}, "device 'abacus' is unknown"),
        ({"dtype": "int8"}, "dtype 'int8' is unknown"),
        ({"dtype": torch.int32}, "dtype torch.int32 is unknown"),
    ):
        with pytest.raises(InputError, match=message):
            load_model(tiny_gpt2, **options)


def test_the_other_generation_by_name(tiny_gpt2: Path) -> None:
    if HAS_HOOKED:
        assert describe(load_model(tiny_gpt2, bridge=False)).generation == "HookedTransformer"
    else:
        assert "transformer-lens<4" in refused(tiny_gpt2, bridge=False)


@pytest.mark.network
@pytest.mark.parametrize("bridge", [None, True])
def test_a_hub_model_loads_and_is_not_processed(bridge: bool | None) -> None:
    info = describe(load_model("gpt2", bridge=bridge))
    assert (info.n_layers, info.d_model, info.n_ctx, info.weight_processing) == (12, 768, 1024, "none")
    assert info.bos_token_id == 50256


def test_novella_is_embedded(novella: Any) -> None:
    info = describe(novella)
    assert info.name == "novella"
    assert info.n_ctx >= 128
    assert info.bos_token_id is not None
    assert len(novella.tokenizer(" her", add_special_tokens=False)["input_ids"]) == 1
    assert (NOVELLA / "model.safetensors").stat().st_size <= 10_000_000
