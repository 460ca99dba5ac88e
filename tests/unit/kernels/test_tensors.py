"""Tensors that are not dense memory: one line from every function, and never a read beyond what is there."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

CHILD = Path(__file__).with_name("odd_tensors.py")
"""A process of its own: what went wrong ended it, and the suite's type checker would speak first."""

REFUSED = {
    "numpy": ("InputError", "numpy array", "torch.from_numpy("),
    "list": ("InputError", "is a list", "torch.as_tensor("),
    "none": ("InputError", "NoneType", "torch tensor"),
    "masked": ("InputError", "MaskedTensor", "to_tensor(torch.nan)"),
    "distributed": ("InputError", "DTensor", "full_tensor()"),
    "nested": ("InputError", "nested tensor", "to_padded_tensor("),
    "jagged": ("InputError", "nested tensor", "to_padded_tensor("),
    "sparse": ("InputError", "sparse_coo", "to_dense()"),
    "compressed": ("InputError", "sparse_csr", "to_dense()"),
    "mkldnn": ("InputError", "mkldnn", "to_dense()"),
    "quantised": ("InputError", "quantised", "dequantize()"),
    "complex": ("InputError", "complex64", "view_as_real("),
    "freed": ("InputError", "storage of 0 bytes", "1,152,000"),
    "short": ("InputError", "storage of 576,000 bytes", "1,152,000"),
}
"""By every backend."""
WITHOUT_MEMORY = ("fake", "functional", "wrapper", "zeros", "batched")
"""By `cpu`, while `auto` finds another way."""
RIGHT = ("negated", "copied late", "subclass", "default device")


@pytest.fixture(scope="module")
def outcomes() -> dict[str, dict[str, dict[str, list[str]]]]:
    """{kind: {backend: {function: [error class or "", message or difference from the plain tensor]}}}"""
    done = subprocess.run([sys.executable, str(CHILD)], capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, (
        f"ended by {done.returncode} after {done.stdout[-200:]!r}\n{done.stderr[-2000:]}"
    )
    found: dict[str, dict[str, dict[str, list[str]]]] = {}
    for line in done.stdout.splitlines():
        kind, backend, function, *outcome = json.loads(line)
        found.setdefault(kind, {}).setdefault(backend, {})[function] = outcome
    return found


def test_no_kind_is_left_out(outcomes: dict[str, dict[str, dict[str, list[str]]]]) -> None:
    assert set(outcomes) == {*REFUSED, *WITHOUT_MEMORY, *RIGHT}
    assert all(len(by_function) == 12 for by in outcomes.values() for by_function in by.values())


@pytest.mark.parametrize("kind", REFUSED)
def test_what_is_not_a_dense_tensor_is_refused_by_all(
    kind: str, outcomes: dict[str, dict[str, dict[str, list[str]]]]
) -> None:
    error, *parts = REFUSED[kind]
    for backend in ("cpu", "auto", "eager", "reference"):
        for function, (name, message) in outcomes[kind][backend].items():
            assert name == error, (backend, function, name, message)
            assert "\n" not in message
            assert all(part in message for part in parts), message


@pytest.mark.parametrize("kind", WITHOUT_MEMORY)
def test_what_has_no_memory_is_refused_by_cpu_and_computed_by_auto(
    kind: str, outcomes: dict[str, dict[str, dict[str, list[str]]]]
) -> None:
    for function, (name, message) in outcomes[kind]["cpu"].items():
        assert name == "BackendError", (function, name, message)
        assert "eager" in message
        assert "\n" not in message
    for function, (name, message) in outcomes[kind]["auto"].items():
        if function == "histogram":  # how many angles are NaN depends on the numbers
            assert name == "BackendError"
            assert "histogram" in message
        elif (kind, function) == ("fake", "pair"):  # nor can positions be checked that have no numbers
            assert name == "InputError"
            assert "positions" in message
        else:
            assert name == "", (function, message)
            assert float(message) < 5e-7


@pytest.mark.parametrize("kind", RIGHT)
def test_unusual_memory_gives_the_same_numbers(
    kind: str, outcomes: dict[str, dict[str, dict[str, list[str]]]]
) -> None:
    for backend in ("cpu", "auto", "eager", "reference"):
        for function, (name, message) in outcomes[kind][backend].items():
            assert name == "", (backend, function, message)
            assert float(message) < 5e-7, (backend, function)
