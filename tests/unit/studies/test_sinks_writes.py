"""Who writes a sink and who erases it, where blocks' steps can be decomposed and where not."""

from typing import Any

import numpy as np
import pytest
import torch

import laminar_lens as ll
from laminar_lens.results import StudyResult, claim_rows
from tests.unit.studies.test_sinks import DIMENSION, PLACE, SIZE, plant_write, study, tokens_of, verdicts


@pytest.fixture(params=["tiny_gpt2", "tiny_llama", "tiny_neox"])
def folder(request: pytest.FixtureRequest) -> Any:
    return request.getfixturevalue(request.param)


def plant_embedding(model: Any, size: float) -> None:
    def add(value: torch.Tensor, hook: Any) -> torch.Tensor:
        value = value.clone()
        value[:, PLACE, DIMENSION] += size
        return value

    model.add_hook("blocks.0.hook_resid_pre", add)


def evidence(result: StudyResult) -> dict[str, str]:
    return {row["claim"]: row["evidence"] for row in claim_rows(result.dataset)}


@pytest.mark.parametrize("bridge", [None, True])
def test_a_sink_in_the_embedding_is_written_by_no_block(folder: Any, bridge: bool | None) -> None:
    model = ll.load_model(folder, bridge=bridge)
    plant_embedding(model, SIZE)
    plant_write(model, 2, "mlp", -SIZE)
    result = study(model)
    found = verdicts(result)
    assert (found["S1"], found["S4"], found["S5b"]) == ("holds", "fails", "holds")
    assert evidence(result)["S4"] == "It is longest in the embedding already."
    assert ", by MLPs of block 2." in evidence(result)["S5b"]
    assert " It is in the embedding already. " in result.sentence
    assert "by MLPs of block 2); it is a sink no longer there" in result.sentence
    share = result.dataset["write_share"]
    assert share.values[2, 1] == pytest.approx(-1, abs=0.05)
    assert "over its length where it is longest against the median" in share.attrs["long_name"]


def test_a_sink_that_grows_a_little_after_the_embedding_is_not_written_by_mlps(tiny_gpt2: Any) -> None:
    model = ll.load_model(tiny_gpt2)
    plant_embedding(model, SIZE)
    plant_write(model, 0, "mlp", 5 * SIZE / 10)
    model.add_hook("blocks.0.hook_resid_pre", longer_but_for_the_first)
    result = study(model)
    assert verdicts(result)["S4"] == "fails"
    assert evidence(result)["S4"].startswith("In the embedding already it has 67% of its length in layer ")
    assert " It is in the embedding already. " in result.sentence
    assert ", and no block shortens it; " in result.sentence


def longer_but_for_the_first(value: torch.Tensor, hook: Any) -> torch.Tensor:
    value = value.clone()
    value[:, 1:] *= 30
    return value


def test_falling_against_a_growing_median_is_no_shrinking(tiny_gpt2: Any) -> None:
    model = ll.load_model(tiny_gpt2)
    plant_write(model, 0, "mlp", SIZE)
    grow = torch.randn(32, generator=torch.Generator().manual_seed(3)) * SIZE

    def others(value: torch.Tensor, hook: Any) -> torch.Tensor:
        value = value.clone()
        value[:, 1:] += grow
        value[:, 0, DIMENSION] += 1
        return value

    model.add_hook("blocks.2.hook_mlp_out", others)
    result = study(model)
    assert verdicts(result)["S5b"] == "fails"
    assert evidence(result)["S5b"] == (
        "Its length does not shrink after layer 1: it falls against the median because the others grow."
    )
    assert "by MLPs of block 2" not in result.sentence
    assert ", and no block shortens it; " in result.sentence


@pytest.mark.parametrize(
    ("broken", "said"),
    [
        (
            [0],
            ("by which block is not known: block 0 is not decomposed", "by MLPs of block 2"),
        ),
        (
            [2],
            ("by MLPs of block 0", "by which block is not known: block 2 is not decomposed"),
        ),
        ([1], ("by MLPs of block 0", "by MLPs of block 2; block 1 is not decomposed")),
        (
            [0, 1, 2],
            (
                "by which block is not known: block 0 is not decomposed",
                "by which block is not known: blocks 1–2 are not decomposed",
            ),
        ),
    ],
)
def test_who_writes_is_not_denied_where_it_was_not_seen(
    tiny_gpt2: Any, broken: list[int], said: tuple[str, str]
) -> None:
    model = ll.load_model(tiny_gpt2)
    plant_write(model, 0, "mlp", SIZE)
    plant_write(model, 2, "mlp", -SIZE)
    for block in broken:
        model.add_hook(f"blocks.{block}.hook_resid_post", lambda value, hook: value + 0.1)
    result = study(model)
    for claim, words, seen in (("S4", said[0], 0 not in broken), ("S5b", said[1], broken == [0])):
        assert verdicts(result)[claim] == ("holds" if seen else "undetermined")
        assert words in evidence(result)[claim]
        assert words in result.sentence
    assert ("Whether it is written mostly by MLPs is undetermined" in result.sentence) == (0 in broken)
    assert ("whether taken away mostly by MLPs is undetermined" in result.sentence) == (broken != [0])
    assert (
        verdicts(result)["S5a"] == verdicts(result)["S5c"] == "holds"
    )  # lengths are seen whatever writes them
    gone = "blocks 1–2 are" if len(broken) > 1 else f"block {broken[0]} is"
    assert f"{gone} not decomposed." in evidence(result)["S4" if broken == [0] else "S5b"]


def test_a_sink_that_stays_may_still_be_erased_where_nothing_was_seen(tiny_gpt2: Any) -> None:
    model = ll.load_model(tiny_gpt2)
    plant_write(model, 0, "mlp", SIZE)
    model.add_hook("blocks.2.hook_resid_post", lambda value, hook: value * 1.05)
    said = study(model).sentence
    assert ", and no block shortens it; " in said
    assert "it still is a sink there" in said


def test_few_texts_do_not_say_that_steps_are_small(tiny_gpt2: Any) -> None:
    model = ll.load_model(tiny_gpt2)
    plant_write(model, 0, "mlp", SIZE)
    said = evidence(study(model, tokens_of(25)))["S4"]
    assert said.startswith("It grows by ")
    assert said.endswith(", by which blocks is not shown.")


def test_a_step_that_is_not_its_writes_is_not_decomposed(tiny_gpt2: Any) -> None:
    model = ll.load_model(tiny_gpt2)
    model.add_hook("blocks.1.hook_resid_post", lambda value, hook: value * 1.5)
    result = study(model)
    assert any(
        "In 1 of 3 blocks, resid_post − resid_pre is not attn + mlp (block 1:" in w for w in result.warnings
    )
    write = result.dataset["write"].values
    assert np.isnan(write).all(axis=(1, 2)).tolist() == [False, True, False]


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_half_precision_names_who_erases(novella: Any, dtype: str) -> None:
    """The erasing block's input is far longer than its output: its rounding alone exceeds the output."""
    model = ll.load_model("novella", dtype=dtype)
    plant_write(model, 0, "mlp", 3000)
    plant_write(model, 5, "mlp", -3000)
    result = study(model, tokens_of(50, 12))
    assert [warning for warning in result.warnings if "(plant_write.add)" not in warning] == []
    assert "in layers 1–5: " in result.sentence
    assert " by MLPs of block 0)" in result.sentence
    assert " by MLPs of block 5); it is a sink no longer there" in result.sentence
    assert verdicts(result)["S4"] == verdicts(result)["S5b"] == "holds"
    assert (result.dataset["identity_error"].values < 1e-2).all()


def test_a_long_vector_does_not_excuse_the_others(tiny_gpt2: Any) -> None:
    """A step that is off at one position is judged by the lengths there, not by those of a sink."""
    model = ll.load_model(tiny_gpt2)
    plant_write(model, 0, "mlp", 1e5)

    def off(value: torch.Tensor, hook: Any) -> torch.Tensor:
        value = value.clone()
        value[:, 4] *= 1.01
        return value

    model.add_hook("blocks.1.hook_resid_post", off)
    error = study(model, tokens_of(4)).dataset["identity_error"].values
    assert error[1] == pytest.approx(0.01, rel=0.02)
    assert max(error[0], error[2]) < 1e-6


@pytest.mark.parametrize("size", [float("nan"), float("inf"), 1e30])
def test_a_step_that_cannot_be_checked_is_not_decomposed(tiny_gpt2: Any, size: float) -> None:
    """One text of many writes what is not finite, or is too long for a float32, and something mends it."""
    model = ll.load_model(tiny_gpt2)
    before: dict[str, torch.Tensor] = {}

    def write(value: torch.Tensor, hook: Any) -> torch.Tensor:
        value = value.clone()
        value[-1, 3, 5] = size
        return value

    def keep(value: torch.Tensor, hook: Any) -> None:
        before["resid"] = value

    model.add_hook("blocks.1.hook_resid_pre", keep)
    model.add_hook("blocks.1.hook_mlp_out", write)
    model.add_hook("blocks.1.hook_resid_post", lambda value, hook: before["resid"])
    result = study(model)
    assert any(
        "What is written in block 1 is not finite everywhere: whether resid_post − resid_pre is attn + mlp "
        "is not known there" in warning
        for warning in result.warnings
    )
    error = result.dataset["identity_error"].values
    assert np.isnan(error).tolist() == [False, True, False]
    decomposed = result.dataset["write"].values
    assert np.isnan(decomposed).all(axis=(1, 2)).tolist() == [False, True, False]
