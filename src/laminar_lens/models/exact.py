"""A forward pass in float64 throughout, so that a right model and a wrong one cannot be mistaken."""

from collections.abc import Callable, Sequence
from types import TracebackType
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode

_NARROW, _WIDE = torch.float32, torch.float64


class AllFloat64(TorchDispatchMode):
    """While it is active, what asks for float32 gets float64.

    Hugging Face computes norms, rotary angles and softmax in float32 whatever a model's dtype: in float64 two
    right implementations would still differ by rounding to float32, more the longer the text. In this mode
    they agree to 10⁻¹⁵ to 10⁻⁹ rad, and what differs by more is another computation.
    """

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._default = torch.get_default_dtype()

    def __enter__(self) -> "AllFloat64":
        self._default = torch.get_default_dtype()
        torch.set_default_dtype(_WIDE)
        super().__enter__()  # type: ignore[no-untyped-call]
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        super().__exit__(kind, error, trace)  # type: ignore[no-untyped-call]
        torch.set_default_dtype(self._default)

    def __torch_dispatch__(
        self,
        func: Callable[..., Any],
        types: Sequence[type],
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        """The operation, with float64 for float32 among its arguments."""
        wide = {key: _WIDE if value is _NARROW else value for key, value in (kwargs or {}).items()}
        return func(*(_WIDE if value is _NARROW else value for value in args), **wide)
