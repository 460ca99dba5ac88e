"""random_twin and sample_tokens: seeds, independence of batches and generations, special tokens, the global
state."""

from pathlib import Path
from typing import Any

import pytest
import torch

from laminar_lens.capture import capture_residuals
from laminar_lens.errors import InputError
from laminar_lens.models import describe, load_model, random_twin, sample, sample_tokens

KINDS = ("tiny_gpt2", "tiny_llama", "tiny_neox")
TEXT = "He gave her the book."


@pytest.fixture(scope="module", params=KINDS)
def folder(request: pytest.FixtureRequest) -> Path:
    path: Path = request.getfixturevalue(request.param)
    return path


@pytest.fixture(scope="module", params=["default", "bridge"])
def model(folder: Path, request: pytest.FixtureRequest) -> Any:
    return load_model(folder, bridge=True if request.param == "bridge" else None)


def test_samples_are_seeded_and_do_not_depend_on_batches(model: Any) -> None:
    state = torch.random.get_rng_state()
    tokens = sample_tokens(model, 7, 20, seed=3)
    assert torch.equal(torch.random.get_rng_state(), state)
    assert tokens.shape == (7, 20)
    assert tokens.equal(sample_tokens(model, 7, 20, seed=3, batch_size=2))
    assert not tokens.equal(sample_tokens(model, 7, 20, seed=4))
    assert int(tokens.min()) > 0  # 0 is <|endoftext|>
    assert int(tokens.max()) < len(model.tokenizer)


def test_cached_keys_and_values_give_the_model_s_own_distribution(model: Any) -> None:
    """At temperature near 0 a text is the model's most likely continuation, found here without any cache."""
    context = int(model.cfg.n_ctx)
    tokens = sample_tokens(model, 2, context, seed=0, temperature=1e-4)
    bos = torch.zeros(2, 1, dtype=torch.long)
    with torch.no_grad():
        logits = model(torch.cat([bos, tokens], dim=1)[:, :-1], return_type="logits")
    logits[..., 0] = -torch.inf
    logits[..., len(model.tokenizer) :] = -torch.inf
    best = logits.topk(2).values
    clear = (best[..., 0] - best[..., 1]) > 1e-2
    assert clear.float().mean() > 0.9
    assert logits.argmax(-1)[clear].equal(tokens[clear])


def test_samples_are_distributed_as_the_model_says(tiny_gpt2: Path) -> None:
    model = load_model(tiny_gpt2)
    count = 4000
    model.cfg.n_ctx = 2
    first = sample_tokens(model, count, 2, seed=1)[:, 0]
    with torch.no_grad():
        logits = model(torch.zeros(1, 1, dtype=torch.long), return_type="logits")[0, -1]
    logits[0] = -torch.inf
    logits[len(model.tokenizer) :] = -torch.inf
    share = logits.softmax(-1)
    found = torch.bincount(first, minlength=len(share)) / count
    assert (found - share).abs().max() < 4 * float((share.max() / count).sqrt())


@pytest.mark.parametrize(
    ("n", "length", "temperature"),
    [(0, 4, 1.0), (2, 0, 1.0), (2, 65, 1.0), (2, 4, 0.0), (2, 4, float("inf"))],
)
def test_sampling_refusals(tiny_gpt2: Path, n: int, length: int, temperature: float) -> None:
    with pytest.raises(InputError, match="expected"):
        sample_tokens(load_model(tiny_gpt2), n, length, temperature=temperature)


def test_seeds_and_batches_are_whole_numbers(tiny_gpt2: Path) -> None:
    model = load_model(tiny_gpt2)
    for options in ({"seed": -1}, {"batch_size": -1}):
        with pytest.raises(InputError, match="expected a whole number"):
            sample_tokens(model, 2, 4, **options)


def test_windows_start_anywhere(model: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each text is its own column numbers: a window then shows where it was cut."""
    monkeypatch.setattr(
        sample,
        "_written",
        lambda _, first, draws, *rest: (torch.full((len(first), 1), k) for k in range(draws.shape[1])),
    )
    windows = sample_tokens(model, 200, 10, seed=0)
    starts = windows[:, 0].unique().tolist()
    assert torch.equal(windows, windows[:, :1] + torch.arange(10))
    assert starts == [1, 2, 3, 4, 5], "after at least one token, and up to half a window in"


def test_a_caller_s_progress_is_heard(model: Any, capsys: pytest.CaptureFixture[str]) -> None:
    sample_tokens(model, 2, 4, progress=lambda label, done, total: print(f"{label} {done}/{total}"))
    lines = capsys.readouterr().out.splitlines()
    assert (lines[0], lines[-1]) == ("texts from the model 0/2", "texts from the model 2/2")


def test_progress_reaches_the_total(model: Any) -> None:
    done: list[tuple[str, int, int]] = []
    sample_tokens(model, 5, 4, batch_size=2, progress=lambda *a: done.append(a))
    counts = [step[1] for step in done]
    assert counts[0] == 0
    assert counts == sorted(counts), "it goes back"
    assert {2, 4, 5} <= set(counts) <= set(range(6))
    assert counts[-1] == 5


def test_twin_is_the_same_architecture_with_other_weights(model: Any) -> None:
    state = torch.random.get_rng_state()
    twin, again, other = (random_twin(model, seed=seed) for seed in (1, 1, 2))
    assert torch.equal(torch.random.get_rng_state(), state)
    assert type(twin) is type(model)
    info, original = describe(twin), describe(model)
    assert info.name == f"{original.name} (random weights, seed 1)"
    for field in (
        "n_layers",
        "d_model",
        "n_ctx",
        "vocab_size",
        "positions",
        "bos_token_id",
        "dtype",
        "weight_processing",
    ):
        assert getattr(info, field) == getattr(original, field)
    states = [capture_residuals(m, TEXT).values for m in (model, twin, again, other)]
    assert torch.equal(states[1], states[2])
    assert not torch.allclose(states[1], states[3])
    assert not torch.allclose(states[0], states[1])


def test_twin_of_a_processed_model_is_not_processed(tiny_gpt2: Path) -> None:
    assert describe(random_twin(load_model(tiny_gpt2, processed=True))).weight_processing == "none"


def test_twin_of_a_user_built_model() -> None:
    transformer_lens = pytest.importorskip("transformer_lens")
    try:
        hooked = transformer_lens.HookedTransformer
    except (AttributeError, ImportError):
        pytest.skip("transformer-lens 4 has no HookedTransformer")
    shape = {
        "n_layers": 2,
        "d_model": 16,
        "n_ctx": 32,
        "d_head": 8,
        "d_vocab": 50,
        "act_fn": "gelu",
        "seed": 0,
    }
    model = hooked(shape)
    tokens = sample_tokens(model, 4, 8, seed=2)
    assert tokens.shape == (4, 8)
    twin = random_twin(model, seed=5)
    assert not torch.allclose(capture_residuals(twin, tokens).values, capture_residuals(model, tokens).values)
