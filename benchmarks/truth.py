"""float64 values that results are compared with: kernels/reference.py on the same input.

Where the whole input would take too long or too much memory in float64, they are computed on windows: the
first and the last layers, prompts and positions, and some drawn at random.
"""

import itertools
import math
from collections.abc import Iterator
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from benchmarks.inputs import Inputs
from benchmarks.registry import BINS, Entry
from benchmarks.tolerance import angle_tolerance
from laminar_lens.kernels import reference

LIMIT_BYTES = {"cpu": 2**23, "cuda": 2**31}
"""Of input that is compared in float64."""
_CHUNK_BYTES = {"cpu": 2**23, "cuda": 2**28}
_COUNT_FLOPS = {"cpu": 2e10, "cuda": 6e13}
_RANDOM_WINDOWS = 4
_TILE = 32
_ROWS = 2048

Box = tuple[slice, slice, slice]
"""Layers, prompts, positions."""


@dataclass(frozen=True)
class Window:
    """A part of a result and what it must be."""

    key: str
    index: tuple[slice, ...]
    expected: Tensor


@dataclass(frozen=True)
class Truth:
    """The float64 values of one input.

    Attributes:
        windows: parts of the results, angles and lengths.
        compared: what the windows cover, in words.
        shapes: of every result.
        counts: for a histogram, the least and the most that may lie below each inner edge, for this
            package's backends ("eager") and for the others ("naive").
    """

    windows: tuple[Window, ...]
    compared: str
    shapes: dict[str, tuple[int, ...]]
    counts: dict[str, tuple[Tensor, Tensor]] = field(default_factory=dict)


def true_values(entry: Entry, inputs: Inputs, limit_bytes: int | None = None) -> Truth:
    """float64 values of an entry's results, whole or in windows of about `limit_bytes` of the input.

    Args:
        entry: any backend: they all have the same truth.
        inputs: what the backend will get.
        limit_bytes: LIMIT_BYTES of the device by default.
    """
    device = inputs.states.device.type
    limit = LIMIT_BYTES[device] if limit_bytes is None else limit_bytes
    if entry.operation == "histogram":
        return _true_counts(entry, inputs.states)
    if entry.operation == "pairwise":
        return _true_tiles(entry, inputs.states)
    if entry.input_bytes <= limit:
        boxes, compared = list(_all_boxes(entry, _CHUNK_BYTES[device])), "whole"
    else:
        boxes, compared = _some_boxes(entry, limit)
    windows = [window for box in boxes for window in _box_windows(entry.operation, inputs, box)]
    return Truth(tuple(windows), compared, result_shapes(entry))


def result_shapes(entry: Entry) -> dict[str, tuple[int, ...]]:
    """What each result of an operation must look like."""
    shape = entry.shape
    layers, batch, pos = shape.layers, shape.batch, shape.pos
    profile: dict[str, tuple[int, ...]] = {
        "sequential": (layers, batch, pos - 1),
        "rotation": (layers - 1, batch, pos),
        "norm": (layers, batch, pos),
        "step": (layers - 1, batch, pos),
    }
    shapes: dict[str, dict[str, tuple[int, ...]]] = {
        "profile": profile,
        "sequential": {"sequential": profile["sequential"]},
        "accuracy": {"sequential": profile["sequential"]},
        "rotation": {"rotation": profile["rotation"]},
        "pairs": {"pairs": (layers, batch, pos // 2)},
        "pairwise": {"pairwise": (layers, batch, pos, pos)},
        "histogram": {"histogram": (layers, batch, BINS)},
    }
    return shapes[entry.operation]


def _all_boxes(entry: Entry, chunk_bytes: int) -> Iterator[Box]:
    """Two layers (one, if there is one) and some prompts at a time; together they are the whole input."""
    shape = entry.shape
    prompt = 2 * shape.pos * shape.d_model * 8
    step = max(1, chunk_bytes // prompt)
    for layer in range(max(1, shape.layers - 1)):
        for start in range(0, shape.batch, step):
            yield slice(layer, layer + 2), slice(start, start + step), slice(0, shape.pos)


def _some_boxes(entry: Entry, limit: int) -> tuple[list[Box], str]:
    """The corners of the input and some boxes between them, and that in words."""
    shape = entry.shape
    count = 8 + _RANDOM_WINDOWS
    width = limit // (count * 2 * shape.d_model * (entry.input_bytes // shape.elements))
    width = min(shape.pos, max(4, width))
    generator = torch.Generator().manual_seed(shape.elements % 2**31)
    layers = _ends(shape.layers, 2)
    prompts, positions = _ends(shape.batch, 1), _ends(shape.pos, width)
    boxes = list(itertools.product(layers, prompts, positions))
    for _ in range(_RANDOM_WINDOWS):
        boxes.append(
            (
                _draw(shape.layers, 2, generator),
                _draw(shape.batch, 1, generator),
                _draw(shape.pos, width, generator),
            )
        )
    return boxes, f"{len(boxes)} windows of 2 layers x 1 prompt x {width} positions"


def _ends(length: int, width: int) -> list[slice]:
    first, last = slice(0, min(width, length)), slice(max(0, length - width), length)
    return [first] if first == last else [first, last]


def _draw(length: int, width: int, generator: torch.Generator) -> slice:
    start = int(torch.randint(max(1, length - width + 1), (), generator=generator))
    return slice(start, min(length, start + width))


def _box_windows(operation: str, inputs: Inputs, box: Box) -> Iterator[Window]:
    layers, prompts, positions = box
    if operation == "pairs":
        yield _pair_window(inputs, box)
        return
    states = inputs.states[box].double()
    shorter = slice(positions.start, positions.stop - 1)
    earlier = slice(layers.start, min(layers.stop, inputs.states.shape[0]) - 1)
    if operation in ("sequential", "profile", "accuracy"):
        angles = reference.sequential_angles(states, 1)
        yield Window("sequential", (layers, prompts, shorter), angles)
    if operation in ("rotation", "profile") and len(states) > 1:
        yield Window("rotation", (earlier, prompts, positions), reference.rotation_angles(states))
    if operation == "profile":
        yield Window("norm", box, torch.linalg.vector_norm(states, dim=-1))
        if len(states) > 1:
            yield Window("step", (earlier, prompts, positions), reference.step_lengths(states))


def _pair_window(inputs: Inputs, box: Box) -> Window:
    """The pairs whose places in the list are half the box's positions."""
    layers, prompts, positions = box
    assert inputs.pairs is not None
    chosen = slice(positions.start // 2, positions.stop // 2)
    ends = inputs.pairs[prompts, chosen]
    states = inputs.states[layers, prompts]
    prompt = torch.arange(len(ends), device=ends.device)[:, None]
    first, second = states[:, prompt, ends[..., 0]].double(), states[:, prompt, ends[..., 1]].double()
    return Window("pairs", (layers, prompts, chosen), reference.angle(first, second))


def _true_tiles(entry: Entry, states: Tensor) -> Truth:
    """Tiles at the corners of the matrix and around its middle, for the first and the last prompt."""
    pos = entry.shape.pos
    bands = [*_ends(pos, _TILE), *([slice(pos // 2, pos // 2 + _TILE)] if pos > 4 * _TILE else [])]
    windows = []
    for prompt, rows, columns in itertools.product(_ends(entry.shape.batch, 1), bands, bands):
        u, v = states[:, prompt, rows].double(), states[:, prompt, columns].double()
        size = (*u.shape[:-1], v.shape[-2], u.shape[-1])
        angles = reference.angle(u[..., :, None, :].expand(size), v[..., None, :, :].expand(size))
        windows.append(Window("pairwise", (slice(None), prompt, rows, columns), angles))
    compared = f"{len(bands) ** 2} tiles of {_TILE} x {_TILE} in the first and last prompt"
    return Truth(tuple(windows), compared, result_shapes(entry))


def _true_counts(entry: Entry, states: Tensor) -> Truth:
    """Bounds for the cumulated counts of the first prompt: a pair may be in the next bin where its angle is
    within the tolerance of an edge. Away from 0 and π arccos in float64 is as good as the definition."""
    shape, shapes = entry.shape, result_shapes(entry)
    if 2.0 * shape.pos**2 * shape.d_model > _COUNT_FLOPS[states.device.type]:
        return Truth((), "the number of pairs", shapes)
    unit = torch.nn.functional.normalize(states[0, 0].double(), dim=-1)
    edges = torch.arange(1, BINS, device=unit.device, dtype=torch.float64) * (math.pi / BINS)
    bounds = {}
    for backend in ("eager", "naive"):
        slack = angle_tolerance(replace(entry, backend=backend), edges)
        bounds[backend] = (edges - slack, edges + slack)
    found = {
        name: [torch.zeros(BINS, dtype=torch.int64, device=unit.device) for _ in "lh"] for name in bounds
    }
    for start in range(0, shape.pos, _ROWS):
        cosine = unit[start : start + _ROWS] @ unit.T
        above = torch.ones_like(cosine, dtype=torch.bool).triu(start + 1)
        angles = cosine[above].clamp(-1, 1).arccos()
        for name, (low, high) in bounds.items():
            found[name][0] += torch.searchsorted(low, angles, right=True).bincount(minlength=BINS)
            found[name][1] += torch.searchsorted(high, angles).bincount(minlength=BINS)
    limits = {name: (low.cumsum(0)[:-1], high.cumsum(0)[:-1]) for name, (low, high) in found.items()}
    return Truth((), "the counts of the first prompt", shapes, limits)
