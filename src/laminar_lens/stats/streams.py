"""Random streams, each named by its purpose: no two purposes share their draws, whatever the seed."""

from zlib import crc32

import numpy as np


def stream(seed: int, purpose: str, *which: int) -> np.random.Generator:
    """The generator of one purpose.

    Args:
        seed: of the study, not below 0.
        purpose: in words, such as "bootstrap over texts"; a stream for each.
        which: of several streams of one purpose, such as a prompt's index.

    >>> bool(stream(0, "bootstrap").integers(1000) == stream(0, "permutation").integers(1000))
    False
    """
    return np.random.default_rng([seed, crc32(purpose.encode()), *which])
