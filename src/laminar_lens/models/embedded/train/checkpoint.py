"""Checkpoints: sealed with a hash, and refused where they were altered."""

import hashlib
from pathlib import Path
from typing import Any

from .config import TrainError
from .files import write_whole

SEAL = b"\ntrain.py checkpoint sha256 "


def save_checkpoint(file: Path, state: dict[str, Any]) -> None:
    """Writes a checkpoint whole; a last line after what torch reads seals it."""
    import io

    import torch

    buffer = io.BytesIO()
    torch.save(state, buffer)
    content = buffer.getvalue()
    write_whole(file, content + SEAL + hashlib.sha256(content).hexdigest().encode())


def load_checkpoint(file: Path) -> dict[str, Any]:
    """Reads a checkpoint: tensors and plain values only, nothing is executed, nothing that was altered."""
    import io

    import torch

    try:
        content, seal, digest = file.read_bytes().rpartition(SEAL)
    except FileNotFoundError as reason:
        raise TrainError(f"{file}: no checkpoint there") from reason
    if not seal or hashlib.sha256(content).hexdigest().encode() != digest:
        raise TrainError(
            f"{file}: not a checkpoint of this program, or altered, or half of one (its hash does not "
            "match): take a copy of it, or begin again in another --out"
        )
    try:
        state = torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
    except Exception as reason:  # torch names no set of errors for what it cannot read
        raise TrainError(
            f"{file}: not a checkpoint that this torch reads ({type(reason).__name__})"
        ) from reason
    if not isinstance(state, dict) or not {"config", "params", "meta", "step"} <= state.keys():
        raise TrainError(f"{file}: not a checkpoint of this program")
    return state


def diverged(what: str, step: int) -> TrainError:
    """Numbers that are not worth keeping."""
    advice = "take a smaller --lr (--resume goes on from the last good checkpoint, if there is one)"
    return TrainError(f"{what} not finite at step {step}, nothing was saved: {advice}")


def check_finite(state: dict[str, Any]) -> None:
    """Raises unless every weight is finite in float16, as it is exported; a loss of nan makes weights nan."""
    for p in state["params"].values():
        if not p.half().isfinite().all():
            raise diverged("weights are", state["step"])
