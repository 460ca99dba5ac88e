import json
from typing import Any

import numpy as np
import pytest
import torch

from laminar_lens.capture import capture_residuals
from laminar_lens.errors import InputError
from laminar_lens.geometry import GEOMETRIES, fit_geometries, fit_geometry, named_geometry
from laminar_lens.kernels import rotation_angles, sequential_angles
from laminar_lens.meter import AngleMeter
from laminar_lens.models import load_model, random_twin
from laminar_lens.models.info import bos_token_id
from laminar_lens.models.sample import sample_tokens
from laminar_lens.studies.stream import iter_angles

KINDS = ["tiny_gpt2", "tiny_llama", "tiny_neox"]
LENGTH = 24


@pytest.fixture(scope="module", params=[None, True])
def model(tiny_gpt2: Any, request: pytest.FixtureRequest) -> Any:
    return load_model(tiny_gpt2, bridge=request.param)


def mean_cosine(x: torch.Tensor) -> float:
    unit = x / x.norm(dim=-1, keepdim=True)
    n = len(x)
    return float(((unit @ unit.T).sum() - n) / (n * (n - 1)))


@pytest.mark.parametrize("n", [3, 8, 20])
def test_centring_points_on_themselves_forces_a_mean_cosine_of_minus_one_over_n_minus_one(n: int) -> None:
    """The reason why the mean comes from other texts. Exact for the inner products of any points; for cosines
    where the centred norms are equal, as those of the cyclic shifts of one vector."""
    generator = torch.Generator().manual_seed(n)
    points = torch.randn(n, 40, generator=generator, dtype=torch.float64) + 3
    centred = points - points.mean(0)
    gram = centred @ centred.T
    off_diagonal = (gram.sum() - gram.trace()) / (n * (n - 1))
    assert float(off_diagonal) == pytest.approx(-float(gram.trace() / n) / (n - 1), rel=1e-9)
    vector = torch.randn(n, generator=generator, dtype=torch.float64)
    shifts = torch.stack([vector.roll(k) for k in range(n)])
    assert mean_cosine(shifts) != pytest.approx(-1 / (n - 1), abs=1e-3)
    assert mean_cosine(shifts - shifts.mean(0)) == pytest.approx(-1 / (n - 1), abs=1e-12)


def test_centring_on_other_texts_has_no_such_bias(model: Any) -> None:
    """Four vectors at a time, each of a text of its own: only centred on themselves are they below zero."""
    tokens = sample_tokens(model, 400, LENGTH, seed=3)
    centred = fit_geometry(model, "centred", texts=tokens[200:], skip=12)
    itself, others = [], []
    values = capture_residuals(model, tokens[:200], layers=2).values[0]
    places = torch.randint(12, LENGTH, (200,), generator=torch.Generator().manual_seed(0))
    for rows in values[torch.arange(200), places].split(4):
        itself.append(mean_cosine((rows - rows.mean(0)).double()))
        others.append(mean_cosine(centred.apply(2, rows).double()))
    assert np.mean(itself) == pytest.approx(-1 / 3, abs=0.03)
    assert np.mean(others) == pytest.approx(0, abs=0.1)


@pytest.mark.parametrize("bridge", [None, True])
@pytest.mark.parametrize("kind", KINDS)
def test_every_geometry_is_its_definition(
    kind: str, bridge: bool | None, request: pytest.FixtureRequest
) -> None:
    folder = request.getfixturevalue(kind)
    model = load_model(folder, bridge=bridge)
    tokens = sample_tokens(model, 40, LENGTH, seed=1)
    measured, other = tokens[:10], tokens[10:]
    made = fit_geometries(model, GEOMETRIES, texts=other, skip=5)
    x = capture_residuals(model, measured).values
    y = capture_residuals(model, other).values.double().numpy()
    for layer in range(4):
        body = y[layer, :, 5:].reshape(-1, x.shape[-1])
        mean, sd = body.mean(0), body.std(0, ddof=1)
        state = x[layer].double().numpy()
        unit = y[layer] / np.linalg.norm(y[layer], axis=-1, keepdims=True)
        contribution = (unit[:, :-1] * unit[:, 1:]).mean((0, 1))
        top = np.argsort(-np.abs(contribution))[:3]
        without = state.copy()
        without[..., top] = 0
        expected = {
            "raw": state,
            "centred": state - mean,
            "mean_over_d_model": state - state.mean(-1, keepdims=True),
            "standardised": (state - mean) / sd,
            "without_dimensions": without,
            "layernormed": next_input(folder, kind, layer, state),
        }
        assert sorted(top) == made["without_dimensions"].describe()["dimensions"][str(layer)]
        for name, values in expected.items():
            found = made[name].apply(layer, x[layer]).numpy()
            np.testing.assert_allclose(found, values, atol=3e-4 if name == "standardised" else 3e-5)
        json.dumps({name: geometry.describe() for name, geometry in made.items()}, allow_nan=False)
    assert made["centred"].describe()["n_texts"] == 30
    assert made["centred"].describe()["n_vectors"] == 30 * (LENGTH - 5)


def next_input(folder: Any, kind: str, layer: int, x: np.ndarray) -> np.ndarray:
    """The next block's first norm from the folder's own weights, written from its definition."""
    from safetensors.numpy import load_file

    weights = load_file(folder / "model.safetensors")
    first, last, eps = {
        "tiny_gpt2": ("transformer.h.{}.ln_1.", "transformer.ln_f.", 1e-5),
        "tiny_llama": ("model.layers.{}.input_layernorm.", "model.norm.", 1e-6),
        "tiny_neox": ("gpt_neox.layers.{}.input_layernorm.", "gpt_neox.final_layer_norm.", 1e-5),
    }[kind]
    name = first.format(layer) if layer < 3 else last
    gain = weights[name + "weight"].astype(np.float64)
    if kind == "tiny_llama":
        return np.asarray(x / np.sqrt((x**2).mean(-1, keepdims=True) + eps) * gain)
    centred = x - x.mean(-1, keepdims=True)
    out = centred / np.sqrt((centred**2).mean(-1, keepdims=True) + eps) * gain
    return np.asarray(out + weights[name + "bias"].astype(np.float64))


@pytest.mark.parametrize("kind", KINDS)
def test_what_the_next_block_reads_is_said(kind: str, request: pytest.FixtureRequest) -> None:
    model = load_model(request.getfixturevalue(kind))
    reads = fit_geometry(model, "layernormed").describe()["reads"]
    first = "ln1 (attention; the MLP reads ln2 of the same)" if kind == "tiny_neox" else "ln1"
    assert reads == {"0": first, "1": first, "2": first, "3": "ln_final"}
    last = fit_geometry(model, "layernormed", final_norm=True, layers=3)
    assert last.describe()["reads"] == {"3": "the final norm was applied before"}
    state = torch.randn(2, 3, 32)
    assert torch.equal(last.apply(3, state), state)


def test_a_block_that_norms_its_output_reads_the_vector_as_it_is(
    tiny_gpt2: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As OLMo 2: `ln1` is there, and is given something else."""
    model = load_model(tiny_gpt2)
    for block in model.blocks:
        block.ln1.register_forward_pre_hook(lambda module, args: (args[0] * 2,), prepend=True)
    geometry = fit_geometry(model, "layernormed", layers=[1])
    assert geometry.describe()["reads"] == {"1": "as it is: this block norms no input"}
    state = torch.randn(2, 3, 32)
    assert torch.equal(geometry.apply(1, state), state)


def test_the_model_writes_its_own_calibration_texts_with_another_seed(model: Any) -> None:
    centred = fit_geometry(model, "centred", n_texts=8, length=20, seed=5)
    again = fit_geometry(model, "centred", n_texts=8, length=20, seed=5)
    assert centred.describe() == again.describe()
    assert torch.equal(centred.apply(1, torch.zeros(32)), again.apply(1, torch.zeros(32)))
    said = centred.describe()
    assert (said["skip"], said["n_vectors"], said["texts"]) == (10, 80, "sampled")
    centred.check_others(sample_tokens(model, 8, 20, seed=5).tolist())
    rows = sample_tokens(model, 8, 20, seed=said["seed"]).tolist()
    with pytest.raises(InputError, match="text 0 is one of the texts that geometry 'centred' was fitted on"):
        centred.check_others(rows)


def test_with_a_bos_the_text_is_still_the_same_text(model: Any) -> None:
    assert bos_token_id(model) == 0
    tokens = sample_tokens(model, 6, 20, seed=1)
    centred = fit_geometry(model, "centred", texts=tokens, prepend_bos=True)
    with pytest.raises(InputError, match="fitted on"):
        centred.check_others([tokens[3].tolist()])
    with pytest.raises(InputError, match="fitted with prepend_bos=True, but prepend_bos=False is measured"):
        named_geometry(model, centred)


def test_names_are_fitted_and_geometries_pass(model: Any) -> None:
    assert named_geometry(model, "raw").name == "raw"
    assert named_geometry(model, "centred", layers=[0, 2], seed=1).layers == (0, 2)
    mine = fit_geometry(model, "without_dimensions", dimensions=[3, 1, 3])
    assert named_geometry(model, mine, prepend_bos=True) is mine
    assert mine.describe() == {
        "name": "without_dimensions",
        "d_model": 32,
        "final_norm": False,
        "dimensions": [1, 3],
    }
    state = torch.ones(2, 32)
    assert mine.apply(2, state).sum().item() == 60
    assert torch.equal(state, torch.ones(2, 32)), "the input is not changed"


def test_half_precision_is_widened_and_gradients_pass(model: Any) -> None:
    made = fit_geometries(model, ["centred", "mean_over_d_model"], n_texts=4, length=16)
    for geometry in made.values():
        assert geometry.apply(1, torch.ones(2, 3, 32, dtype=torch.bfloat16)).dtype == torch.float32
        x = torch.randn(2, 3, 32, requires_grad=True)
        geometry.apply(1, x).square().sum().backward()
        assert x.grad is not None


def test_a_coordinate_that_does_not_vary_has_no_standard_unit(tiny_gpt2: Any) -> None:
    model = load_model(tiny_gpt2)
    model.add_hook(
        "blocks.0.hook_resid_post", lambda x, hook: torch.cat([x[..., :-1] * 1, x[..., -1:] * 0 + 1e3], -1)
    )
    try:
        standard = fit_geometry(model, "standardised", n_texts=4, length=16)
    finally:
        model.reset_hooks()
    found = standard.apply(1, torch.randn(5, 32))
    assert (found[:, -1] == 0).all()
    assert found.isfinite().all()


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("centered", {}, "geometry 'centered' is unknown; choose from raw, centred"),
        ("without_dimensions", {"dimensions": []}, "dimensions is empty"),
        ("without_dimensions", {"dimensions": [32]}, "dimension 32 is out of range: this model has"),
        ("without_dimensions", {"dimensions": [-1]}, "dimension -1 is out of range"),
        ("without_dimensions", {"dimensions": range(32)}, "names all 32 of the model"),
        ("without_dimensions", {"dimensions": ["a"]}, "expected whole numbers"),
        ("centred", {"texts": torch.tensor([[1, 2]]), "skip": 2}, "skip is 2; expected a whole number"),
        ("centred", {"texts": torch.tensor([[1, 2]]), "skip": 1}, "1 vectors at positions from 1 on"),
        ("centred", {"layers": [9]}, "layer 9 is out of range"),
        ("centred", {"seed": -1}, "seed is -1"),
    ],
)  # fmt: skip
def test_bad_input_is_one_clear_line(model: Any, name: str, options: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        fit_geometry(model, name, **options)


def test_a_geometry_of_another_model_or_layer_is_refused(model: Any) -> None:
    geometry = fit_geometry(model, "mean_over_d_model", layers=[1])
    with pytest.raises(InputError, match="was made for hidden states \\[1\\], not 2"):
        geometry.apply(2, torch.ones(32))
    with pytest.raises(InputError, match="was made for vectors of 32, these have 8"):
        geometry.apply(1, torch.ones(8))
    with pytest.raises(InputError, match="geometry is an int"):
        named_geometry(model, 3)


@pytest.mark.parametrize("name", GEOMETRIES)
def test_the_random_twin_has_its_own(model: Any, name: str) -> None:
    """Fitted on the same texts; dimensions that were named stay those."""
    twin = random_twin(model, seed=1)
    options = {"dimensions": [4]} if name == "without_dimensions" else {}
    mine = fit_geometry(model, name, n_texts=6, length=20, layers=[0, 2], **options)
    theirs = mine.for_model(twin)
    assert {**theirs.describe(), "seed": 0} == {**mine.describe(), "seed": 0}
    state = torch.randn(3, 32)
    same = torch.equal(theirs.apply(2, state), mine.apply(2, state))
    assert same == (name not in ("centred", "standardised", "layernormed"))


@pytest.mark.parametrize("name", GEOMETRIES)
def test_meter_and_stream_measure_in_the_geometry(model: Any, name: str) -> None:
    tokens = sample_tokens(model, 5, 12, seed=9)
    geometry = fit_geometry(model, name, n_texts=6, length=20)
    states = capture_residuals(model, tokens)
    mapped = torch.stack([geometry.apply(layer, states.values[layer]) for layer in range(4)])
    meter = AngleMeter(model, geometry=geometry)
    with meter:
        model(tokens)
    torch.testing.assert_close(meter.result()["sequential"], sequential_angles(mapped), atol=2e-6, rtol=0)
    torch.testing.assert_close(meter.result()["rotation"], rotation_angles(mapped), atol=2e-6, rtol=0)
    torch.testing.assert_close(meter.result()["norm"], mapped.norm(dim=-1), atol=1e-4, rtol=1e-5)
    raw: list[torch.Tensor] = []
    stream = iter_angles(
        model,
        tokens,
        ("sequential",),
        geometry=geometry,
        visit=lambda _: lambda _, state: raw.append(state.clone()),
    )
    (batch,) = stream
    np.testing.assert_allclose(batch.angles["sequential"], sequential_angles(mapped), atol=2e-6)
    assert torch.equal(torch.stack(raw), states.values)
    assert batch.info["geometry"] == geometry.describe()


def test_a_stream_refuses_the_texts_of_the_geometry(model: Any) -> None:
    tokens = sample_tokens(model, 5, 12, seed=9)
    centred = fit_geometry(model, "centred", texts=tokens[3:], prepend_bos=True)
    with pytest.raises(InputError, match="text 3 is one of the texts that geometry 'centred' was fitted on"):
        iter_angles(model, tokens, ("sequential",), geometry=centred, prepend_bos=True)
    for rows in (
        tokens[:, :10],
        torch.cat([tokens, tokens[:, :2]], dim=1),
    ):  # a beginning, and a continuation
        with pytest.raises(InputError, match="text 3 is one of the texts"):
            iter_angles(model, rows, ("sequential",), geometry=centred, prepend_bos=True)
    changed = tokens.clone()
    changed[:, -1] = (changed[:, -1] + 1) % model.cfg.d_vocab  # every vector but the last is the same
    with pytest.raises(
        InputError, match="text 3 is one of the texts that geometry 'centred' was fitted on, or"
    ):
        iter_angles(model, changed, ("sequential",), geometry=centred, prepend_bos=True)
    skip = centred.settings["skip"]
    iter_angles(model, tokens[:, : skip - 1], ("sequential",), geometry=centred, prepend_bos=True)
    other = tokens.clone()
    other[:, 0] = (other[:, 0] + 1) % model.cfg.d_vocab
    iter_angles(model, other, ("sequential",), geometry=centred, prepend_bos=True)
    with pytest.raises(
        InputError, match=r"give a meter laminar_lens.geometry.fit_geometry\(model, 'centred'\)"
    ):
        AngleMeter(model, geometry="centred")
    assert AngleMeter(model, geometry="layernormed").layers == (0, 1, 2, 3)
