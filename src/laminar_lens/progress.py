"""Progress in words: which phase runs, how much of it is done, and how long the rest of it takes."""

import sys
import time

from laminar_lens.escapes import printable

EVERY_S, FIRST_S = 10.0, 2.0
"""Between two lines of one phase, and after a line before the first of another."""


class ProgressLines:
    """Lines on standard error for a file or a notebook: `warmup_study(model, progress=ProgressLines())`.

    A phase has a line when it has begun, unless it is soon over, and then one every ten seconds.
    """

    def __init__(self, before: str = "") -> None:
        self._before, self._last = before, time.monotonic()
        self._phases: dict[str, tuple[float, int]] = {}
        self._shown = ""

    def __call__(self, label: str, done: int, total: int) -> None:
        """As long functions call it."""
        now = time.monotonic()
        start, first = self._phases.setdefault(label, (now, done))
        if now - self._last < (EVERY_S if label == self._shown else FIRST_S):
            return
        self._last, self._shown = now, label
        left = f", {clock((now - start) * (total - done) / (done - first))} left" if done > first else ""
        share = f": {done / total:.0%}" if total else ""
        print(f"{self._before}{printable(label)}{share}{left}", file=sys.stderr, flush=True)


def clock(seconds: float) -> str:
    """Minutes and seconds, or hours before them: "1:05", "2:00:09"."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
