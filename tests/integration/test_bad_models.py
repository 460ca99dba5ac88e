"""Models that cannot be measured: one line that says why and what to do, exit status 2, nothing written."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from laminar_lens.cli import main
from tests.conftest import build_tokenizer
from tests.gguf_files import write_gguf

Make = Callable[[Path, Path], Path]
"""Called as (a whole Llama's folder, an empty one); returns the model that is given."""


def cut_short(whole: Path, folder: Path) -> Path:
    file = write_gguf(whole, folder / "m.gguf")
    file.write_bytes(file.read_bytes()[:-1000])
    return file


def of_an_unknown_architecture(whole: Path, folder: Path) -> Path:
    return write_gguf(whole, folder / "m.gguf", architecture="abacus")


def with_another_tokenizer(whole: Path, folder: Path) -> Path:
    return write_gguf(whole, folder / "m.gguf", tokens=7)


def without_a_shard(whole: Path, folder: Path) -> Path:
    from transformers import AutoModelForCausalLM

    shutil.copytree(whole, folder / "m", ignore=shutil.ignore_patterns("*.safetensors"))
    AutoModelForCausalLM.from_pretrained(whole).save_pretrained(folder / "m", max_shard_size="40KB")
    sorted((folder / "m").glob("*.safetensors"))[1].unlink()
    return folder / "m"


def adapter(whole: Path, folder: Path) -> Path:
    for name in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copy(whole / name, folder / name)
    (folder / "adapter_config.json").write_text(json.dumps({"base_model_name_or_path": "some/base"}))
    shutil.copy(whole / "model.safetensors", folder / "adapter_model.safetensors")
    return folder


def adapter_beside_its_base(whole: Path, folder: Path) -> Path:
    shutil.copytree(whole, folder / "m")
    return adapter(whole, folder / "m")


def encoder(whole: Path, folder: Path) -> Path:
    from transformers import BertConfig, BertForMaskedLM

    shape = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 64}
    BertForMaskedLM(BertConfig(vocab_size=build_tokenizer(folder), **shape)).save_pretrained(folder)
    return folder


def encoder_decoder(whole: Path, folder: Path) -> Path:
    from transformers import T5Config, T5ForConditionalGeneration

    shape = {"d_model": 32, "d_kv": 8, "d_ff": 64, "num_layers": 2, "num_heads": 4}
    T5ForConditionalGeneration(T5Config(vocab_size=build_tokenizer(folder), **shape)).save_pretrained(folder)
    return folder


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (cut_short, "it is cut short: "),
        (of_an_unknown_architecture, "its architecture 'abacus' is none that Hugging Face reads"),
        (with_another_tokenizer, "327 tokens, but the model's vocabulary 320: it is another's"),
        (without_a_shard, "the weights model-00002-of-"),
        (
            adapter,
            "it holds an adapter of 'some/base' (adapter_config.json), which is no model by itself: merge",
        ),
        (adapter_beside_its_base, "it holds an adapter of 'some/base'"),
        (encoder, "is not causal: "),
        (encoder_decoder, "config.json is of an encoder-decoder (t5): give a causal language model"),
    ],
)
def test_it_is_refused_in_one_line(
    make: Make, said: str, tiny_llama: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "model").mkdir()
    model, out = make(tiny_llama, tmp_path / "model"), tmp_path / "out"
    status = main(["sinks", "--model", str(model), "--out", str(out), "--quiet"])
    stdout, stderr = capsys.readouterr()
    assert (status, stdout, out.exists()) == (2, "", False), stderr
    assert stderr.startswith("laminar-lens: error: model ")
    assert (said in stderr, stderr.count("\n")) == (True, 1), stderr


def test_the_whole_model_that_they_are_made_of_is_measured(tiny_llama: Path, tmp_path: Path) -> None:
    texts = ["--texts", "sampled", "--n-texts", "8", "--length", "8"]
    argv = ["sinks", "--model", str(tiny_llama), *texts, "--no-random"]
    assert main([*argv, "--out", str(tmp_path / "out"), "--quiet"]) == 0
