"""How the fused kernels are launched: sizes by d_model and dtype, the grid, and what a launch moves.

The sizes are a table and not the result of a search at run time, so that every one of them can be compiled
and checked for spills without a GPU, and the bytes that a launch moves can be counted before it runs.
"""

import math
from dataclasses import dataclass
from functools import cached_property

MOST_COLUMNS = 16_384
MOST_LAYERS_IN_GRID = 65_535
_PROGRAMS_A_PROCESSOR = 4
_LEAST_LAYERS = 4
"""A program that carries the previous layer begins by reading it: one layer more for at least so many."""


@dataclass(frozen=True)
class Sizes:
    """One program: `rows` vectors in the registers of `warps` warps, and whether it reads a layer ahead."""

    rows: int
    warps: int
    prefetch: bool


# By d_model rounded up to a power of two, then bytes a coordinate. Up to 64 coordinates a thread stay in
# registers two to three times over (this layer, the one before or a neighbour, the next); no entry spills on
# sm_80 and sm_90 (tests/unit/kernels/test_fused_compile.py).
SIZES: dict[int, dict[int, Sizes]] = {
    16384: {4: Sizes(1, 8, True), 2: Sizes(1, 8, False)},
    8192: {4: Sizes(2, 8, True), 2: Sizes(1, 4, False)},
    4096: {4: Sizes(4, 8, True), 2: Sizes(2, 4, False)},
    2048: {4: Sizes(8, 8, True), 2: Sizes(8, 8, True)},
    1024: {4: Sizes(16, 8, True), 2: Sizes(16, 8, False)},
    256: {4: Sizes(8, 4, True), 2: Sizes(16, 4, True)},
}
PAIR_SIZES: dict[int, dict[int, Sizes]] = {
    width: {size: Sizes(max(1, entry.rows // 2), entry.warps, False) for size, entry in by_size.items()}
    for width, by_size in SIZES.items()
}
"""For chosen pairs and turns: two or three rows of memory for each row of the tile."""

EXACT_COLUMNS = 32
"""Of the rare float64 loop: its four sums shall not take registers from the tiles."""

TILE = 64
TILE_COLUMNS = 16
TILE_WARPS = 8


def width_of(d_model: int) -> int:
    """Columns of a tile: `d_model` rounded up to a power of two, at least 16."""
    return max(16, 1 << (d_model - 1).bit_length())


def columns_of(d_model: int, itemsize: int) -> int:
    """Columns that one warp reads at once: 16 bytes a lane."""
    return min(width_of(d_model), 512 // itemsize)


def sizes_of(d_model: int, itemsize: int, table: dict[int, dict[int, Sizes]] = SIZES) -> Sizes:
    """The entry for this d_model: the smallest that is wide enough."""
    return next(table[width][itemsize] for width in sorted(table) if width >= d_model)


@dataclass(frozen=True)
class ProfilePlan:
    """One launch of the walk over the layers.

    Attributes:
        lag, lags: the sequential angles are at lags `lag` … `lag + lags − 1`; none if `lags` is 0.
        per_program: layers that one program walks through.
        listed: the layers lie anywhere, so a table of their addresses is sent along.
    """

    n_layer: int
    n_batch: int
    n_pos: int
    d_model: int
    itemsize: int
    lag: int
    lags: int
    norm: bool
    rotation: bool
    step: bool
    listed: bool
    processors: int

    @cached_property
    def sizes(self) -> Sizes:
        """Of one program."""
        return sizes_of(self.d_model, self.itemsize)

    @cached_property
    def blocks(self) -> int:
        """Programs along the positions of one text."""
        return -(-self.n_pos // self.sizes.rows)

    @cached_property
    def per_program(self) -> int:
        """All the layers where positions alone keep the device busy, else as few as that needs."""
        places = max(1, self.n_batch * self.blocks)
        wanted = max(1, -(-self.processors * _PROGRAMS_A_PROCESSOR // places))
        least = _LEAST_LAYERS if self.rotation or self.step else 1
        least = max(least, -(-self.n_layer // MOST_LAYERS_IN_GRID))
        return min(self.n_layer, max(least, -(-self.n_layer // wanted)))

    @property
    def grid(self) -> tuple[int, int]:
        """Blocks of positions, and runs of layers."""
        return self.n_batch * self.blocks, -(-self.n_layer // self.per_program)

    @property
    def launches(self) -> int:
        """One for all measures of all layers."""
        return 1

    @property
    def outputs(self) -> tuple[int, int, int, int]:
        """Elements of norm, of the sequential angles of all lags, of rotation and of step."""
        places = self.n_batch * self.n_pos
        found = sum(
            self.n_layer * self.n_batch * (self.n_pos - lag) for lag in range(self.lag, self.lag + self.lags)
        )
        between = (self.n_layer - 1) * places
        return self.norm * self.n_layer * places, found, self.rotation * between, self.step * between

    @property
    def bytes_written(self) -> int:
        """The outputs in float32."""
        return 4 * sum(self.outputs)

    @property
    def rows_read(self) -> int:
        """Vectors that the programs read from device memory, each of them once a program."""
        rows, own = self.sizes.rows, 0
        for start in range(0, self.n_pos, rows):
            mine = min(rows, self.n_pos - start)
            beyond: set[int] = set()
            for lag in range(self.lag, self.lag + self.lags):
                beyond |= set(range(max(start + lag, start + mine), min(start + mine + lag, self.n_pos)))
            own += mine + len(beyond)
        again = (self.grid[1] - 1) * self.n_pos if self.rotation or self.step else 0
        return self.n_batch * (self.n_layer * own + again)

    @property
    def bytes_read(self) -> int:
        """From device memory, if the blocks' own neighbours come from the caches."""
        return self.rows_read * self.d_model * self.itemsize + self.temporary_bytes

    @property
    def temporary_bytes(self) -> int:
        """The table of addresses and strides; there is nothing else."""
        return 24 * self.n_layer if self.listed else 0


def pairwise_grid(n_batch: int, n_pos: int) -> tuple[int, int]:
    """A program a tile of the matrix; those below the diagonal return at once."""
    return math.ceil(n_pos / TILE) ** 2, n_batch
