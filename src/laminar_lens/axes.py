"""The glossary of axes, and the types that every module shares.

| axis | meaning |
|---|---|
| `layer` | hidden state: 0 is the embedding, l the output of block l − 1 |
| `block` | b writes between hidden states b and b + 1; where `layers` are meant, they are hidden states |
| `batch` | one prompt (a text) |
| `pos` | token position inside the prompt, 0 is its first token |
| `pair` | a pair of positions; for adjacent pairs, the index of the first of the two |
| `d_model` | the coordinates of the residual stream |

Angles are radians in [0, π] everywhere.
"""

from collections.abc import Callable

PLAIN = "plain"
"""The condition without interventions, which every study has."""

AXES: tuple[str, ...] = ("layer", "batch", "pos", "pair", "d_model")

Progress = Callable[[str, int, int], None]
"""Called as `progress(label, done, total)` by long functions; they never print."""
