"""How long a call takes, and how much memory it adds: CUDA events on a GPU, repeats in turn on a CPU.

On a CPU the backends of one group take turns, so that a change in the machine's load meets all of them; a
short pause between calls lets the threads of one backend go to sleep before those of the next are timed.
"""

import ctypes
import gc
import os
import time
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import torch

Call = Callable[[int], object]
"""Runs once on the input set of that number."""

_PAUSE_S = 0.003
_SLOW_S = 0.3
QUANTILES = (0.2, 0.5, 0.8)


def cpu_times(
    calls: Mapping[str, Call], seconds: float, least: int = 3, most: int = 50
) -> dict[str, list[float]]:
    """Seconds of each call, p20, p50 and p80, from repeats in turn that take about `seconds` in all."""
    taken: dict[str, list[float]] = {name: [] for name in calls}
    gc.collect()
    gc.disable()
    try:
        start, turn = time.perf_counter(), 0
        while turn < least or (turn < most and time.perf_counter() - start < seconds):
            for name, call in calls.items():
                time.sleep(_PAUSE_S)
                begin = time.perf_counter()
                call(turn)
                taken[name].append(time.perf_counter() - begin)
            turn += 1
    finally:
        gc.enable()
    return {name: np.quantile(values, QUANTILES).tolist() for name, values in taken.items()}


def one_thread_times(calls: Mapping[str, Call], repeats: int = 30) -> dict[str, float]:
    """The least processor seconds of each call on one thread, from repeats in turn."""
    least = dict.fromkeys(calls, float("inf"))
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        for turn in range(repeats):
            for name, call in calls.items():
                begin = time.thread_time()
                call(turn)
                least[name] = min(least[name], time.thread_time() - begin)
    finally:
        torch.set_num_threads(before)
    return least


def gpu_times(call: Call, rep_ms: int = 60) -> list[float]:
    """The same for one call on the GPU, between CUDA events, with its L2 cleared; input sets in turn."""
    from triton.testing import do_bench

    turn = 0

    def once() -> None:
        nonlocal turn
        call(turn)
        turn += 1

    start = time.perf_counter()
    once()
    torch.cuda.synchronize()
    if time.perf_counter() - start > _SLOW_S:
        return _slow_times(once)
    quantiles = do_bench(once, warmup=15, rep=rep_ms, quantiles=list(QUANTILES))
    return [milliseconds / 1e3 for milliseconds in quantiles]


def _slow_times(once: Callable[[], None], repeats: int = 3) -> list[float]:
    """do_bench calls at least eight times, which is too many for calls of seconds."""
    taken = []
    for _ in range(repeats):
        begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))  # type: ignore[no-untyped-call]
        begin.record()
        once()
        end.record()
        end.synchronize()
        taken.append(begin.elapsed_time(end) / 1e3)
    return list(np.quantile(taken, QUANTILES).tolist())


def peak_extra_bytes(call: Call, device: str) -> int | None:
    """The most memory that one call adds, its results included; None where the system does not say.

    On a GPU from the allocator; on a CPU the growth of the resident pages (Linux), which also sees what does
    not come from torch.
    """
    if device == "cuda":
        torch.cuda.synchronize()
        before = torch.cuda.memory_allocated()
        torch.cuda.reset_peak_memory_stats()
        call(0)
        torch.cuda.synchronize()
        return torch.cuda.max_memory_allocated() - before
    try:
        gc.collect()
        ctypes.CDLL("libc.so.6").malloc_trim(0)  # else freed pages, still resident, would hide new ones
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")
        before = _status_bytes("VmRSS")
        result = call(0)
        peak = _status_bytes("VmHWM") - before
        del result
        return max(0, peak)
    except (OSError, AttributeError, StopIteration):
        return None


def _status_bytes(field: str) -> int:
    lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    return int(next(line for line in lines if line.startswith(field)).split()[1]) * 1024


def free_bytes(device: str) -> int:
    """What can still be allocated."""
    if device == "cuda":
        torch.cuda.empty_cache()
        return torch.cuda.mem_get_info()[0]
    try:
        lines = Path("/proc/meminfo").read_text(encoding="ascii").splitlines()
        return int(next(line for line in lines if line.startswith("MemAvailable")).split()[1]) * 1024
    except OSError:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 2
