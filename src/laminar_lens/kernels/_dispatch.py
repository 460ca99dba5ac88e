"""Which backend computes: the protocol they share, and the choice.

`cpu` needs numba and `fused` Triton: they are imported when they are first asked for.
"""

import os
from importlib import import_module
from importlib.util import find_spec
from typing import Protocol, cast, runtime_checkable

import torch
from torch import Tensor

from laminar_lens.arguments import shown
from laminar_lens.errors import BackendError
from laminar_lens.kernels._checks import is_watched
from laminar_lens.kernels._tensors import unreadable

BACKENDS = ("reference", "eager", "cpu", "fused")
_NEEDS = {"cpu": "numba", "fused": "triton"}
_LARGE_BYTES = 2**20
"""From here on one pass over the data on all cores is worth the import of numba."""


@runtime_checkable
class Backend(Protocol):
    """What a kernel module offers. Arguments have passed the checks; pairs are int64 [batch pair 2].

    A module that cannot run everywhere also has `refuses(*tensors) -> str`: why not on these, or "".
    """

    def angle(self, u: Tensor, v: Tensor) -> Tensor: ...
    def sequential_angles(self, resid: Tensor, lag: int) -> Tensor: ...
    def pair_angles(self, resid: Tensor, pairs: Tensor) -> Tensor: ...
    def rotation_angles(self, resid: Tensor) -> Tensor: ...
    def pairwise_angles(self, resid: Tensor) -> Tensor: ...
    def pairwise_histogram(self, resid: Tensor, bins: int) -> Tensor: ...
    def turning_angles(self, resid: Tensor) -> Tensor: ...
    def step_lengths(self, resid: Tensor) -> Tensor: ...
    def profile(
        self, layers: list[Tensor], measures: tuple[str, ...], lags: int, mask: Tensor | None
    ) -> dict[str, Tensor]: ...


def resolve_backend(name: str, *tensors: Tensor) -> str:
    """Name of the backend that computes on `tensors` when a user asks for `name`.

    "auto" is `fused` on CUDA where Triton is installed, `cpu` on CPU tensors of 1 MiB or more, and `eager`
    otherwise, and wherever a gradient is wanted that the faster form lacks.

    >>> resolve_backend("auto", torch.zeros(1))
    'eager'

    Raises:
        BackendError: unknown name, or a backend that cannot run on `tensors` here; another never takes its
            place.
    """
    if check_backend(name) == "auto":
        return _fastest(tensors)
    reason = _refusal(name, tensors)
    if reason:
        raise BackendError(f"backend {name!r} cannot run here: {reason}")
    return name


def check_backend(name: str) -> str:
    """A name that is known, whether or not it can run here."""
    if not isinstance(name, str) or name not in ("auto", *BACKENDS):
        known = ", ".join(["auto", *BACKENDS])
        raise BackendError(f"backend {shown(name)} is unknown; choose one of {known}")
    return name


def load_backend(name: str, *tensors: Tensor) -> Backend:
    """The module that computes on `tensors`; as `resolve_backend`."""
    return cast(Backend, import_module(f"laminar_lens.kernels.{resolve_backend(name, *tensors)}"))


def _fastest(tensors: tuple[Tensor, ...]) -> str:
    devices = {x.device.type for x in tensors}
    large = sum(x.numel() * x.element_size() for x in tensors) >= _LARGE_BYTES
    if devices == {"cuda"} and not _refusal("fused", tensors):
        return "fused"
    if devices == {"cpu"} and large and not _refusal("cpu", tensors):
        return "cpu"
    return "eager"


def _refusal(name: str, tensors: tuple[Tensor, ...]) -> str:
    """Why this backend cannot compute on these tensors; "" if it can."""
    if name not in _NEEDS:
        return ""
    needed = _NEEDS[name]
    if find_spec(needed) is None:
        return f"{needed} is not installed (pip install {needed})"
    devices = sorted({x.device.type for x in tensors})
    if name == "cpu" and devices != ["cpu"]:
        return f"it computes on CPU tensors, these are on {' and '.join(devices)}; use backend='auto'"
    if name == "cpu" and (torch.compiler.is_compiling() or any(map(is_watched, tensors))):
        return "it has no gradient and no torch.func or torch.compile form; backend='eager' has them all"
    if name == "cpu" and (reason := unreadable(*tensors)):
        return f"{reason}; use backend='auto' or 'eager'"
    interpreted = os.environ.get("TRITON_INTERPRET") == "1"
    if name == "fused" and devices != ["cuda"] and not interpreted:
        return f"it computes on CUDA tensors, these are on {' and '.join(devices)}; use backend='auto'"
    try:
        module = import_module(f"laminar_lens.kernels.{name}")
    except ImportError as error:
        return f"{needed} is installed, but does not work: {error}"
    return str(module.refuses(*tensors)) if hasattr(module, "refuses") else ""
