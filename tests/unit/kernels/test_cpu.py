"""The compiled loops: how often they read, what they keep, and how they live with threads and processes."""

import os
import subprocess
import sys
import warnings
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import torch

from laminar_lens import kernels
from laminar_lens.kernels import cpu


def _cpu_features() -> Any:
    from llvmlite import binding

    return [name for name, has in binding.get_host_cpu_features().items() if has]


@pytest.mark.parametrize("threads", [1, 2, 7])
@pytest.mark.parametrize(
    ("shape", "layers", "extra"),
    [
        ((8, 1024, 768), 13, 0.01),
        ((1, 4096, 1600), 49, 0.02),
        ((2, 2048, 4096), 33, 0.04),
        ((1, 512, 16384), 5, 0.13),
    ],
)
def test_each_vector_is_read_once(
    shape: tuple[int, ...], layers: int, extra: float, threads: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Counted from the launch: every block runs once, and reads a row more than it has."""
    states = torch.zeros(shape[-1]).expand(shape)
    reads, blocks = [0], []

    def counted(begin: int, end: int, rows: int, length: int, addresses: Any, *rest: Any) -> None:
        assert len(addresses) == layers
        for block in range(begin, end):
            start = block % -(-length // rows) * rows
            reads[0] += min(rows + 1, length - start) * layers
            blocks.append(block)

    monkeypatch.setattr(cpu.loops, "profile", counted)
    monkeypatch.setattr(torch, "get_num_threads", lambda: threads)
    kernels.angle_profile([states] * layers, backend="cpu")
    assert sorted(blocks) == list(range(len(blocks)))
    assert len(blocks) >= threads
    assert 1 <= reads[0] / (layers * shape[0] * shape[1]) <= 1 + extra


def test_torch_keeps_its_threads_and_callers_may_be_many() -> None:
    torch.manual_seed(0)
    resid = torch.randn(4, 3, 200, 128)
    before = torch.get_num_threads()
    alone = kernels.angle_profile(resid, lags=2, backend="cpu")
    with ThreadPoolExecutor(8) as pool:
        for found in pool.map(lambda _: kernels.angle_profile(resid, lags=2, backend="cpu"), range(40)):
            assert all(torch.equal(found[name], alone[name]) for name in alone)
    assert torch.get_num_threads() == before


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
def test_a_forked_process_computes() -> None:
    resid = torch.ones(2, 3, 50, 16)
    kernels.sequential_angles(resid, backend="cpu")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # threads and fork: this is what is tested
        child = os.fork()
    if child == 0:
        os._exit(
            0 if torch.equal(kernels.sequential_angles(resid, backend="cpu"), torch.zeros(2, 3, 49)) else 1
        )
    assert os.waitpid(child, 0)[1] == 0


def test_where_no_cache_can_be_written_it_compiles_in_memory() -> None:
    code = (
        "import numba.core.caching as caching, torch\n"
        "caching.CacheImpl._locator_classes = []\n"
        "from laminar_lens.kernels import cpu\n"
        "print(cpu.sequential_angles(torch.eye(3)[None], 1).tolist())"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[[1.5707963705062866, 1.5707963705062866]]"


def test_loops_are_cached_on_disk(tmp_path: Any) -> None:
    code = (
        "import torch\n"
        "from laminar_lens.kernels import cpu, _cpu_kernels\n"
        "cpu.pair_angles(torch.eye(3)[None], torch.zeros(1, 1, 2, dtype=torch.int64))\n"
        "print(sum(_cpu_kernels.chosen.stats.cache_hits.values()))"
    )
    environment = {**os.environ, "NUMBA_CACHE_DIR": str(tmp_path)}
    hits = [
        subprocess.run(
            [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True
        )
        for _ in range(2)
    ]
    assert [done.stdout.strip() for done in hits] == ["0", "1"]


def test_half_precision_bits() -> None:
    """Every float16 and bfloat16 that is finite has the norm and the angle that its float32 has."""
    for dtype in (torch.float16, torch.bfloat16):
        numbers = torch.arange(-(2**15), 2**15, dtype=torch.int32).to(torch.int16).view(dtype)[:, None]
        resid = torch.cat([numbers, torch.ones_like(numbers)], -1)[None, None]
        found = kernels.angle_profile(resid, backend="cpu")
        wide = kernels.angle_profile(resid.double(), backend="reference")
        for name, values in found.items():
            torch.testing.assert_close(
                values.double(), wide[name].float().double(), rtol=2e-7, atol=2e-7, equal_nan=True
            )


def everything(resid: torch.Tensor) -> bytes:
    """The bytes of all that the loops compute."""
    found = [*kernels.angle_profile(resid, lags=4, backend="cpu").values()]
    found += [
        kernels.sequential_angles(resid, lag=7, backend="cpu"),
        kernels.step_lengths(resid, backend="cpu"),
    ]
    found += [kernels.rotation_angles(resid, backend="cpu"), kernels.turning_angles(resid, backend="cpu")]
    return b"".join(values.numpy().tobytes() for values in found)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float64], ids=str)
@pytest.mark.parametrize("d_model", [3, 63, 500, 1600])
@pytest.mark.usefixtures("seed")
def test_same_bytes_on_any_threads_in_any_blocks(
    d_model: int, dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Blocks begin and end elsewhere, and threads share them otherwise: each sum keeps its order."""
    resid = torch.randn(3, 2, 61, d_model).to(dtype)
    expected = everything(resid)
    for threads, least, most in ((1, 8, 256), (3, 8, 256), (2, 1, 2), (5, 3, 3), (2, 7, 7), (1, 61, 61)):
        monkeypatch.setattr(torch, "get_num_threads", lambda n=threads: n)
        monkeypatch.setattr(cpu, "_LEAST_ROWS", least)
        monkeypatch.setattr(cpu, "_MOST_ROWS", most)
        assert everything(resid) == expected, (threads, least, most)
    monkeypatch.undo()
    apart = torch.stack([resid, resid], -1)[..., 0]  # coordinates that are gathered first
    assert everything(apart) == expected


@pytest.mark.usefixtures("seed")
def test_a_row_repeated_has_no_angle_to_itself_whatever_its_place() -> None:
    resid = torch.randn(1, 1, 1, 500).expand(2, 3, 37, 500)
    for values in kernels.angle_profile(
        resid, measures=("sequential", "rotation"), lags=4, backend="cpu"
    ).values():
        assert torch.equal(values, torch.zeros_like(values))


@pytest.mark.skipif("avx2" not in _cpu_features(), reason="this machine has no AVX2 to compute with")
def test_vectors_of_half_the_width_give_the_same_bytes(tmp_path: Any) -> None:
    """AVX2 in a process of its own beside what this machine has; up to float32 the products are exact."""
    code = (
        "import hashlib, torch\n"
        "from laminar_lens import kernels\n"
        "resid = torch.randn(2, 2, 23, 500, generator=torch.Generator().manual_seed(1))\n"
        "found = kernels.angle_profile(resid, lags=2, backend='cpu')\n"
        "print(hashlib.sha256(b''.join(x.numpy().tobytes() for x in found.values())).hexdigest())"
    )
    narrow = {"NUMBA_CPU_NAME": "haswell", "NUMBA_CPU_FEATURES": "+sse4.2,+avx,+avx2,+fma"}
    seen = set()
    for change in ({}, narrow):
        environment = {**os.environ, "NUMBA_CACHE_DIR": str(tmp_path), **change}
        done = subprocess.run(
            [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True
        )
        seen.add(done.stdout)
    assert len(seen) == 1
