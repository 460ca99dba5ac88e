"""The published form: the path of a class's mean state in the plane of two principal components."""

import numpy as np


def in_plane(states: np.ndarray) -> np.ndarray:
    """Mean states [class state coordinate] in the plane in which they vary most: [class state 2].

    One plane for all classes, of all their mean states together; NaN for a class without words.
    """
    from sklearn.decomposition import PCA

    known = np.isfinite(states).all(axis=(1, 2))
    found = np.full((*states.shape[:2], 2), np.nan)
    points = states[known]
    flat = points.reshape(-1, states.shape[2])
    if len(flat) and min(flat.shape) >= 2:
        fitted = PCA(n_components=2, svd_solver="full").fit(flat)
        found[known] = fitted.transform(flat).reshape(*points.shape[:2], 2)
    return found


def length(states: np.ndarray) -> np.ndarray:
    """Length [class] of each class's path through its states [class state coordinate]."""
    return np.asarray(np.linalg.norm(np.diff(states, axis=1), axis=2).sum(axis=1))
