"""How far loading a model is."""

from collections.abc import Callable

from laminar_lens.axes import Progress

STEPS = 4


def loading_steps(label: str, progress: Progress | None) -> Callable[..., None]:
    """Tells that one more of `STEPS` is done, or so many of them: libraries, weights, the model."""
    done = 0

    def step(n: int | None = None) -> None:
        nonlocal done
        done = min(done + 1, STEPS - 1) if n is None else n
        if progress is not None:
            progress(label, done, STEPS)

    step(0)
    return step
