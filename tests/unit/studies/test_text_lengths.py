"""Of how many tokens texts are, where nobody says it: what padding fills up is no length."""

from pathlib import Path

import pytest
import torch

import laminar_lens as ll
from laminar_lens.errors import InputError
from laminar_lens.models.padding import PADDING
from laminar_lens.studies.options import Options
from laminar_lens.studies.texts import chosen_texts


def padded(lengths: list[int]) -> torch.Tensor:
    """Random ids of these lengths, as one batch."""
    generator = torch.Generator().manual_seed(5)
    ids = torch.randint(1, 300, (len(lengths), max(lengths)), generator=generator)
    return ids.masked_fill(torch.arange(max(lengths))[None] >= torch.tensor(lengths)[:, None], PADDING)


def chosen(model: object, ids: torch.Tensor, length: int | None = None) -> tuple[list[int], list[str]]:
    notes: list[str] = []
    texts = chosen_texts(model, ids, Options(0, length), notes, None)
    return list(texts.tokens.shape), notes


@pytest.fixture(scope="module")
def model(tiny_gpt2: Path) -> object:
    return ll.load_model(tiny_gpt2)


def test_the_longest_row_of_a_padded_batch_is_no_length(model: object) -> None:
    with pytest.raises(InputError, match=r"0 of 20 texts have 64 tokens.* or length=19, which at least half"):
        chosen(model, padded(list(range(9, 29))))
    assert chosen(model, padded(list(range(9, 29))), 19) == (
        [10, 19],
        ["10 of 20 texts have fewer than 19 tokens: left out."],
    )


def test_rows_without_padding_are_as_long_as_they_are(model: object) -> None:
    assert chosen(model, padded([20] * 6)) == ([6, 20], [])


def test_most_texts_left_out_is_said_at_the_top(model: object) -> None:
    shape, notes = chosen(model, padded([9] * 10 + [12] * 5 + [30] * 4), 30)
    assert shape == [4, 30]
    assert notes[0] == (
        "15 of 19 texts have fewer than 30 tokens: left out; a length of 9 would keep at least half of them."
    )
