"""SmolLM2-135M-Instruct, as the package measures it, against an independent forward pass of Hugging Face.

The formulas of the right values are written here, in float64, from Hugging Face's hidden states of fixed rows
of tokens; nothing of the package's own measuring is used for them.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import laminar_lens as ll
from laminar_lens.models import describe
from laminar_lens.studies.mask_files import token_masks
from laminar_lens.studies.masks import sink_mask
from tests.real.conftest import LENGTH, Forward, Reference

TOLERANCE_RAD = 2e-5
LAYERS = [0, 1, 4, 9, 12, 20, 28, 30]
FIRST = 507
"""The dimension that is largest at position 0 while it is a sink; measured with Hugging Face alone."""


@dataclass(frozen=True)
class Metered:
    """What one run of the rows measures: every kind at sampled layers, two of them at every layer."""

    sampled: Mapping[str, torch.Tensor]
    every: Mapping[str, torch.Tensor]


@pytest.fixture(scope="module")
def metered(smollm2: Any, reference: Reference) -> Metered:
    """All of it with one pass."""
    kinds = ("sequential", "rotation", "norm", "step", "turning", "pairwise")
    sampled = ll.AngleMeter(smollm2, measures=kinds, lags=2, layers=LAYERS)
    every = ll.AngleMeter(smollm2, measures=("rotation", "turning"))
    with torch.no_grad():
        smollm2.run_with_hooks(reference.rows, return_type=None, fwd_hooks=[*sampled.hooks(), *every.hooks()])
    return Metered(sampled.result(), every.result())


@pytest.fixture(scope="module")
def sinks(smollm2: Any, reference: Reference) -> Any:
    """What the sink study finds in the rows."""
    return ll.sink_study(smollm2, reference.rows, random_init=False).dataset


def between(u: torch.Tensor, v: torch.Tensor) -> torch.Tensor:
    """Angles of corresponding vectors, in radians (Kahan's form, float64)."""
    u, v = (x.double() / x.double().norm(dim=-1, keepdim=True) for x in (u, v))
    return 2 * torch.atan2((u - v).norm(dim=-1), (u + v).norm(dim=-1))


def test_it_is_named_after_the_model_and_not_a_path(smollm2: Any, file: Path) -> None:
    info = describe(smollm2)
    assert info.name == "smollm2 (SmolLM2-135M-Instruct, Q4_1)"
    assert info.file == file.name
    assert info.file_sha256 == hashlib.sha256(file.read_bytes()).hexdigest()
    assert str(info.quantisation).startswith("Q4_1 in 210, F32 in 61, Q8_0 in 1 of 272 tensors, dequantised")
    assert str(file.parent) not in str(info.as_dict())
    assert (info.n_layers, info.d_model, info.n_ctx, info.vocab_size) == (30, 576, 8192, 49152)
    assert (info.positions, info.bos_token_id, info.weight_processing) == ("rotary", 1, "none")


def test_it_knows_the_capital_of_france(smollm2: Any) -> None:
    tokens = smollm2.to_tokens("The capital of France is", prepend_bos=False)
    with torch.no_grad():
        assert smollm2.tokenizer.decode(smollm2(tokens)[0, -1].argmax()) == " Paris"


def test_tokens_are_hugging_face_s(smollm2: Any, reference: Reference) -> None:
    text = reference.tokenizer.decode(reference.rows[5])
    ours = ll.capture_residuals(smollm2, text, layers=[0])
    assert ours.tokens[0].tolist() == reference.tokenizer(text)["input_ids"]


def test_angles_of_every_kind(metered: Metered, reference: Reference, states: torch.Tensor) -> None:
    found, right = metered.sampled, states[LAYERS].double()
    moved = right.diff(dim=0)
    along = right.diff(dim=2)
    angles = {
        "sequential": between(right[:, :, :-1], right[:, :, 1:]),
        "sequential_2": between(right[:, :, :-2], right[:, :, 2:]),
        "rotation": between(right[:-1], right[1:]),
        "turning": between(along[:, :, :-1], along[:, :, 1:]),
        "pairwise": torch.stack([between(one[:, :, None], one[:, None, :]) for one in right]),
    }
    lengths = {"norm": right.norm(dim=-1), "step": moved.norm(dim=-1)}
    assert set(found) == {*angles, *lengths}
    again = reference.rows[:, :-1] == reference.rows[:, 1:]
    nowhere = {"turning": again[:, :-1] | again[:, 1:]}  # of the embedding: the same vector twice has no step
    for kind, wanted in angles.items():
        undefined = torch.zeros_like(wanted, dtype=torch.bool)
        undefined[0] = nowhere.get(kind, undefined[0])
        assert torch.equal(found[kind].isnan(), undefined), kind
        assert float((found[kind] - wanted)[~undefined].abs().max()) <= TOLERANCE_RAD, kind
    for kind, wanted in lengths.items():
        assert float((found[kind] / wanted - 1).abs().max()) <= 1e-4, kind


def test_block_influence(metered: Metered, states: torch.Tensor) -> None:
    """ShortGPT, arXiv 2403.03853, equation 1: 1 − E[cos(x[l − 1, i], x[l, i])] over texts and tokens."""
    x = states.double()
    cosines = (x[:-1] * x[1:]).sum(-1) / (x[:-1].square().sum(-1) * x[1:].square().sum(-1)).sqrt()
    right = 1 - cosines.mean((1, 2))
    ours = 1 - metered.every["rotation"].double().cos().mean((1, 2))
    assert float((ours - right).abs().max()) <= TOLERANCE_RAD
    assert int(right.argmax()) == 0, "the first block turns the stream most"


def test_curvature(metered: Metered, states: torch.Tensor) -> None:
    """arXiv 2311.04930, equations 1–3: the mean of arccos(v[k]·v[k + 1]), v[k] = x[k + 1] − x[k] normalised.

    Of embeddings it is not defined where a token follows itself."""
    v = torch.nn.functional.normalize(states[1:].double().diff(dim=2), dim=-1)
    right = (v[:, :, :-1] * v[:, :, 1:]).sum(-1).clamp(-1, 1).arccos().mean(2)
    ours = metered.every["turning"][1:].double().mean(2)
    assert float((ours - right).abs().max()) <= TOLERANCE_RAD


def test_the_last_state_after_the_final_norm(smollm2: Any, reference: Reference) -> None:
    tokens = reference.rows[:2]
    ours = ll.capture_residuals(smollm2, tokens, layers=[-1], final_norm=True)
    with torch.no_grad():
        right = reference.model.model(tokens).last_hidden_state
    assert float(between(ours.values[0], right).max()) <= TOLERANCE_RAD


def test_length_of_position_0_over_the_median(sinks: Any, states: torch.Tensor) -> None:
    norms = states.double().norm(dim=-1).numpy()  # [layer text pos]
    right = np.exp(np.log(norms[:, :, 0] / np.median(norms, axis=-1)).mean(1))
    ours = sinks["norm_ratio"].sel(pos=0).values
    assert np.abs(ours / right - 1).max() <= 0.01
    assert int(ours.argmax()) == 12
    assert ours[12] > 100


def test_massive_dimensions_by_rank(sinks: Any, states: torch.Tensor) -> None:
    ranked = states[:, :, 0].abs().mean(1).argsort(dim=-1, descending=True)[:, :2].tolist()
    assert all(ranked[layer] == [FIRST, 247] for layer in range(12, 29))
    first = sinks["largest_dimension"].sel(pos=0).values
    assert (first[12:29] == FIRST).all()
    share = sinks["massive_dimension_first"].sel(variant="published", layer=12).to_series()
    assert share.idxmax() == FIRST


def test_the_block_whose_mlp_writes_it(sinks: Any, reference: Reference, states: torch.Tensor) -> None:
    """Against the output of that MLP alone, by text."""
    few, lengths = reference.rows[:3], states[:, :, 0].double().norm(dim=-1)
    block = int(lengths.diff(dim=0).mean(1).argmax())
    written: list[torch.Tensor] = []
    mlp = reference.model.model.layers[block].mlp
    hook = mlp.register_forward_hook(lambda _, __, made: written.append(made[:, 0].double()))
    after = reference.states(few)[block + 1, :, 0].double()
    hook.remove()
    right = after.norm(dim=-1) - (after - written[0]).norm(dim=-1)
    assert block == 11
    assert float((right / after.norm(dim=-1)).min()) > 0.9
    ours = sinks["write_first"].sel(component="mlp").values  # [text block]
    assert ours[:3, block] == pytest.approx(right.numpy(), rel=0.01)
    assert (ours.argmax(1) == block).all()


def test_heads_that_rest_on_position_0(sinks: Any, forward: Forward) -> None:
    """arXiv 2410.10781: α = 1/T · Σ_i A[i, 0] of each head, above 0.3 in 210 of 270."""
    right = forward.attention[..., 0].double().mean(-1).mean(1).numpy()  # [block head]
    ours = sinks["attention_first"].values
    assert np.abs(ours - right).max() <= 1e-5
    assert int((right > 0.3).sum()) == int((ours > 0.3).sum()) == 210
    by_text = (forward.attention[..., 0].mean(-1) > 0.3).double().mean((0, 2)).numpy()
    assert sinks["resting_first"].values == pytest.approx(by_text, abs=1e-6)


def test_the_second_sink(
    smollm2: Any, sinks: Any, metered: Metered, reference: Reference, states: torch.Tensor
) -> None:
    """Which tokens beside position 0 are long, in which layers, and that their vectors are like its."""
    norms = states.double().norm(dim=-1)
    right = (norms > 5 * norms.quantile(0.5, dim=-1, keepdim=True)).numpy()[:, :, 1:]
    ours = (sinks["ratio"].transpose("layer", "text", "pos").values > 5)[:, :, 1:]
    assert np.array_equal(ours, right)
    assert np.flatnonzero(right.any((1, 2))).tolist() == list(range(3, 10))
    places = right.any(0)  # [text pos − 1]
    assert places.any(1).all(), "each text has one"
    words = {smollm2.tokenizer.decode(token) for token in reference.rows[:, 1:][torch.from_numpy(places)]}
    assert {word for word in sinks["sink_token"].values if word} == words == {" the", " "}
    at = LAYERS.index(4)
    for text, place in zip(*right[4].nonzero(), strict=True):
        pair = metered.sampled["pairwise"][at, text, 0, place + 1]
        alike = between(states[4, text, 0], states[4, text, place + 1])
        assert float(pair) == pytest.approx(float(alike), abs=TOLERANCE_RAD)
        assert 0.05 < float(alike) < 0.2


def test_masks(smollm2: Any, reference: Reference, states: torch.Tensor) -> None:
    """By position, and by the vectors: longer than 5 typical ones of the layer, or within arccos 0.9 of such
    a one; with padding on the left too."""
    n, skip, pad = 4, 6, 5
    rows, right = reference.rows[:n], torch.zeros(n, LENGTH, dtype=torch.bool)
    for layer in states[:, :n].double():
        norms = layer.norm(dim=-1)
        large = norms > 5 * norms[:, 1:].median()
        if not large.any():
            continue
        unit = torch.nn.functional.normalize(layer, dim=-1)
        nearest = (unit.flatten(0, 1) @ unit[large].T).amax(1).reshape(n, LENGTH)
        if float(nearest[~large].median()) <= 0.9:
            large |= nearest > 0.9
        right |= large
    assert right[:, 0].all()
    assert right[:, 1:].any(1).all()
    found = token_masks(smollm2, rows, skip=skip)
    assert torch.equal(found.sinks, right)
    assert torch.equal(found.keep, ~right & (torch.arange(LENGTH) >= skip))
    padding = torch.arange(LENGTH + pad).expand(n, -1) >= pad
    left = torch.cat([torch.full((n, pad), reference.tokenizer.pad_token_id), rows], dim=1)
    again = sink_mask(smollm2, left, padding=padding)
    assert torch.equal(again[:, pad:], right)
    assert not again[:, :pad].any()


def test_why_against_a_cut_that_is_made_by_hand(
    smollm2: Any, reference: Reference, states: torch.Tensor
) -> None:
    """Positions are rotary: they cannot be restarted, and a cut alone makes a text of the rest."""
    n, t = 4, 20
    rows = reference.rows[:n]
    result = ll.why_study(smollm2, rows, at=t, layers=LAYERS, random_init=False)
    data = result.dataset
    assert data.attrs["position_factor"] == "not applicable"
    assert any("The position factor is not applicable" in note for note in result.warnings)
    assert not np.isfinite(data["angle"].sel(cell="restart")).any()
    moved = torch.cat([rows[data["donor"].values, :t], rows[:, :2]], dim=1)
    right = {
        ("first", "plain"): between(*reference.states(moved)[LAYERS][:, :, t:].unbind(2)),
        ("first", "both"): between(*states[LAYERS][:, :n, :2].unbind(2)),
        ("body", "plain"): between(*states[LAYERS][:, :n, t : t + 2].unbind(2)),
        ("body", "both"): between(*reference.states(rows[:, t : t + 2])[LAYERS].unbind(2)),
    }
    for place, texts in (("first", moved), ("body", rows[:, : t + 2])):
        cut = torch.stack([reference.cut(row, t)[LAYERS, t:] for row in texts], dim=1)
        right[place, "cut"] = between(*cut.unbind(2))
        assert float((right[place, "cut"] - right[place, "both"]).abs().max()) <= TOLERANCE_RAD
        assert float((right[place, "cut"] - right[place, "plain"]).abs().max()) > 0.1
    for (place, cell), wanted in right.items():
        ours = data["angle"].sel(place=place, cell=cell).values.T  # [layer text]
        assert np.abs(ours - wanted.numpy()).max() <= TOLERANCE_RAD, (place, cell)


def test_the_cut_that_is_made_by_hand_is_hugging_face_s_where_nothing_is_cut(
    reference: Reference, states: torch.Tensor
) -> None:
    ours = reference.cut(reference.rows[0, :22], 0)
    assert float(between(ours, states[:, 0, :22]).max()) <= TOLERANCE_RAD


def test_with_the_bos(smollm2: Any, reference: Reference) -> None:
    rows = reference.rows[:3]
    ours = ll.capture_residuals(smollm2, rows, layers=LAYERS, prepend_bos=True)
    bos = torch.full((3, 1), reference.tokenizer.bos_token_id)
    assert torch.equal(ours.tokens, torch.cat([bos, rows], dim=1))
    right = reference.states(ours.tokens)[LAYERS]
    assert float(between(ours.values, right).max()) <= TOLERANCE_RAD


def test_a_batch_with_padding_on_the_left(smollm2: Any, reference: Reference) -> None:
    lengths = (LENGTH, 40, 9)
    rows = reference.rows[: len(lengths)].clone()
    mask = torch.arange(LENGTH)[None] >= LENGTH - torch.tensor(lengths)[:, None]
    rows[~mask] = reference.tokenizer.pad_token_id
    ours = ll.capture_residuals(smollm2, rows, mask=mask, layers=LAYERS)
    for index, length in enumerate(lengths):
        right = reference.states(rows[index : index + 1, LENGTH - length :])[LAYERS, 0]
        assert float(between(ours.values[:, index, :length], right).max()) <= TOLERANCE_RAD
        assert ours.values[:, index, length:].isnan().all()


@dataclass(frozen=True)
class Written:
    """What Hugging Face's attention and MLPs write to two texts: [block text pos d_model], float64.

    Attributes:
        read: input of each block.
        heads: by head, [block text pos head d_model].
    """

    read: np.ndarray
    attn: np.ndarray
    mlp: np.ndarray
    heads: np.ndarray


@pytest.fixture(scope="module")
def written(reference: Reference) -> Written:
    """One pass of the beginnings of two texts."""
    few, config = reference.rows[: WRITTEN[0], : WRITTEN[1]], reference.model.config
    width = config.hidden_size // config.num_attention_heads
    made: dict[str, list[torch.Tensor]] = {"attn": [], "mlp": [], "heads": []}
    hooks = []
    for block in reference.model.model.layers:
        out = block.self_attn.o_proj
        weight = out.weight.double().T.unflatten(0, (-1, width))  # [head d_head d_model]

        def by_head(_: Any, given: Any, weight: torch.Tensor = weight) -> None:
            z = given[0].double().unflatten(-1, (-1, width))
            made["heads"].append(torch.einsum("bphd,hdm->bphm", z, weight))

        hooks.append(out.register_forward_pre_hook(by_head))
        for name, part in (("attn", out), ("mlp", block.mlp)):
            hooks.append(
                part.register_forward_hook(lambda _, __, one, name=name: made[name].append(one.double()))
            )
    with torch.no_grad():
        read = reference.states(few)[:-1].double()
    for hook in hooks:
        hook.remove()
    return Written(read.numpy(), *(torch.stack(made[name]).numpy() for name in ("attn", "mlp", "heads")))


WRITTEN = (2, 8)
"""Texts and tokens of the decomposition."""


def test_steps_are_what_attention_and_mlp_write(smollm2: Any, written: Written, reference: Reference) -> None:
    """Every number of the decomposition study, token by token: of the writes in the order of the block."""
    n, length = WRITTEN
    result = ll.decomposition_study(smollm2, reference.rows[:n, :length], heads=True)
    found = result.measured
    assert found is not None
    size = np.linalg.norm

    def cosine(u: np.ndarray, v: np.ndarray) -> float:
        return float(u @ v / (size(u) * size(v)))

    def angle(u: np.ndarray, v: np.ndarray) -> float:
        return float(between(torch.from_numpy(u), torch.from_numpy(v)))

    for block in range(30):
        for text in range(n):
            x, a, m = (part[block, text] for part in (written.read, written.attn, written.mlp))
            rows: dict[str, list[Any]] = {}
            for i in range(1, length):
                enters = {"attn": (x[i], a[i]), "mlp": (x[i] + a[i], m[i]), "step": (x[i], a[i] + m[i])}
                right = {
                    "cosine": cosine(a[i], m[i]),
                    "other": np.mean([cosine(a[i], m[j]) for j in range(1, length) if j != i]),
                    "ratio": np.log(size(m[i]) / size(a[i])),
                    "residual": size(x[i]),
                    "length": [size(w) for _, w in enters.values()],
                    "relative": [size(w) / size(r) for r, w in enters.values()],
                    "along": [w @ r / (r @ r) for r, w in enters.values()],
                    "across": [size(w - (w @ r) / (r @ r) * r) / size(r) for r, w in enters.values()],
                    "radial": [cosine(w, r) ** 2 for r, w in enters.values()],
                    "with_residual": [angle(w, r) for r, w in enters.values()],
                    "with_step": [angle(w, a[i] + m[i]) for w in (a[i], m[i])],
                    "turn": [angle(r, r + w) for r, w in enters.values()],
                    "head_cosine": [cosine(w, m[i]) for w in written.heads[block, text, i]],
                    "head_relative": [size(w) / size(x[i]) for w in written.heads[block, text, i]],
                    "head_along": [w @ x[i] / (x[i] @ x[i]) for w in written.heads[block, text, i]],
                    "head_share": [w @ a[i] / (a[i] @ a[i]) for w in written.heads[block, text, i]],
                }
                for name, value in right.items():
                    rows.setdefault(name, []).append(value)
            for name, values in rows.items():
                ours, mean = found[name].values[text, block], np.mean(values, axis=0)
                np.testing.assert_allclose(ours, mean, rtol=2e-4, atol=2e-5, err_msg=f"{name}, {block}")
    for name in ("cosine", "other", "along", "turn", "head_share"):
        means = found[name].values.mean(axis=0)
        np.testing.assert_allclose(result.dataset[name].values, means, rtol=1e-9, err_msg=name)
