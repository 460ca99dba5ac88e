"""Published numbers of the GPT-2 family, checked on the models themselves.

    LAMINAR_LENS_NETWORK=1 python -m pytest tests/network

downloads gpt2, gpt2-medium, gpt2-large and gpt2-xl (10 GB) and takes the time of some forward passes over
1,024 tokens; `-k "gpt2-"` or `-k "xl"` chooses. Offline these tests are skipped; what needs no model is not.

The standard deviations were published of weights that TransformerLens had centred. Ours are not, so
each vector's own mean is taken off first, which is what that centring does to it.
"""

import json
import os
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import laminar_lens as ll
from laminar_lens.geometry import fit_geometry
from laminar_lens.models.batches import prompt_batches
from laminar_lens.models.forward import run_states
from laminar_lens.results import StudyResult, claim_rows

ANCHORS = json.loads((Path(__file__).parent / "anchors.json").read_text(encoding="utf-8"))["models"]
ABOVE_FIVE = {"gpt2": (1, 10), "gpt2-medium": (3, 21), "gpt2-large": (7, 32), "gpt2-xl": (7, 43)}
"""Blocks after which position 0 is over 5 times as long as the rest."""
WRITERS = {"gpt2": [1, 2], "gpt2-medium": [2, 3], "gpt2-large": [7, 8, 9], "gpt2-xl": [7, 8, 9]}
"""The first blocks whose MLPs add over `WRITES` of its longest, from hook_resid_mid to hook_resid_post."""
WRITES = 0.05
PEAK = {"gpt2": (42, 2), "gpt2-medium": (26, 3), "gpt2-large": (29, 13), "gpt2-xl": (22, 15)}
GROWTH, GROWTH_BLOCKS = 1.045, (4, 41)
MASSIVE_DIMENSION = 447  # of gpt2: arXiv 2402.17762, 2503.22329
TOLERANCE = 0.02
LENGTH = 1023  # and a BOS

network = [
    pytest.mark.network,
    pytest.mark.timeout(3600),
    pytest.mark.skipif(
        os.environ.get("LAMINAR_LENS_NETWORK") != "1",
        reason="downloads the GPT-2 family from a model hub: LAMINAR_LENS_NETWORK=1 runs it",
    ),
]
MODELS = [pytest.param(name, marks=network) for name in ANCHORS]


@cache
def model_of(name: str) -> Any:
    model_of.cache_clear()  # one at a time: the largest takes 6.4 GB
    return ll.load_model(name)


def deviations(model: Any, tokens: torch.Tensor) -> tuple[np.ndarray, np.ndarray]:
    """Standard deviation by block, at position 0 (the BOS) and elsewhere, without each vector's own mean."""
    run = prompt_batches(model, tokens, prepend_bos=True, final_norm=False, layers=None, batch_size=1)
    blocks = range(1, int(model.cfg.n_layers) + 1)
    centred = fit_geometry(model, "mean_over_d_model")
    first, rest = np.zeros(len(blocks)), np.zeros(len(blocks))

    def see(layer: int, state: torch.Tensor) -> None:
        x = centred.apply(layer, state).double()
        first[layer - 1] += float(x[:, 0].std()) / len(run.rows)
        rest[layer - 1] += float(x[:, 1:].square().mean()) / len(run.rows)

    for indices in run.indices():
        run_states(model, run.tokens(indices), blocks, see)
    return first, np.sqrt(rest)


def growth(rest: np.ndarray) -> float:
    """Factor a block, from a straight line through the logarithms."""
    blocks = np.arange(GROWTH_BLOCKS[0], GROWTH_BLOCKS[1] + 1)
    return float(np.exp(np.polyfit(blocks, np.log(rest[blocks]), 1)[0]))


@cache
def measured(name: str) -> tuple[np.ndarray, np.ndarray]:
    model = model_of(name)
    return deviations(model, ll.sample_tokens(model, 4, LENGTH, seed=0))


@cache
def sinks_of(name: str) -> StudyResult:
    return ll.sink_study(model_of(name), n_texts=60, random_init=False, prepend_bos=True)


@pytest.mark.parametrize("name", MODELS)
def test_standard_deviations_at_position_0_and_elsewhere(name: str) -> None:
    first, rest = measured(name)
    np.testing.assert_allclose(first, ANCHORS[name]["first"], rtol=TOLERANCE)
    np.testing.assert_allclose(rest, ANCHORS[name]["elsewhere"], rtol=TOLERANCE)


@pytest.mark.parametrize("name", MODELS)
def test_blocks_in_which_position_0_is_a_sink(name: str) -> None:
    first, rest = measured(name)
    above = np.flatnonzero(first / rest > 5)
    assert (above[0], above[-1]) == ABOVE_FIVE[name]
    assert len(above) == above[-1] - above[0] + 1


@pytest.mark.parametrize("name", MODELS)
def test_mlps_write_the_sink(name: str) -> None:
    result = sinks_of(name)
    verdicts = {row["claim"]: row["verdict"] for row in claim_rows(result.dataset)}
    assert verdicts["S1"] == verdicts["S2"] == verdicts["S4"] == "holds"
    write = result.dataset["write"].sel(pos=0).values
    longest = float(result.dataset["norm"].sel(pos=0).max())
    big = np.flatnonzero(write[:, 1] > WRITES * longest)
    assert big[: len(WRITERS[name])].tolist() == WRITERS[name]
    assert np.abs(write[: max(WRITERS[name]) + 1, 0]).sum() < 0.1 * write[: max(WRITERS[name]) + 1, 1].sum()
    assert (result.dataset["identity_error"].values < 1e-4).all()


@pytest.mark.parametrize("bos", [True, False])
@pytest.mark.parametrize("name", [MODELS[0]])
def test_the_massive_activations_of_gpt2_are_in_dimension_447(name: str, bos: bool) -> None:
    result = sinks_of(name) if bos else ll.sink_study(model_of(name), n_texts=60, random_init=False)
    data, (low, high) = result.dataset, ABOVE_FIVE[name]
    layers = slice(low + 2, high + 2)  # block b's output is hidden state b + 1; block 1's is still growing
    assert (data["largest_dimension"].values[layers, 0] == MASSIVE_DIMENSION).all()
    assert (data["massive"].sel(variant="published").values[layers, 0] > 0.9).all()
    assert {row["claim"]: row["verdict"] for row in claim_rows(data)}["S3"] == "holds"


@pytest.mark.parametrize("name", [MODELS[3]])
def test_xl_is_erased_by_mlps_of_its_last_blocks_and_grows_by_1_045_a_layer(name: str) -> None:
    write = sinks_of(name).dataset["write"].sel(pos=0).values
    assert (write[43:47, 1] < 0).all()
    assert write[43:47, 1].sum() < 0.5 * write[43:].clip(max=0).sum()
    _, rest = measured(name)
    assert growth(rest) == pytest.approx(GROWTH, abs=0.003)


@pytest.mark.parametrize("name", list(ANCHORS))
def test_the_copied_numbers_say_what_was_published(name: str) -> None:
    """The tables that the tests above compare with, against the facts that were published about them."""
    first, rest, mid = (np.array(ANCHORS[name][key]) for key in ("first", "elsewhere", "first_mid"))
    above = np.flatnonzero(first / rest > 5)
    assert (above[0], above[-1]) == ABOVE_FIVE[name]
    ratio, block = PEAK[name]
    assert int(np.argmax(first / rest)) == block
    assert (first / rest).max() == pytest.approx(ratio, abs=0.5)
    big = np.flatnonzero(first - mid > WRITES * first.max())
    assert big[: len(WRITERS[name])].tolist() == WRITERS[name]
    if name == "gpt2-xl":
        assert growth(rest) == pytest.approx(GROWTH, abs=0.003)


def test_deviations_are_their_definition(novella: Any) -> None:
    """Over d_model at position 0, over positions and d_model together elsewhere; squares are averaged."""
    tokens = ll.sample_tokens(novella, 3, 20, seed=0)
    first, rest = deviations(novella, tokens)
    states = ll.capture_residuals(novella, tokens, prepend_bos=True).values.double().numpy()
    for block in range(8):
        x = states[block + 1]
        assert first[block] == pytest.approx(np.mean([row.std(ddof=1) for row in x[:, 0]]), rel=1e-4)
        own = x[:, 1:] - x[:, 1:].mean(-1, keepdims=True)
        assert rest[block] == pytest.approx(np.sqrt((own**2).mean()), rel=1e-5)
