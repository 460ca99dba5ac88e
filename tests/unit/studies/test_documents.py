"""Packed rows: the same numbers as of their documents given one by one, and a note where nobody said so."""

import warnings
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

import laminar_lens as ll
from laminar_lens.cli import main
from laminar_lens.errors import InputError, ShapeError
from laminar_lens.studies.documents import (
    cut_rows,
    document_starts_of,
    of_documents,
    packed_note,
    places_in_documents,
)
from laminar_lens.studies.mask_files import token_masks
from laminar_lens.studies.masks import position_mask, sink_mask
from tests import planted

E, LENGTH = 0, 7
STUDIES = {
    "warmup": lambda model, texts, **how: ll.warmup_study(model, texts, random_init=False, **how),
    "sinks": lambda model, texts, **how: ll.sink_study(model, texts, random_init=False, **how),
    "why": lambda model, texts, **how: ll.why_study(model, texts, random_init=False, **how),
    "dimensions": lambda model, texts, **how: ll.dimension_study(model, texts, **how),
}


def documents(n: int = 12) -> list[list[int]]:
    """A BOS and 6 to 10 tokens each."""
    generator = np.random.default_rng(3)
    return [[E, *generator.integers(2, 320, size=6 + k % 5).tolist()] for k in range(n)]


def packed(rows: list[list[int]], each: int = 3) -> torch.Tensor:
    """So many in a row, −1 after its end."""
    joined = [list(chain(*rows[k : k + each])) for k in range(0, len(rows), each)]
    width = max(map(len, joined))
    return torch.tensor([row + [-1] * (width - len(row)) for row in joined])


def one_by_one(rows: list[list[int]]) -> torch.Tensor:
    width = max(map(len, rows))
    return torch.tensor([row + [-1] * (width - len(row)) for row in rows])


@pytest.fixture(scope="module")
def model(tiny_gpt2: Path) -> Any:
    return ll.load_model(tiny_gpt2)


class TestPlaces:
    def test_by_hand(self) -> None:
        ids = torch.tensor([[-1, 5, 5, 0, 5, 0], [0, 5, 5, 5, -1, -1]])
        real = ids >= 0
        starts = document_starts_of(ids, real, 0)
        assert starts.int().tolist() == [[0, 1, 0, 1, 0, 1], [1, 0, 0, 0, 0, 0]]
        assert places_in_documents(real, starts).tolist() == [[0, 1, 2, 1, 2, 1], [1, 2, 3, 4, 0, 0]]
        begun = of_documents(starts & (ids == 0), starts)
        assert begun.int().tolist() == [[0, 0, 0, 1, 1, 1], [1, 1, 1, 1, 1, 1]]
        assert document_starts_of(ids, real, None).int().tolist() == [[0, 1, 0, 0, 0, 0], [1, 0, 0, 0, 0, 0]]

    def test_an_id_is_the_same_as_its_marks(self) -> None:
        ids = packed(documents())
        by_id = document_starts_of(ids, ids >= 0, E)
        assert document_starts_of(ids, ids >= 0, ids == E).equal(by_id)
        assert document_starts_of(ids, ids >= 0, (ids == E).numpy()).equal(by_id)
        assert document_starts_of(ids, ids >= 0, np.int64(E)).equal(by_id)
        assert document_starts_of(ids, ids >= 0, torch.tensor(E)).equal(by_id)

    def test_cut(self) -> None:
        rows = documents()
        ids = packed(rows)
        flags = [row[keep].tolist() for row, keep in zip(ids == E, ids >= 0, strict=True)]
        whole = [row[keep].tolist() for row, keep in zip(ids, ids >= 0, strict=True)]
        assert cut_rows(whole, flags) == (rows, [0] * 3 + [1] * 3 + [2] * 3 + [3] * 3)
        assert cut_rows([[5, 0, 6]], [[False, True, False]]) == ([[5], [0, 6]], [0, 0])

    @pytest.mark.parametrize(
        ("starts", "message"),
        [
            (True, "document_starts is True; expected a token id"),
            (-1, "document_starts is -1; expected a token id"),
            ("0", "document_starts is a str"),
            (torch.ones(1, 3), "document_starts is a tensor of torch.float32"),
            (torch.ones(1, 3, dtype=torch.long), "document_starts is a tensor of torch.int64"),
            (1.5, "document_starts is a tensor of torch.float"),
        ],
    )
    def test_what_says_no_start(self, starts: Any, message: str) -> None:
        ids = torch.tensor([[1, 2, 3]])
        with pytest.raises(InputError, match=message):
            document_starts_of(ids, ids >= 0, starts)

    def test_another_shape(self) -> None:
        ids = torch.tensor([[1, 2, 3]])
        with pytest.raises(ShapeError, match=r"document_starts has shape \(1, 2\), tokens \(1, 3\)"):
            document_starts_of(ids, ids >= 0, torch.ones(1, 2, dtype=torch.bool))


class TestStudies:
    @pytest.mark.parametrize("study", STUDIES)
    def test_the_same_as_one_by_one(self, model: Any, study: str) -> None:
        rows = documents()
        expected = STUDIES[study](model, one_by_one(rows), length=LENGTH)
        ids = packed(rows)
        for starts in (E, ids == E):
            found = STUDIES[study](model, ids, length=LENGTH, document_starts=starts)
            assert found.dataset.sizes == expected.dataset.sizes
            for name, values in expected.dataset.variables.items():
                assert found.dataset[name].values.tobytes() == values.values.tobytes(), name
            assert found.sentence == expected.sentence
            assert found.settings["document_starts"] == (E if starts is E else "given")
            assert not any("packed" in note for note in found.warnings)

    @pytest.mark.parametrize("study", STUDIES)
    def test_without_it_a_note(self, model: Any, study: str) -> None:
        found = STUDIES[study](model, packed(documents()), length=LENGTH)
        assert any(
            note.startswith("4 of 4 texts have token 0 (BOS, EOS or separator) inside")
            for note in found.warnings
        )
        assert "document_starts" not in found.settings

    def test_groups_are_of_the_rows(self, model: Any) -> None:
        rows, groups = documents(), np.array([0, 0, 1, 1])
        expected = ll.warmup_study(
            model, one_by_one(rows), length=LENGTH, random_init=False, groups=groups.repeat(3)
        )
        found = ll.warmup_study(
            model, packed(rows), length=LENGTH, random_init=False, groups=groups, document_starts=E
        )
        assert found.sentence == expected.sentence
        assert found.dataset["delta"].equals(expected.dataset["delta"])

    def test_a_row_longer_than_the_context(self, model: Any) -> None:
        rows = documents()
        found = ll.warmup_study(
            model, packed(rows, each=12), length=LENGTH, random_init=False, document_starts=E
        )
        assert found.tokens.tolist() == [row[:LENGTH] for row in rows]
        with pytest.raises(InputError, match="more than the model's context of 64"):
            ll.warmup_study(model, packed(rows, each=12), length=LENGTH, random_init=False)

    def test_texts_by_a_token_id(self, model: Any) -> None:
        texts = [
            "They promoted her last spring, and he admired her.",
            "A boy gave her the book by the river.",
        ] * 2
        joined = ["<|endoftext|>".join(texts[:2]), "<|endoftext|>".join(texts[2:])]
        found = ll.warmup_study(model, joined, length=6, random_init=False, document_starts=E)
        apart = [texts[0], "<|endoftext|>" + texts[1]] * 2
        expected = ll.warmup_study(model, apart, length=6, random_init=False)
        assert found.tokens.equal(expected.tokens)
        with pytest.raises(InputError, match="for texts give the id of the token"):
            ll.warmup_study(model, joined, length=6, document_starts=torch.ones(2, 9, dtype=torch.bool))

    def test_the_model_writes_no_packed_rows(self, model: Any) -> None:
        with pytest.raises(InputError, match="document_starts= goes with texts= that are given"):
            ll.warmup_study(model, n_texts=4, length=8, document_starts=E)


class TestMasks:
    @pytest.mark.parametrize("side", ["right", "left"])
    @pytest.mark.parametrize("bos", [None, E, 1], ids=["no BOS", "a BOS they have", "a BOS they lack"])
    def test_positions(self, side: str, bos: int | None) -> None:
        rows = documents()
        ids = packed(rows)
        if side == "left":
            ids = torch.tensor([[-1] * int((row < 0).sum()) + row[row >= 0].tolist() for row in ids])
        kept = position_mask(ids, None, 3, bos, E)
        apart = position_mask(one_by_one(rows), None, 3, bos)
        expected = torch.cat([row[: len(one)] for row, one in zip(apart, rows, strict=True)])
        assert kept[ids >= 0].equal(expected)
        assert not kept[ids < 0].any()

    def test_sinks_of_each_document_by_itself(self, tmp_path: Path) -> None:
        """A planted token is found; and what is a sink in a document by itself, in no other way."""
        truth = planted.plant(planted.Plan(1.0, gate="token", seed=2), write=12.0)
        model = ll.load_model(str(planted.save(truth.edited, tmp_path / "model")))
        tokens = torch.from_numpy(planted.random_texts(60, seed=2, sink=True))
        ids = tokens.reshape(30, -1)
        starts = torch.zeros_like(ids, dtype=torch.bool)
        starts[:, tokens.shape[1]] = True
        assert sink_mask(model, ids, starts=starts).equal(ids == planted.SINK_TOKEN)

    def test_mask_files(self, model: Any) -> None:
        rows = documents()
        ids = packed(rows)
        apart = token_masks(model, one_by_one(rows), skip=2)
        left = torch.tensor([[-1] * int((row < 0).sum()) + row[row >= 0].tolist() for row in ids])
        for given, starts in ((ids, E), (ids, ids == E), (left, E), (left, (left == E).tolist())):
            found = token_masks(model, given, skip=2, document_starts=starts)
            real = found.tokens >= 0
            assert found.keep[real].equal(apart.keep[apart.tokens >= 0])
            assert found.sinks[real].equal(apart.sinks[apart.tokens >= 0])
            assert found.sentence.split(" are kept")[0].split(" of ")[0] == apart.sentence.split(" of ")[0]
            assert found.settings["document_starts"] == (E if starts is E else "given")
            assert not found.notes
        assert "have token 0" in token_masks(model, ids, skip=2).notes[0]
        with pytest.raises(InputError, match="packed rows hold a BOS of their own"):
            token_masks(model, ids, skip=2, document_starts=E, prepend_bos=True)

    def test_mask_files_by_command(self, model: Any, tiny_gpt2: Path, tmp_path: Path) -> None:
        rows = [f"<|endoftext|>{one} gave her it.<|endoftext|>{one} drove him." for one in ("He", "They")]
        (tmp_path / "rows.txt").write_text("\n".join(rows), encoding="utf-8")
        given = ["--texts", tmp_path / "rows.txt", "--model", tiny_gpt2, "--out", tmp_path, "--skip", "1"]
        assert main(["mask", *map(str, given), "--document-starts", "0", "--quiet"]) == 0
        found = load_file(tmp_path / "masks.safetensors")
        same = token_masks(model, rows, skip=1, document_starts=0)
        assert found["keep"].bool().equal(same.keep)
        assert not found["keep"].bool()[found["tokens"] == 0].any()

    def test_a_results_mask(self, model: Any) -> None:
        rows = documents()
        ids = packed(rows)
        warm = ll.warmup_study(model, one_by_one(rows), length=LENGTH, random_init=False)
        warm.dataset.attrs.update(verdict="exact", skip=2, k_lo=2, k_hi=2)
        expected = position_mask(ids, None, 2, None, E)
        assert warm.mask(ids, document_starts=E).equal(expected)
        assert warm.mask(ids, document_starts=E, model=model).equal(
            expected & ~sink_mask(model, ids, starts=E)
        )
        states = ll.capture_residuals(model, ids)
        of_states = warm.mask(states=states, document_starts=E)
        assert of_states.equal(warm.mask(ids, states=states, document_starts=E))
        assert int(of_states[:, 8].sum()) < len(ids), "the beginning of a second document is left out"
        with pytest.warns(UserWarning, match="give that token as document starts"):
            assert warm.mask(ids).equal(position_mask(ids, None, 2, None))
        with pytest.warns(UserWarning, match="give that token as document starts"):
            warm.mask(states=states)
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            warm.mask(one_by_one(rows))


def test_a_token_that_starts_nothing(model: Any) -> None:
    """One that no text can hold is refused; one that none does hold is said."""
    ids = one_by_one(documents())
    for run in (
        lambda **given: ll.warmup_study(model, ids, length=6, random_init=False, **given),
        lambda **given: ll.sink_study(model, ids, length=6, random_init=False, **given),
        lambda **given: token_masks(model, ids, skip=2, **given),
    ):
        with pytest.raises(InputError, match=f"document_starts is 99999; .* 0 … {model.cfg.d_vocab - 1}"):
            run(document_starts=99999)
    unused = next(token for token in range(model.cfg.d_vocab) if not bool((ids == token).any()))
    found = ll.warmup_study(model, ids, length=6, random_init=False, document_starts=unused)
    assert f"Token {unused} (document_starts) cuts none of the {len(ids)} texts" in " ".join(found.warnings)


class TestNote:
    @pytest.mark.parametrize(
        ("rows", "n"),
        [
            ([[0, 5, 6, 7]], 0),
            ([[5, 6, 7, 0]], 0),
            ([[0, 5, 6, 0]], 0),
            ([[0, 5, 0, 6], [5, 5, 5, 5]], 1),
            ([[5, 3, 6]], 1),
            ([[5, 4, 6]], 0),
        ],
    )
    def test_only_inside(self, rows: list[list[int]], n: int) -> None:
        note = packed_note(rows, {"bos": 0, "eos": 0, "sep": 3, "pad": 4, "padding_side": "right"})
        assert note.startswith(f"{n} of {len(rows)} texts" if n else "")
        assert bool(note) == bool(n)

    def test_an_unknown_token_in_the_place_of_an_eos_separates_nothing(self) -> None:
        assert packed_note([[5, 0, 6]], {"eos": 0, "unk": 0, "pad": 0}) == ""
        assert packed_note([[5, 0, 6]], {"bos": 0, "eos": 0, "unk": 0, "pad": 0})

    def test_no_special_tokens_no_note(self) -> None:
        assert packed_note([[0, 0, 0]], {}) == ""
