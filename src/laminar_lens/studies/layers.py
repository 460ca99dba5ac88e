"""How layers are said."""

from collections.abc import Iterable


def named_layers(layers: Iterable[int]) -> str:
    """`layers 2–4 and 7`; every layer that is meant is named.

    >>> named_layers([2, 3, 4, 7]), named_layers([5])
    ('layers 2–4 and 7', 'layer 5')
    """
    rows = sorted(layers)
    runs: list[list[int]] = []
    for layer in rows:
        if runs and layer == runs[-1][-1] + 1:
            runs[-1].append(layer)
        else:
            runs.append([layer])
    parts = [f"{run[0]}–{run[-1]}" if len(run) > 1 else str(run[0]) for run in runs]
    listed = " and ".join(filter(None, [", ".join(parts[:-1]), parts[-1] if parts else ""]))
    return f"layer{'s' if len(rows) > 1 else ''} {listed}" if rows else "no layer"
