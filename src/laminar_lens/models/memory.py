"""How much memory there is, so that a measurement which would not fit is refused before it starts."""

import dataclasses
from pathlib import Path

import torch

from laminar_lens.errors import InputError
from laminar_lens.models.hooked import HookedModel

PATTERNS = 4
"""Attention patterns that are alive in one block of a HookedTransformer: scores, masked, softmax, hook."""
_CGROUP = Path("/sys/fs/cgroup")


@dataclasses.dataclass(frozen=True)
class Need:
    """What a measurement keeps.

    Attributes:
        what: its name, for messages.
        size: how it is counted, for messages.
        kept_bytes: kept until the end on `device`.
        states: hidden states of a batch that are alive at once.
        advice: arguments that make it smaller.
    """

    what: str
    size: str
    kept_bytes: int
    states: int
    device: str = "cpu"
    advice: str = "layers="


def check_fits(model: HookedModel, need: Need, *, batch: int, length: int) -> None:
    """Refuses, before a run, what would not fit.

    Args:
        model: runs at most `batch` prompts of `length` tokens at once.
        need: what is kept.
        batch: prompts in the largest batch.
        length: their tokens.

    Raises:
        InputError: how many bytes are needed, how many are free, and what to choose.
    """
    cfg = model.cfg
    item = next(model.parameters()).element_size()
    # The run itself: hidden states, MLP activations, attention patterns; a bridge keeps those of every block.
    blocks = int(cfg.n_layers) if hasattr(model, "original_model") else min(int(cfg.n_layers), PATTERNS)
    patterns = blocks * int(getattr(cfg, "n_heads", 0) or 0) * length
    run = batch * length * item * (int(cfg.d_model) * (need.states + 12) + patterns)
    same = torch.device(need.device).type == torch.device(cfg.device).type
    for place, total in ((need.device, need.kept_bytes + (run if same else 0)), (str(cfg.device), run)):
        free = available_bytes(place)
        if free is not None and total > free:
            raise InputError(
                f"the {need.what} need about {total:,} bytes on {place} ({need.size}, and the run itself), "
                f"but {free:,} are free; choose {need.advice} or fewer prompts at a time"
            )


def available_bytes(device: str) -> int | None:
    """Memory that a new allocation on `device` may take; None where it cannot be known."""
    if torch.device(device).type == "cuda":
        return int(torch.cuda.mem_get_info(torch.device(device))[0])
    limits = [limit for limit in (_meminfo(), _cgroup()) if limit is not None]
    return min(limits, default=None)


def _meminfo() -> int | None:
    try:
        lines = Path("/proc/meminfo").read_text(encoding="ascii").splitlines()
    except OSError:
        return None
    fields = dict(line.split(":", 1) for line in lines if ":" in line)
    return int(fields["MemAvailable"].split()[0]) * 1024 if "MemAvailable" in fields else None


def _cgroup() -> int | None:
    """What the container's own limit leaves, page cache not counted as used."""
    try:
        limit = (_CGROUP / "memory.max").read_text(encoding="ascii").strip()
        used = int((_CGROUP / "memory.current").read_text(encoding="ascii"))
        stat = dict(
            line.split() for line in (_CGROUP / "memory.stat").read_text(encoding="ascii").splitlines()
        )
    except (OSError, ValueError):
        return None
    return None if limit == "max" else max(0, int(limit) - used + int(stat.get("inactive_file", 0)))
