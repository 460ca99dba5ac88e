"""Which device a caller asks for."""

from typing import Any

import torch

from laminar_lens.arguments import shown
from laminar_lens.errors import InputError


def device_name(device: Any) -> str:
    """A device by its name, if torch can use it here.

    Raises:
        InputError: no such device, or none of that kind here.
    """
    try:
        target = torch.device(device)
    except (RuntimeError, TypeError, ValueError):
        raise InputError(
            f"device {shown(device)} is unknown; expected 'cpu', 'cuda' or 'cuda:<number>'"
        ) from None
    if target.type == "cuda":
        count = torch.cuda.device_count() if torch.cuda.is_available() else 0
        if count == 0:
            raise InputError(
                f"device {str(device)!r} was asked for, but torch finds no CUDA device; use 'cpu'"
            )
        if (target.index or 0) >= count:
            raise InputError(f"device {str(device)!r} was asked for, but there are only {count} CUDA devices")
    elif target.type == "mps" and not torch.backends.mps.is_available():
        raise InputError(f"device {str(device)!r} was asked for, but torch finds no MPS device; use 'cpu'")
    return str(target)
