"""Fixtures for the whole suite: three tiny random models, and the embedded novella. No network."""

import os

if os.environ.get("LAMINAR_LENS_NETWORK") != "1":  # nothing may hang on a retry
    os.environ["HF_HUB_OFFLINE"] = "1"
    os.environ["TRANSFORMERS_OFFLINE"] = "1"
os.environ["TOKENIZERS_PARALLELISM"] = "false"
os.environ["HF_HUB_DISABLE_PROGRESS_BARS"] = "1"
# One thread a worker: a thread that waits by spinning for one that is not running makes small products slower
# by a factor of thirty on a machine that is busy.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from jaxtyping import install_import_hook

SRC = Path(__file__).parents[1] / "src"


def with_shapes() -> list[str]:
    """The modules that write shapes; the others have none to check, and a check takes its time."""
    paths = [one for one in SRC.rglob("*.py") if "from jaxtyping import" in one.read_text(encoding="utf-8")]
    return [".".join(path.relative_to(SRC).with_suffix("").parts).removesuffix(".__init__") for path in paths]


if os.environ.get("LAMINAR_LENS_SHAPES") != "0":  # torch.compile cannot trace them
    install_import_hook(with_shapes(), "beartype.beartype")

END_OF_TEXT = "<|endoftext|>"
SENTENCES = (
    "The teacher praised her for the answer.",
    "The company promoted her to manager.",
    "They admired her courage, and her sister admired her too.",
    "A boy gave her the book; she thanked him.",
    "In the morning he drove her to the old house by the river.",
)
VOCABULARY = 320
CONTEXT = 64


def build_tokenizer(folder: Path) -> int:
    """Saves a byte-level BPE of SENTENCES; <|endoftext|> is BOS and EOS. Returns the vocabulary size."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
    from transformers import PreTrainedTokenizerFast

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.post_processor = processors.ByteLevel(trim_offsets=False)
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY,
        special_tokens=[END_OF_TEXT],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(SENTENCES, trainer)
    PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        bos_token=END_OF_TEXT,
        eos_token=END_OF_TEXT,
        unk_token=END_OF_TEXT,
        model_max_length=CONTEXT,
    ).save_pretrained(folder)
    return int(tokenizer.get_vocab_size())


def save_random_model(folder: Path, kind: str, *, seed: int = 0, **overrides: Any) -> Path:
    """A Hugging Face folder of a random model: `kind` is gpt2, llama or neox. Weights are large enough that
    layers turn the residual stream by whole radians, so that a wrong forward cannot hide; biases and norms
    are not trivial."""
    import torch
    from transformers import AutoModelForCausalLM, GPT2Config, GPTNeoXConfig, LlamaConfig

    folder.mkdir(parents=True, exist_ok=True)
    vocab = build_tokenizer(folder)
    tokens = {"vocab_size": vocab, "bos_token_id": 0, "eos_token_id": 0}
    rotary = {
        "hidden_size": 32,
        "num_hidden_layers": 3,
        "num_attention_heads": 4,
        "max_position_embeddings": CONTEXT,
    }
    configs: dict[str, Any] = {
        "gpt2": lambda: GPT2Config(
            **tokens | {"n_embd": 32, "n_layer": 3, "n_head": 4, "n_positions": CONTEXT} | overrides
        ),
        "llama": lambda: LlamaConfig(
            **tokens | rotary | {"intermediate_size": 64, "num_key_value_heads": 2} | overrides
        ),
        "neox": lambda: GPTNeoXConfig(**tokens | rotary | {"intermediate_size": 64} | overrides),
    }
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = AutoModelForCausalLM.from_config(configs[kind]())
        with torch.no_grad():
            for name, parameter in model.named_parameters():
                if parameter.ndim == 1:
                    centre = 1.0 if "norm" in name.lower() or "ln_" in name else 0.0
                    is_bias = name.endswith("bias")
                    parameter.copy_((0.0 if is_bias else centre) + 0.1 * torch.randn_like(parameter))
                else:
                    parameter.copy_(0.15 * torch.randn_like(parameter))
    model.save_pretrained(folder)
    return folder


@cache
def without_hub() -> str:
    """Why tests that download a model cannot run; empty where they can."""
    if os.environ.get("LAMINAR_LENS_NETWORK") != "1":
        return "downloads models from a hub: LAMINAR_LENS_NETWORK=1 runs it"
    from huggingface_hub import HfApi

    try:
        HfApi().model_info("gpt2", timeout=20)
    except Exception as error:
        return f"no model hub can be reached ({type(error).__name__}: {' '.join(str(error).split())[:200]})"
    return ""


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Tests of the network are skipped, with the reason, where there is none."""
    if item.get_closest_marker("network") and (reason := without_hub()):
        pytest.skip(reason)


@pytest.fixture(scope="session")
def tiny_gpt2(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Hugging Face folder of a random GPT-2: 3 layers of 32, context 64, BOS <|endoftext|>."""
    return save_random_model(tmp_path_factory.mktemp("tiny_gpt2"), "gpt2")


@pytest.fixture(scope="session")
def tiny_llama(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same of a random Llama (RMSNorm, rotary positions, grouped queries)."""
    return save_random_model(tmp_path_factory.mktemp("tiny_llama"), "llama")


@pytest.fixture(scope="session")
def tiny_neox(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same of a random GPT-NeoX (parallel attention, partial rotary positions)."""
    return save_random_model(tmp_path_factory.mktemp("tiny_neox"), "neox")


@pytest.fixture(scope="session")
def make_model_folder(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """`make_model_folder(kind, **config)` → Path: a random model folder with its own configuration."""

    def make(kind: str, **overrides: Any) -> Path:
        return save_random_model(tmp_path_factory.mktemp(kind), kind, **overrides)

    return make


@pytest.fixture(scope="session")
def novella() -> Any:
    """The embedded model, as `ll.load_model("novella")` gives it; its weights are not to be changed."""
    import laminar_lens.models as models
    from laminar_lens.models.names import NOVELLA

    if not (NOVELLA / "model.safetensors").is_file():
        pytest.skip(f"the embedded weights are not there: {NOVELLA}")
    return models.load_model("novella")


@pytest.fixture
def seed() -> Iterator[int]:
    """The suite's one seed; torch's global generator starts from it and is put back after the test."""
    import torch

    with torch.random.fork_rng():
        torch.manual_seed(20)
        yield 20
