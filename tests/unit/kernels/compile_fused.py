"""Compiles the fused kernels for one architecture without a GPU; prints a JSON row for each size.

Usage: python tests/unit/kernels/compile_fused.py ARCH ITEMSIZE [WIDTH …]
"""

import json
import re
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource

from laminar_lens.kernels import fused_kernels, fused_plan, fused_tiles

CUOBJDUMP = Path(triton.__file__).parent / "backends" / "nvidia" / "bin" / "cuobjdump"
POINTERS = {"table": "*i64", "mask": "*u8", "pairs": "*i64", "counts": "*i64"}
POINTERS |= dict.fromkeys(("norm", "sequential", "rotation", "step", "angles"), "*fp32")
ALL = {"LAGS": 1, "LISTED": True, "MASKED": True, "NORM": True, "ROTATION": True, "STEP": True}
FOUR_LAGS_AT = 4096


def compiled(kernel: Any, itemsize: int, constants: dict[str, Any], warps: int, arch: int) -> dict[str, Any]:
    """Registers, bytes of stack, spills and instructions of a launch as fused_launch makes it."""
    constants = constants | {"stride_d": 1, "ALIGN": 16}
    types = POINTERS | {"base": {4: "*fp32", 2: "*bf16"}[itemsize]}
    names = kernel.arg_names
    signature = {name: "constexpr" if name in constants else types.get(name, "i32") for name in names}
    wide = {(names.index(name),): [["tt.divisibility", 16]] for name in types if name in names}
    source = ASTSource(fn=kernel, signature=signature, constexprs=constants, attrs=wide)
    options = {"num_warps": warps, "num_stages": 1, "enable_fp_fusion": True}
    built = triton.compile(source, target=GPUTarget("cuda", arch, 32), options=options)
    with tempfile.NamedTemporaryFile(suffix=".cubin") as file:
        file.write(built.asm["cubin"])
        file.flush()
        run = {"capture_output": True, "text": True, "check": True}
        usage = subprocess.run([CUOBJDUMP, "-res-usage", file.name], **run).stdout
        code = subprocess.run([CUOBJDUMP, "-sass", file.name], **run).stdout
    registers, stack = map(int, re.findall(r"REG:(\d+) STACK:(\d+)", usage)[-1])
    return {
        "registers": registers,
        "stack": stack,
        "spills": len(re.findall(r"\b(?:LDL|STL)\b", code)),
        "wide_loads": len(re.findall(r"LDG\.E\.128", code)),
        "double_products": code.count("DMMA"),
        "shared": built.metadata.shared,
    }


def rows(width: int, itemsize: int, sizes: fused_plan.Sizes) -> dict[str, Any]:
    columns = fused_plan.columns_of(width, itemsize)
    shape = {"D": width, "NC": width // columns, "C": columns, "R": sizes.rows}
    return shape | {"EXACT": fused_plan.EXACT_COLUMNS}


def main(arch: int, itemsize: int, widths: list[int]) -> None:
    for width in widths:
        sizes = fused_plan.SIZES[width][itemsize]
        constants = rows(width, itemsize, sizes) | ALL | {"PREFETCH": sizes.prefetch}
        found = {"profile": (fused_kernels.profile_kernel, constants, sizes)}
        if width == FOUR_LAGS_AT:
            found["profile of 4 lags"] = (fused_kernels.profile_kernel, constants | {"LAGS": 4}, sizes)
        few = fused_plan.PAIR_SIZES[width][itemsize]
        for name in ("pair", "turning"):
            found[name] = (getattr(fused_kernels, f"{name}_kernel"), rows(width, itemsize, few), few)
        for name, (kernel, how, entry) in found.items():
            result = compiled(kernel, itemsize, how, entry.warps, arch)
            tiles = {"profile": 4, "profile of 4 lags": 7, "pair": 2, "turning": 3}[name]
            result["tile_loads"] = tiles * entry.rows * width * itemsize // (16 * 32 * entry.warps)
            row = {"kernel": name, "width": width, "rows": entry.rows, "warps": entry.warps}
            print(json.dumps(row | {"prefetch": entry.prefetch} | result), flush=True)
    for histogram in (False, True):
        tile = {"D": 4096, "TILE": fused_plan.TILE, "C": fused_plan.TILE_COLUMNS, "BINS": 128}
        how = tile | {"HISTOGRAM": histogram}
        result = compiled(fused_tiles.pairwise_kernel, itemsize, how, fused_plan.TILE_WARPS, arch)
        print(json.dumps({"kernel": "pairwise", "histogram": histogram} | result), flush=True)


if __name__ == "__main__":
    arch, itemsize, *widths = map(int, sys.argv[1:])
    main(arch, itemsize, widths or sorted(fused_plan.SIZES))
