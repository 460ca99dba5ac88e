"""What must hold for any vectors: symmetry, invariances, the triangle inequality, one quantity many ways."""

import math

import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from laminar_lens import kernels

TWICE = 1e-6  # two angles of float32, each within 5e-7 rad

seeds = st.integers(0, 2**31)
sizes = st.sampled_from([1, 2, 3, 17, 63, 129, 500])
scales = st.floats(-28, 28).map(lambda power: 10.0**power)
cases = settings(max_examples=25, deadline=None, derandomize=True)


def draw(seed: int, *shape: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


@cases
@given(seeds, sizes)
def test_symmetric_and_in_range(seed: int, d_model: int) -> None:
    u, v = draw(seed, 2, 20, d_model)
    theta = kernels.angle(u, v)
    assert torch.equal(theta, kernels.angle(v, u))
    assert (theta >= 0).all()
    assert (theta <= torch.tensor(math.pi)).all()
    assert torch.equal(kernels.angle(u, u), torch.zeros(20))
    assert torch.equal(kernels.angle(u, -u), torch.full((20,), math.pi))


@cases
@given(seeds, sizes, scales, scales)
def test_scales_do_not_matter_and_signs_complement(seed: int, d_model: int, a: float, b: float) -> None:
    u, v = draw(seed, 2, 20, d_model)
    theta = kernels.angle(u, v)
    torch.testing.assert_close(kernels.angle(u * a, v * b), theta, rtol=0, atol=TWICE)
    torch.testing.assert_close(kernels.angle(u * a, -v * b), math.pi - theta, rtol=0, atol=TWICE)


@cases
@given(seeds, st.sampled_from([2, 3, 17, 63]))
def test_rotations_do_not_matter(seed: int, d_model: int) -> None:
    u, v = draw(seed, 2, 20, d_model).double()
    turn = torch.linalg.qr(draw(seed + 1, d_model, d_model).double()).Q
    torch.testing.assert_close(kernels.angle(u @ turn, v @ turn), kernels.angle(u, v), rtol=0, atol=1e-12)


@cases
@given(seeds, sizes)
def test_triangle_inequality(seed: int, d_model: int) -> None:
    u, v, w = draw(seed, 3, 20, d_model)
    assert (kernels.angle(u, w) <= kernels.angle(u, v) + kernels.angle(v, w) + TWICE).all()


@cases
@given(seeds, sizes, st.integers(2, 9), st.data())
def test_one_quantity_in_many_forms(seed: int, d_model: int, n_pos: int, data: st.DataObject) -> None:
    lag = data.draw(st.integers(1, n_pos - 1))
    resid = draw(seed, 2, 3, n_pos, d_model)
    sequential = kernels.sequential_angles(resid, lag=lag)
    first = torch.arange(n_pos - lag)
    by_pair = kernels.pair_angles(resid, torch.stack([first, first + lag], -1))
    by_matrix = kernels.pairwise_angles(resid).diagonal(lag, -2, -1)
    by_rotation = kernels.rotation_angles(resid.movedim(-2, 0)[::lag]).movedim(0, -1)
    torch.testing.assert_close(by_pair, sequential, rtol=0, atol=TWICE)
    torch.testing.assert_close(by_matrix, sequential, rtol=0, atol=TWICE)
    torch.testing.assert_close(by_rotation, sequential[..., ::lag], rtol=0, atol=TWICE)


@cases
@given(seeds, sizes)
def test_a_path_that_turns_is_the_angle_of_its_steps(seed: int, d_model: int) -> None:
    steps = draw(seed, 2, 6, d_model).double()
    path = torch.cat([torch.zeros(2, 1, d_model, dtype=torch.float64), steps.cumsum(1)], 1)
    torch.testing.assert_close(
        kernels.turning_angles(path),
        kernels.sequential_angles(steps),
        rtol=0,
        atol=1e-7 if d_model > 1 else 0,
    )
    lengths = kernels.step_lengths(path.movedim(1, 0)).movedim(0, 1)
    torch.testing.assert_close(lengths, steps.norm(dim=-1))


@cases
@given(seeds, sizes, st.sampled_from(["eager", "cpu"]))
def test_backends_agree_on_symmetry_range_and_the_profile(seed: int, d_model: int, backend: str) -> None:
    resid = draw(seed, 3, 2, 6, d_model)
    found = kernels.angle_profile(list(resid), lags=3, backend=backend)
    assert torch.equal(kernels.angle(resid, resid, backend=backend), torch.zeros(3, 2, 6))
    assert torch.equal(kernels.angle(resid, -resid, backend=backend), torch.full((3, 2, 6), math.pi))
    assert torch.equal(
        kernels.angle(resid[0], resid[1], backend=backend), kernels.angle(resid[1], resid[0], backend=backend)
    )
    for name, single in [
        ("sequential", kernels.sequential_angles(resid)),
        ("sequential_3", kernels.sequential_angles(resid, lag=3)),
        ("rotation", kernels.rotation_angles(resid)),
    ]:
        torch.testing.assert_close(found[name], single, rtol=0, atol=TWICE)
    torch.testing.assert_close(found["norm"], resid.norm(dim=-1))
    torch.testing.assert_close(found["step"], resid.diff(dim=0).norm(dim=-1))
    counts = kernels.pairwise_histogram(resid, bins=5, backend=backend)
    assert counts.sum(-1).eq(15).all()


@cases
@given(seeds, st.sampled_from(["eager", "cpu"]), st.integers(0, 5))
def test_a_mask_hides_only_what_it_marks(seed: int, backend: str, hidden: int) -> None:
    resid = draw(seed, 2, 3, 6, 17)
    mask = torch.ones(3, 6, dtype=torch.bool)
    mask[1, hidden] = False
    whole = kernels.angle_profile(resid, lags=2, backend=backend)
    for name, values in kernels.angle_profile(resid, lags=2, mask=mask, backend=backend).items():
        lag = 6 - values.shape[-1]
        gone = torch.zeros_like(values, dtype=torch.bool)
        gone[:, 1, [p for p in {hidden, hidden - lag} if 0 <= p < 6 - lag]] = True
        assert torch.equal(values.isnan(), gone)
        assert torch.equal(values[~gone], whole[name][~gone])
