"""Which backend computes, what is refused and why, and what importing loads."""

import subprocess
import sys

import pytest
import torch
from torch.func import grad, vmap

from laminar_lens import kernels
from laminar_lens.errors import BackendError, InputError, ShapeError
from laminar_lens.kernels import _dispatch

LARGE = torch.zeros(2, 128, 1024)  # 1 MiB


def test_auto_is_cpu_from_one_mebibyte() -> None:
    assert kernels.resolve_backend("auto", LARGE) == "cpu"
    assert kernels.resolve_backend("auto", LARGE[:, 1:]) == "eager"
    assert kernels.resolve_backend("auto", *LARGE) == "cpu"  # a list of layers counts as a whole
    assert kernels.resolve_backend("auto", LARGE.double()[:1]) == "cpu"
    assert kernels.resolve_backend("auto", LARGE.bfloat16()) == "eager"


def test_auto_is_eager_where_a_gradient_is_wanted() -> None:
    seen = []

    def total(x: torch.Tensor) -> torch.Tensor:
        seen.append(kernels.resolve_backend("auto", x))
        return kernels.sequential_angles(x).nansum()

    watched = LARGE.clone().requires_grad_()
    assert kernels.resolve_backend("auto", watched) == "eager"
    with torch.no_grad():
        assert kernels.resolve_backend("auto", watched) == "cpu"
    with torch.inference_mode():
        assert kernels.resolve_backend("auto", watched) == "cpu"
    grad(total)(LARGE)
    vmap(total)(LARGE[None])
    assert seen == ["eager", "eager"]


def test_torch_compile_is_not_broken() -> None:
    """In a process of its own: torch.compile cannot trace the suite's type checker."""
    code = (
        "import torch\n"
        "from laminar_lens import kernels\n"
        "resid = torch.randn(2, 300, 512)\n"
        "compiled = torch.compile(lambda x: kernels.sequential_angles(x * 1.0), backend='eager')\n"
        "torch.testing.assert_close(compiled(resid), kernels.sequential_angles(resid), rtol=0, atol=1e-6)"
    )
    done = subprocess.run(
        [sys.executable, "-W", "error::UserWarning", "-c", code], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr


def refused(name: str, *tensors: torch.Tensor) -> str:
    with pytest.raises(BackendError) as caught:
        kernels.resolve_backend(name, *tensors)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_a_backend_by_name_that_cannot_run_says_why(monkeypatch: pytest.MonkeyPatch) -> None:
    assert "auto, reference, eager, cpu, fused" in refused("fast", LARGE)
    assert "no gradient" in refused("cpu", LARGE.clone().requires_grad_())
    assert "these are on meta" in refused("cpu", LARGE.to("meta"))
    monkeypatch.delenv("TRITON_INTERPRET", raising=False)
    assert "CUDA tensors, these are on cpu" in refused("fused", LARGE)
    monkeypatch.setattr(_dispatch, "find_spec", lambda name: None)
    assert "pip install numba" in refused("cpu", LARGE)
    assert "pip install triton" in refused("fused", LARGE)
    assert kernels.resolve_backend("auto", LARGE) == "eager"
    with pytest.raises(BackendError):
        kernels.angle_profile(LARGE[None], backend="cpu")


def test_a_broken_installation_is_a_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(name: str) -> None:
        raise ImportError("libdevice is missing")

    monkeypatch.setattr(_dispatch, "import_module", broken)
    assert "libdevice is missing" in refused("cpu", LARGE)


def test_importing_loads_neither_numba_nor_triton() -> None:
    code = (
        "import sys, torch; before = set(sys.modules)\n"
        "import laminar_lens.kernels as kernels\n"
        "kernels.sequential_angles(torch.ones(1, 3, 4))\n"
        "print(*sorted({m.split('.')[0] for m in set(sys.modules) - before}))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert not {"numba", "triton", "llvmlite"} & set(done.stdout.split())


def test_profile_says_what_was_expected() -> None:
    x = torch.ones(2, 3, 5, 4)
    for arguments, error, part in [
        ({"measures": ["turning"]}, InputError, "'turning'"),
        ({"measures": []}, InputError, "empty"),
        ({"lags": 5}, ShapeError, "1 … 4"),
        ({"mask": torch.ones(3, 5)}, InputError, "mask.bool()"),
        ({"mask": torch.ones(3, 4, dtype=torch.bool)}, ShapeError, "[3, 5]"),
    ]:
        with pytest.raises(error) as caught:
            kernels.angle_profile(x, **arguments)
        assert part in str(caught.value)
        assert "\n" not in str(caught.value)
    for states, error, part in [
        ([], ShapeError, "no layer"),
        ([x[0], x[1, :2]], InputError, "states[1]"),
        ([x[0], x[1].double()], InputError, "float64"),
        ([x], ShapeError, "states[0]"),
        (x[:, :, :1], ShapeError, "a lag of 1"),
    ]:
        with pytest.raises(error) as caught:
            kernels.angle_profile(states)
        assert part in str(caught.value)
    assert set(kernels.angle_profile(x[:1])) == {"sequential", "norm"}
    with pytest.raises(ShapeError, match="one layer"):
        kernels.angle_profile(x[:1], measures=["rotation"])
    with pytest.raises(ShapeError, match="bins is 0"):
        kernels.pairwise_histogram(x, bins=0)
