"""What was published of the GPT-2 family, and how each part is measured; any TransformerLens model will do.

Position 0 is the BOS there, which sees nothing but itself: its numbers depend on no text, those of the other
positions do. The texts are the beginnings of four novels (prose.json), so that every run measures the same.
"""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

import laminar_lens as ll
from laminar_lens.geometry import fit_geometry
from laminar_lens.models.batches import prompt_batches
from laminar_lens.models.forward import run_states
from laminar_lens.results import StudyResult, claim_rows

FOLDER = Path(__file__).parent
TOLERANCE = 0.02
SHARE = 0.05
"""A component writes or erases in a block if it changes the length by more than this share of the longest."""
COMPONENTS = ("attn", "mlp")


@dataclass(frozen=True)
class Published:
    """Facts of one model; blocks count from 0.

    Attributes:
        first, mid: by block, standard deviation over d_model at position 0, of hook_resid_post and
            hook_resid_mid.
        elsewhere: the same of hook_resid_post, over the other positions and d_model together.
        above: first and last block after which position 0 is over 5 times as long as the rest.
        peak: the largest such ratio, to the unit, and its block.
        writers: the first blocks whose MLPs write, as `SHARE` says.
        erasers: by component, all blocks after the longest that erase, as `SHARE` says.
        verdicts: of the sink study.
    """

    first: np.ndarray
    mid: np.ndarray
    elsewhere: np.ndarray
    above: tuple[int, int]
    peak: tuple[int, int]
    writers: list[int]
    erasers: dict[str, list[int]]
    verdicts: dict[str, str]

    @property
    def by_mlps(self) -> bool:
        """Whether MLPs take away more than half of it; if not, attention does."""
        return decline(self.first, self.mid)["mlp"] > 0.5


def _published(name: str, **facts: Any) -> Published:
    numbers = json.loads((FOLDER / "anchors.json").read_text(encoding="utf-8"))["models"][name]
    first, elsewhere, mid = (np.array(numbers[key]) for key in ("first", "elsewhere", "first_mid"))
    return Published(first=first, mid=mid, elsewhere=elsewhere, **facts)


SINK = {"S1": "holds", "S2": "holds", "S4": "holds"}
FAMILY = {
    "gpt2": _published(
        "gpt2",
        above=(1, 10),
        peak=(42, 2),
        writers=[1, 2],
        erasers={"attn": [11], "mlp": []},
        verdicts=SINK | {"S5c": "fails"},
    ),
    "gpt2-medium": _published(
        "gpt2-medium",
        above=(3, 21),
        peak=(26, 3),
        writers=[2, 3],
        erasers={"attn": [23], "mlp": [22, 23]},
        verdicts=SINK,
    ),
    "gpt2-large": _published(
        "gpt2-large",
        above=(7, 32),
        peak=(29, 13),
        writers=[7, 8, 9],
        erasers={"attn": [33, 34], "mlp": [31, 32, 33]},
        verdicts=SINK | {"S5b": "holds", "S5c": "holds"},
    ),
    "gpt2-xl": _published(
        "gpt2-xl",
        above=(7, 43),
        peak=(22, 15),
        writers=[7, 8, 9],
        erasers={"attn": [46], "mlp": [41, 42, 43, 44, 45, 46]},
        verdicts=SINK | {"S5b": "holds", "S5c": "holds"},
    ),
}
"""From the published standard deviations, which `test_the_copied_numbers_say_what_was_published` checks. In
gpt2 it is attention that erases, in the last block; in the larger ones mostly MLPs."""


def prose(model: Any, length: int) -> torch.Tensor:
    """The first tokens of each novel, [text pos]."""
    novels = json.loads((FOLDER / "prose.json").read_text(encoding="utf-8"))
    rows = [model.tokenizer(novel["text"], add_special_tokens=False)["input_ids"] for novel in novels]
    assert min(map(len, rows)) >= length, "a novel is too short"
    return torch.tensor([row[:length] for row in rows])


def windows(model: Any, length: int, n: int) -> torch.Tensor:
    """So many short texts, one after another from the novels."""
    reach = min(1023, (n // 4 + 1) * length) // length * length
    return prose(model, reach).reshape(-1, length)[:n]


def deviations(model: Any, tokens: torch.Tensor) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """By block: position 0 (the BOS) after attention, after the MLP, and the rest after the MLP.

    The published ones are of weights that TransformerLens had centred. Ours are not, so each vector's own
    mean is taken off first, which is what that centring does to it.
    """
    run = prompt_batches(model, tokens, prepend_bos=True, final_norm=False, layers=None, batch_size=1)
    n_blocks = int(model.cfg.n_layers)
    centred = fit_geometry(model, "mean_over_d_model")
    mid, first, rest = np.zeros((3, n_blocks))

    def at_first(layer: int, state: torch.Tensor) -> float:
        return float(centred.apply(layer, state)[:, 0].double().std()) / len(run.rows)

    def between(block: int) -> Any:
        def see(state: torch.Tensor, hook: Any) -> None:
            mid[block] += at_first(block + 1, state)

        return f"blocks.{block}.hook_resid_mid", see

    def after(layer: int, state: torch.Tensor) -> None:
        first[layer - 1] += at_first(layer, state)
        others = centred.apply(layer, state)[:, 1:].double()
        rest[layer - 1] += float(others.square().mean()) / len(run.rows)

    for indices in run.indices():
        watch = [between(block) for block in range(n_blocks)]
        run_states(model, run.tokens(indices), range(1, n_blocks + 1), after, watch=watch)
    return mid, first, np.sqrt(rest)


def changes(first: np.ndarray, mid: np.ndarray) -> dict[str, np.ndarray]:
    """By component and block, what it adds to the length at position 0; of block 0's attention nothing is
    known."""
    return {"attn": mid - np.concatenate([mid[:1], first[:-1]]), "mlp": first - mid}


def decline(first: np.ndarray, mid: np.ndarray) -> dict[str, float]:
    """By component, its share of the decline from the longest to the end."""
    longest = int(np.argmax(first))
    lost = first[longest] - first[-1]
    return {name: -float(by[longest + 1 :].sum()) / lost for name, by in changes(first, mid).items()}


def check_blocks(
    mid: np.ndarray, first: np.ndarray, rest: np.ndarray, known: Published, tolerance: float
) -> None:
    """Where position 0 is a sink, how large it is at most, who writes it, and who erases it."""
    ratio = first / rest
    above = np.flatnonzero(ratio > 5)
    assert (above[0], above[-1]) == known.above
    assert len(above) == above[-1] - above[0] + 1
    most, block = known.peak
    assert ratio[block] > ratio.max() * (1 - 2 * tolerance) - 1e-12
    assert abs(ratio[block] - most) <= 0.5 + 2 * tolerance * most
    by, longest = changes(first, mid), int(np.argmax(first))
    writers = np.flatnonzero(by["mlp"] > SHARE * first.max())
    assert writers[: len(known.writers)].tolist() == known.writers
    until = slice(1, max(known.writers) + 1)
    assert np.abs(by["attn"][until]).sum() < 0.1 * by["mlp"][until].sum()
    for name in COMPONENTS:
        gone = np.flatnonzero(by[name] < -SHARE * first.max())
        assert gone[gone > longest].tolist() == known.erasers[name]
    assert ratio[-1] < 5
    assert (decline(first, mid)["mlp"] > 0.5) == known.by_mlps


def verdicts(result: StudyResult) -> dict[str, str]:
    """By claim."""
    return {row["claim"]: row["verdict"] for row in claim_rows(result.dataset)}


def check_sinks(result: StudyResult, known: Published) -> None:
    """The study's own answer: what it says, who writes, and that each step is the sum of its writes."""
    found = verdicts(result)
    assert {name: found[name] for name in known.verdicts} == known.verdicts
    write = result.dataset["write"].sel(pos=0).values
    longest = float(result.dataset["norm"].sel(pos=0).max())
    big = np.flatnonzero(write[:, 1] > SHARE * longest)
    assert big[: len(known.writers)].tolist() == known.writers
    for row, name in enumerate(COMPONENTS):
        for block in known.erasers[name]:
            assert write[block, row] < 0
    assert (result.dataset["identity_error"].values < 1e-4).all()


def check_massive(result: StudyResult, known: Published, dimension: int) -> None:
    """Its massive activations are in one dimension, in all blocks in which it is a sink but the first, where
    it is still growing."""
    low, high = known.above
    layers = slice(low + 2, high + 2)  # block b's output is hidden state b + 1
    assert (result.dataset["largest_dimension"].values[layers, 0] == dimension).all()
    assert result.dataset["massive"].sel(variant="published").values[layers, 0].max() > 0.9
    assert verdicts(result)["S3"] == "holds"


def sinks(model: Any, *, bos: bool, length: int = 64, n: int = 60) -> StudyResult:
    """Of short windows: what it says of position 0 does not rest on their being independent."""
    return ll.sink_study(model, windows(model, length, n), random_init=False, prepend_bos=bos)


def growth(rest: np.ndarray, first: int, last: int) -> float:
    """Factor a block, from a straight line through the logarithms."""
    blocks = np.arange(first, last + 1)
    return float(np.exp(np.polyfit(blocks, np.log(rest[blocks]), 1)[0]))
