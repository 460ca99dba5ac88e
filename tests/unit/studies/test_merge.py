"""Parts of a study that were measured apart, and what cannot be put together."""

from typing import Any

import pytest
import torch

import laminar_lens as ll
from laminar_lens.errors import InputError
from laminar_lens.studies.sinks.study import Sinks
from laminar_lens.studies.warmup.study import Warmup

HOW: dict[str, Any] = {"random_init": False, "interventions": ll.remove_write("mlp", 1)}


@pytest.fixture(scope="module")
def tokens() -> torch.Tensor:
    return torch.randint(3, 300, (48, 10), generator=torch.Generator().manual_seed(5))


@pytest.fixture(scope="module")
def half(novella: Any, tokens: torch.Tensor) -> ll.StudyResult:
    return ll.run(Sinks(), novella, tokens[:20], **HOW)


def test_parts_from_files_make_the_whole_under_every_condition(
    novella: Any, tokens: torch.Tensor, half: ll.StudyResult, tmp_path: Any
) -> None:
    whole = ll.run(Sinks(), novella, tokens, **HOW)
    rest = ll.run(Sinks(), novella, tokens[20:], **HOW)
    parts = [ll.load_result(part.save(tmp_path / f"{n}.nc")) for n, part in enumerate((half, rest))]
    merged = ll.load_result(ll.merge(parts).save(tmp_path / "merged.nc"))
    assert merged.conditions == whole.conditions
    for name in whole.conditions:
        a, b = merged.condition(name), whole.condition(name)
        assert (a.dataset["ratio"].values == b.dataset["ratio"].values).all()
        assert (a.dataset["massive_dimension"].values == b.dataset["massive_dimension"].values).all()
        assert a.dataset["attention"].values == pytest.approx(b.dataset["attention"].values, rel=1e-6)
        assert a.sentence == b.sentence
    assert merged.settings == whole.settings
    assert merged.provenance["n_texts"] == 48


def test_what_does_not_fit_together_is_named(
    novella: Any, tokens: torch.Tensor, half: ll.StudyResult
) -> None:
    rest = tokens[20:]
    others = {
        "differ in prepend_bos: False, True": ll.run(Sinks(), novella, rest, prepend_bos=True, **HOW),
        "differ in length: 10, 9": ll.run(Sinks(), novella, rest[:, :9], **HOW),
        "differ in conditions": ll.run(Sinks(), novella, rest, random_init=False),
        "differ in kind": ll.run(Warmup(), novella, rest, **HOW),
        "with groups": ll.run(Sinks(), novella, rest, groups=[k // 2 for k in range(28)], **HOW),
        "text 0 of part 1 is text 5 of part 0": ll.run(Sinks(), novella, tokens[5:30], **HOW),
    }
    for words, other in others.items():
        with pytest.raises(InputError, match=words):
            ll.merge([half, other])
    for given in ([half], "parts", [half, 3], []):
        with pytest.raises(InputError, match="parts"):
            ll.merge(given)


def test_another_model_is_no_part(novella: Any, tokens: torch.Tensor, half: ll.StudyResult) -> None:
    twin = ll.run(Sinks(), ll.random_twin(novella), tokens[20:], **HOW)
    with pytest.raises(InputError, match="different weights"):
        ll.merge([half, twin])
