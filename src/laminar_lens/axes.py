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
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import os
    from collections.abc import Iterable, Mapping, Sequence

    from numpy.typing import ArrayLike, NDArray
    from torch import Tensor

    Wholes = int | Iterable[int] | NDArray[Any] | Tensor | None
    """One whole number or several; None is all, where all can be meant."""
    Files = os.PathLike[str] | Sequence[os.PathLike[str]]
    Prompts = str | Sequence[str] | Mapping[str, Sequence[str]] | Files | NDArray[Any] | Tensor | None
    """Texts, prompts by the word of their group, a file or several, or token ids; None is the usual ones."""
    Labels = ArrayLike | None
    """One label a text; None: each is by itself."""
    Starts = int | Sequence[Sequence[bool]] | NDArray[Any] | Tensor | None
    """Where documents start in packed rows: a token id, or bool [text pos]."""
    Names = bool | str | Sequence[str] | None
    """Some by name; True for all."""
    Window = str | slice | tuple[int, int] | None
    """Pairs that others are compared with: by a name, or from the first to the one behind the last."""
    Mask = Sequence[Sequence[bool]] | NDArray[Any] | Tensor | None
    """bool [text pos]."""
    Results = Mapping[str, Any]
    """Results of studies, or their files, by the name of their model."""
else:  # what a user gives is refused in words of ours, by `arguments` and where it is read
    Wholes = Prompts = Labels = Starts = Names = Window = Mask = Results = Any

PLAIN = "plain"
"""The condition without interventions, which every study has."""

AXES: tuple[str, ...] = ("layer", "batch", "pos", "pair", "d_model")

Progress = Callable[[str, int, int], None]
"""Called as `progress(label, done, total)` by long functions; they never print."""
