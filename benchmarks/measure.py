"""One group, measured: inputs, truth, parity, then times of those that passed, beside the floor."""

import itertools
import math
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from benchmarks.capture_rows import capture_fields, needed_bytes
from benchmarks.competitors import competitor, temporary_bytes
from benchmarks.inputs import Inputs, make_inputs
from benchmarks.registry import BINS, OURS, Entry, Group
from benchmarks.table import OK, Row, Setting
from benchmarks.timing import cpu_times, free_bytes, gpu_times, one_thread_times, peak_extra_bytes
from benchmarks.truth import Truth, true_values
from benchmarks.verify import Result, verify
from laminar_lens import kernels
from laminar_lens.errors import BackendError

Form = Callable[[Tensor, Tensor | None], Result]

NO_TIME = "skipped: too little time left to compile"
COMPILE_S = {"cpu": 40.0, "cuda": 15.0}
_CACHE_BYTES = {"cpu": 2**27, "cuda": 2**28}
_IN_CACHE_BYTES = 2**23
_MOST_SETS = 6
_FLOOR_BYTES = 2**32
CAPTURE_S = 60.0


@dataclass(frozen=True)
class Plan:
    """How to measure: where, how long, the time that is left, and what a backend is: tests plant others."""

    device: str
    setting: Setting
    seconds: float
    left_s: Callable[[], float]
    form_of: Callable[[Entry], Form]


def form_of(entry: Entry) -> Form:
    """The function that an entry times: from the public one on, with its checks."""
    return _ours(entry) if entry.backend in OURS else competitor(entry.backend, entry.operation)


def _ours(entry: Entry) -> Form:
    backend = entry.backend
    forms: dict[str, Form] = {
        "sequential": lambda x, _: {"sequential": kernels.sequential_angles(x, backend=backend)},
        "rotation": lambda x, _: {"rotation": kernels.rotation_angles(x, backend=backend)},
        "profile": lambda x, _: kernels.angle_profile(x, backend=backend),
        "pairs": lambda x, pairs: {"pairs": kernels.pair_angles(x, _given(pairs), backend=backend)},
        "pairwise": lambda x, _: {"pairwise": kernels.pairwise_angles(x, backend=backend)},
        "histogram": lambda x, _: {"histogram": kernels.pairwise_histogram(x, bins=BINS, backend=backend)},
    }
    return forms["sequential" if entry.operation == "accuracy" else entry.operation]


def _given(pairs: Tensor | None) -> Tensor:
    assert pairs is not None
    return pairs


def measure_group(group: Group, plan: Plan) -> Iterator[Row]:
    """The rows of a group: on a GPU as they are made, on a CPU together, as its backends take turns."""
    if group.operation == "capture":
        yield from _capture_rows(group, plan)
        return
    first = group.entries[0]
    free = free_bytes(plan.device)
    try:
        if first.input_bytes + first.output_bytes > 0.85 * free:
            raise torch.cuda.OutOfMemoryError
        inputs = make_inputs(first, _sets(first, plan.device, free), plan.device)
        truth = true_values(first, inputs[0])
    except torch.cuda.OutOfMemoryError:
        for entry in group.entries:
            yield _row(entry, plan, _too_large(first.input_bytes + first.output_bytes, free))
        return
    if group.operation == "accuracy":
        for entry in group.entries:
            status, error, _ = _checked(entry, inputs, truth, plan)
            yield _row(entry, plan, status, error=error, compared=truth.compared)
        return
    yield from (_gpu_rows if plan.device == "cuda" else _cpu_rows)(group, inputs, truth, plan)


def _capture_rows(group: Group, plan: Plan) -> Iterator[Row]:
    free, needed = free_bytes(plan.device), needed_bytes(group)
    entries = {entry.backend: entry for entry in group.entries}
    if needed > 0.85 * free:
        for entry in group.entries:
            yield _row(entry, plan, _too_large(needed, free))
        return
    for backend, fields in capture_fields(group, plan.device, CAPTURE_S):
        yield _row(entries[backend], plan, fields["status"]) | fields


def _cpu_rows(group: Group, inputs: list[Inputs], truth: Truth, plan: Plan) -> Iterator[Row]:
    checked = {entry: _checked(entry, inputs, truth, plan) for entry in group.entries}
    calls = {entry.name: call for entry, (status, _, call) in checked.items() if status == OK}
    floors = _floors(group, inputs)
    if not calls:
        floors = {}
    extra = {name: peak_extra_bytes(call, plan.device) for name, call in calls.items()}
    times = cpu_times({**floors, **calls}, plan.seconds) if calls else {}
    copy = _copy_rate(group, inputs, times.get(group.floor[0].name))
    for entry in (*group.floor, *group.entries):
        if entry.name in floors:
            yield _row(entry, plan, OK, times[entry.name], copy, size=_floor_size(entry, inputs))
        elif entry in checked:
            status, error, _ = checked[entry]
            row = _row(
                entry,
                plan,
                status,
                times.get(entry.name),
                copy,
                extra.get(entry.name),
                error,
                truth.compared,
            )
            yield row | (_cached(entry, inputs[0], plan) if status == OK else {})


def _cached(entry: Entry, given: Inputs, plan: Plan) -> Row:
    """GB/s of one thread whose data lie in the cache, beside `x.sum()` of the same."""
    plain = entry.dtype == "float32" and entry.operation in ("sequential", "profile")
    if entry.backend != "cpu" or not plain:
        return {}
    shape = entry.shape
    pos = max(2, _IN_CACHE_BYTES // (4 * shape.layers * shape.d_model))
    states = given.states[:, :1, :pos].contiguous()
    form = plan.form_of(entry)
    seconds = one_thread_times({"cached": lambda _: form(states, None), "cached_sum": lambda _: states.sum()})
    return {
        f"{name}_gb_per_s": f"{states.nbytes / max(taken, 1e-9) / 1e9:.4g}" for name, taken in seconds.items()
    }


def _gpu_rows(group: Group, inputs: list[Inputs], truth: Truth, plan: Plan) -> Iterator[Row]:
    floors = _floors(group, inputs)
    floor_times = {entry: gpu_times(floors.pop(entry.name)) for entry in group.floor}
    copy = _copy_rate(group, inputs, floor_times[group.floor[0]])
    for entry, seconds in floor_times.items():
        yield _row(entry, plan, OK, seconds, copy, size=_floor_size(entry, inputs))
    for entry in group.entries:
        status, error, call = _checked(entry, inputs, truth, plan)
        taken: list[float] | None = None
        extra: int | None = None
        if status == OK:
            try:
                extra = peak_extra_bytes(call, plan.device)
                taken = gpu_times(call)
            except torch.cuda.OutOfMemoryError:
                status, extra = _too_large(None, free_bytes(plan.device)), None
        del call
        torch.cuda.empty_cache()
        yield _row(entry, plan, status, taken, copy, extra, error, truth.compared)


def _checked(
    entry: Entry, inputs: list[Inputs], truth: Truth, plan: Plan
) -> tuple[str, float, Callable[[int], Result]]:
    """Status, error in radians, and the call; only where the status is OK may it be timed."""

    def call(turn: int) -> Result:
        given = inputs[turn % len(inputs)]
        return form(given.states, given.pairs)

    def no_call(turn: int) -> Result:
        raise AssertionError(f"{entry.name} may not be timed")

    free = free_bytes(plan.device)
    needed = entry.output_bytes + (0 if entry.backend in OURS else temporary_bytes(entry))
    if needed > 0.9 * free:
        return _too_large(needed + entry.input_bytes, free), math.nan, no_call
    if entry.backend == "compile" and (reason := _no_compiler(plan)):
        return reason, math.nan, no_call
    try:
        form = plan.form_of(entry)
        if entry.backend in (*OURS, "compile"):
            call(0)  # what is compiled at the first call is compiled outside the poisoned memory
        verdict = verify(entry, lambda: call(0), truth)
    except BackendError as error:
        return f"refused: {error}", math.nan, no_call
    except torch.cuda.OutOfMemoryError:
        return _too_large(None, free), math.nan, no_call
    except Exception as error:  # one that breaks must not take the others' rows with it
        reason = (str(error).splitlines() or [""])[0]
        return f"error: {type(error).__name__}: {reason}", math.nan, no_call
    if verdict.reason:
        return f"parity failed: {verdict.reason}", verdict.max_error, no_call
    return OK, verdict.max_error, call


def _no_compiler(plan: Plan) -> str:
    if plan.device == "cpu" and not any(map(shutil.which, ("c++", "g++", "clang++"))):
        return "skipped: no C++ compiler"
    return NO_TIME if plan.left_s() < COMPILE_S[plan.device] else ""


def _sets(entry: Entry, device: str, free: int) -> int:
    """Input sets: together several caches large, and no more than half of the memory."""
    if entry.operation == "accuracy":
        return 1
    wanted = max(2, math.ceil(_CACHE_BYTES[device] / entry.input_bytes))
    return max(1, min(wanted, _MOST_SETS, free // 2 // entry.input_bytes))


def _floors(group: Group, inputs: list[Inputs]) -> dict[str, Callable[[int], object]]:
    """Copy and read of the data as float32, at most _FLOOR_BYTES of it."""
    views = [_flat(given) for given in inputs]
    target = torch.zeros_like(views[0])
    copy, read = group.floor
    return {
        copy.name: lambda turn: target.copy_(views[turn % len(views)]),
        read.name: lambda turn: views[turn % len(views)].sum(),
    }


def _flat(given: Inputs) -> Tensor:
    return given.states.flatten().view(torch.float32)[: _FLOOR_BYTES // 4]


def _floor_size(entry: Entry, inputs: list[Inputs]) -> int:
    return 4 * _flat(inputs[0]).numel() * (2 if entry.backend == "copy" else 1)


def _copy_rate(group: Group, inputs: list[Inputs], times: list[float] | None) -> float:
    """Bytes a second, read and written; NaN where nothing was timed."""
    return math.nan if times is None else _floor_size(group.floor[0], inputs) / times[1]


def _too_large(needed: int | None, free: int) -> str:
    if needed is None:
        return f"does not fit: more than {free / 1e9:.0f} GB"
    return f"does not fit: {needed / 1e9:.3g} GB, {free / 1e9:.0f} GB free"


def _row(
    entry: Entry,
    plan: Plan,
    status: str,
    times: list[float] | None = None,
    copy: float = math.nan,
    extra: int | None = None,
    error: float = math.nan,
    compared: str = "",
    size: int | None = None,
) -> Row:
    row = {
        **dict(zip(("op", "backend", "shape", "dtype"), entry.key, strict=True)),
        "seq_len": str(entry.shape.pos),
        "max_error_rad": "" if math.isnan(error) else f"{error:.2e}",
        "compared": compared,
        "status": status,
        **plan.setting.stamp(),
    }
    if times is not None:
        rate = (entry.bytes if size is None else size) / times[1]
        row |= {
            f"{name}_ms": f"{1e3 * value:.5g}"
            for name, value in zip(("p20", "p50", "p80"), times, strict=True)
        }
        row |= {"bytes": str(entry.bytes if size is None else size), "gb_per_s": f"{rate / 1e9:.5g}"}
        row["percent_of_copy"] = f"{100 * rate / copy:.4g}"
    if extra is not None:
        row["peak_extra_bytes"] = str(extra)
    return row


def entries_of(groups: list[Group]) -> list[Entry]:
    """All entries, the floors left out."""
    return list(itertools.chain.from_iterable(group.entries for group in groups))
