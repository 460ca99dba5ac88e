"""The validation of related writes at reduced size; `make validate` runs all of it."""

import numpy as np
import pytest

from tests.validate import decomposition as validation

DATA_SETS = 20


def test_its_rows_hold_with_few_data_sets(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(validation, "SIZES", (20, 54))
    rows = validation.run(DATA_SETS)
    assert [row for row in rows if not row.ok] == []
    assert {row.n_seeds for row in rows} == {DATA_SETS}
    assert len(rows) == 3 * (5 + 6) + 2


def test_a_test_that_ignores_the_null_does_not_pass(monkeypatch: pytest.MonkeyPatch) -> None:
    """The control: differences of 0.02 are seen."""
    right = validation.differences

    def shifted(seed: int, kind: str, n: int, related: np.ndarray | None = None) -> np.ndarray:
        return right(seed, kind, n, related) + 0.02

    monkeypatch.setattr(validation, "SIZES", (54,))
    monkeypatch.setattr(validation, "differences", shifted)
    assert not all(row.ok for row in validation._null_rows("normal", 54, DATA_SETS))
