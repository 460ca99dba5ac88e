"""Matrix products that give the same bits whatever number of threads the process has.

BLAS cuts a product into blocks by the number of its threads, and the kernel of a block's edge adds in another
order: the same product differs in its last bit between one thread and two. Two runs with one seed have one
hash of their numbers, so the statistics multiply on one thread; their products are small.

The model's own float32 products are MKL's and not reached from here: a state may differ in its last bit
between numbers of threads (up to 1.2·10⁻⁷ rad at one token of the embedded model). `MKL_CBWR=COMPATIBLE` in
the environment makes them equal too.
"""

import functools
from collections.abc import Callable
from typing import Any, ParamSpec, TypeVar

P = ParamSpec("P")
R = TypeVar("R")


def one_thread(function: Callable[P, R]) -> Callable[P, R]:
    """The function with BLAS on one thread while it runs (for the whole process, and then as it was)."""

    @functools.wraps(function)
    def limited(*args: P.args, **kwargs: P.kwargs) -> R:
        with _libraries().limit(limits=1, user_api="blas"):
            return function(*args, **kwargs)

    return limited


@functools.cache
def _libraries() -> Any:
    """The BLAS that numpy has loaded."""
    from threadpoolctl import ThreadpoolController

    return ThreadpoolController()
