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
