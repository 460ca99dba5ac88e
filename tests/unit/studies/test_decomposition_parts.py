"""A step's writes by hand and planted: opposed, orthogonal, turning alone, lengthening alone."""

import math
from typing import Any

import numpy as np
import pytest
import torch

from laminar_lens.studies.decomposition.parts import Writes, other_tokens

ATTN, MLP, STEP = range(3)
TOLERANCE = 1e-6


def writes(x: Any, attn: Any, mlp: Any, *, parallel: bool = False) -> Writes:
    """Of one token."""
    vectors = (torch.tensor([[one]], dtype=torch.float64) for one in (x, attn, mlp))
    return Writes.of(*vectors, parallel=parallel)


def of(values: torch.Tensor) -> list[float]:
    """Of the one token, by part."""
    found: list[float] = values[..., 0, 0].tolist()
    return found


def test_a_step_by_hand() -> None:
    """x = (3, 0, 0), a = (1, 4, 0), m = (0, 0, 2): the MLP enters (4, 4, 0), the step is (1, 4, 2)."""
    found = writes([3, 0, 0], [1, 4, 0], [0, 0, 2])
    assert float(found.cosine) == 0
    assert float(found.ratio) == pytest.approx(math.log(2 / math.sqrt(17)))
    assert of(found.lengths) == pytest.approx([math.sqrt(17), 2, math.sqrt(21)])
    mid = math.sqrt(32)
    assert of(found.relative) == pytest.approx([math.sqrt(17) / 3, 2 / mid, math.sqrt(21) / 3])
    assert of(found.along) == pytest.approx([1 / 3, 0, 1 / 3])
    assert of(found.across) == pytest.approx([4 / 3, 2 / mid, math.sqrt(20) / 3])
    assert of(found.radial) == pytest.approx([1 / 17, 0, 1 / 21])
    assert of(found.with_residual) == pytest.approx([math.atan2(4, 1), math.pi / 2, math.atan2(20**0.5, 1)])
    assert of(found.with_step) == pytest.approx([math.acos((17 / 21) ** 0.5), math.acos((4 / 21) ** 0.5)])
    assert of(found.turn) == pytest.approx([math.pi / 4, math.atan2(2, mid), math.atan2(20**0.5, 4)])


def test_parallel_blocks_enter_the_input() -> None:
    """The MLP's write (1, 0) lengthens x = (2, 0) by a half; in a row it would enter (2, 2)."""
    found = writes([2, 0], [0, 2], [1, 0], parallel=True)
    assert of(found.relative) == pytest.approx([1, 0.5, math.sqrt(5) / 2])
    assert of(found.along) == pytest.approx([0, 0.5, 0.5])
    assert of(found.with_residual)[MLP] == 0
    in_a_row = writes([2, 0], [0, 2], [1, 0])
    assert of(in_a_row.along)[MLP] == pytest.approx(0.25)
    assert of(in_a_row.with_residual)[MLP] == pytest.approx(math.pi / 4)


@pytest.mark.parametrize("width", [3, 63, 576])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_planted_directions_are_recovered(width: int, dtype: torch.dtype) -> None:
    """Of vectors at random: opposed and orthogonal writes, one that only turns, one that only lengthens."""
    rng = torch.Generator().manual_seed(width)
    x, u = torch.randn(2, 5, 7, width, generator=rng, dtype=torch.float64)
    across = u - (u * x).sum(-1, keepdim=True) / (x * x).sum(-1, keepdim=True) * x

    def found(attn: torch.Tensor, mlp: torch.Tensor) -> Writes:
        return Writes.of(x.to(dtype), attn.to(dtype), mlp.to(dtype), parallel=True)

    opposed = found(u, -0.3 * u)
    assert float((opposed.cosine + 1).abs().max()) < TOLERANCE
    assert float((opposed.with_step[MLP] - math.pi).abs().max()) < TOLERANCE
    assert float((opposed.ratio - math.log(0.3)).abs().max()) < TOLERANCE
    orthogonal = found(across, 0.2 * x)
    assert float(orthogonal.cosine.abs().max()) < TOLERANCE
    assert float(orthogonal.radial[ATTN].max()) < TOLERANCE
    assert float(orthogonal.along[ATTN].abs().max()) < TOLERANCE
    assert float((orthogonal.with_residual[ATTN] - math.pi / 2).abs().max()) < TOLERANCE
    turned = torch.atan2(across.norm(dim=-1), x.norm(dim=-1))
    assert float((orthogonal.turn[ATTN] - turned).abs().max()) < TOLERANCE
    assert float((orthogonal.along[MLP] - 0.2).abs().max()) < TOLERANCE
    assert float((orthogonal.radial[MLP] - 1).abs().max()) < TOLERANCE
    assert float(orthogonal.across[MLP].max()) < TOLERANCE
    assert float(orthogonal.turn[MLP].max()) < TOLERANCE
    shorter = found(across, -0.2 * x)
    assert float((shorter.along[MLP] + 0.2).abs().max()) < TOLERANCE


def test_what_is_not_defined_is_nan() -> None:
    """A zero write has a length and no direction; a zero residual is entered by nothing."""
    silent = writes([3, 0], [0, 0], [0, 2])
    assert math.isnan(float(silent.cosine))
    assert math.isnan(float(silent.ratio))
    assert of(silent.lengths) == pytest.approx([0, 2, 2])
    assert of(silent.along)[ATTN] == of(silent.across)[ATTN] == of(silent.turn)[ATTN] == 0
    assert math.isnan(of(silent.radial)[ATTN])
    assert math.isnan(of(silent.with_residual)[ATTN])
    assert math.isnan(of(silent.with_step)[ATTN])
    nowhere = writes([0, 0], [1, 0], [0, 2])
    for values in (nowhere.relative, nowhere.along, nowhere.across, nowhere.radial, nowhere.turn):
        assert [math.isnan(one) for one in of(values)] == [True, False, True]
    cancelled = writes([1, 2], [3, 4], [-3, -4])
    assert of(cancelled.lengths)[STEP] == 0
    assert all(map(math.isnan, of(cancelled.with_step)))
    assert math.isnan(of(writes([1, 2], [-1, -2], [1, 0]).turn)[ATTN])
    assert math.isnan(of(writes([1, 2], [-1, -2], [1, 0]).along)[MLP])


def test_small_and_large_vectors_keep_their_directions() -> None:
    """Squares that leave float32's range, and a write of a millionth of the residual."""
    for scale in (1e-25, 1e25):
        found = writes([3 * scale, 0], [0, 1e-6 * scale], [1e-6 * scale, 1e-6 * scale])
        assert float(found.cosine) == pytest.approx(0.5**0.5)
        assert of(found.turn)[ATTN] == pytest.approx(1e-6 / 3, rel=1e-6)
        assert of(found.across)[ATTN] == pytest.approx(1e-6 / 3, rel=1e-6)


@pytest.mark.parametrize(("n", "width"), [(2, 3), (5, 8), (33, 63)])
def test_other_tokens_are_all_pairs_of_different_ones(n: int, width: int) -> None:
    """In loops; a zero write makes no pair."""
    a, m = torch.randn(2, 4, n, width, generator=torch.Generator().manual_seed(n)) + 0.3
    a[0, 0] = m[1, 1] = 0
    found = other_tokens(a, m)
    for text in range(4):
        cosines = []
        for i in range(n):
            for j in range(n):
                u, v = (one.double().numpy() for one in (a[text, i], m[text, j]))
                if i != j and u.any() and v.any():
                    cosines.append(u @ v / np.sqrt((u @ u) * (v @ v)))
        assert float(found[text]) == pytest.approx(np.mean(cosines), abs=1e-12)


def test_a_single_token_has_no_other() -> None:
    one = torch.ones(2, 1, 3)
    assert other_tokens(one, one).isnan().all()
    none = torch.zeros(2, 3, 3)
    assert other_tokens(none, none + 1).isnan().all()
