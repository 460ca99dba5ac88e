"""What a study runs, counted in passes and tokens: each text once plain, and what its changes need."""

from math import ceil
from typing import Any

import numpy as np
import pytest
import torch
from transformer_lens.hook_points import HookPoint

import laminar_lens as ll
from laminar_lens.geometry import fit_geometry
from laminar_lens.models.batches import BATCH_TOKENS
from laminar_lens.models.passes import Batch
from laminar_lens.studies.why.cells import CHECKED, NEAR_TOKENS
from laminar_lens.studies.why.places import assign, places
from tests.conftest import SENTENCES

N, LENGTH = 120, 12
STARTS = {"blocks.0.hook_resid_pre", "blocks.0.hook_in"}
"""The first block's input, as a HookedTransformer calls it and as a bridge does."""
SAMPLED, CONTEXT = 64, 64
"""Texts that a geometry is fitted on, and their tokens."""

Shapes = list[tuple[int, int]]


@pytest.fixture(scope="module", params=["tiny_gpt2", "tiny_llama"])
def model(request: pytest.FixtureRequest) -> Any:
    return ll.load_model(str(request.getfixturevalue(request.param)))


@pytest.fixture(scope="module")
def tokens(model: Any) -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.randint(1, int(model.cfg.d_vocab), (N, LENGTH), generator=generator)


@pytest.fixture
def shapes(monkeypatch: pytest.MonkeyPatch) -> Shapes:
    """Texts and tokens of each pass of every model in this process, sampling too. A hook of torch's own would
    be in the study's warnings."""
    found: Shapes = []
    forward = HookPoint.forward

    def counted(point: HookPoint, x: torch.Tensor) -> torch.Tensor:
        if point.name in STARTS:
            found.append((len(x), x.shape[1]))
        return forward(point, x)

    monkeypatch.setattr(HookPoint, "forward", counted)
    return found


def total(shapes: Shapes) -> tuple[int, int]:
    """Passes and tokens."""
    return len(shapes), sum(batch * length for batch, length in shapes)


def whole(n: int, length: int) -> tuple[int, int]:
    """Passes and tokens of so many texts of one length."""
    return ceil(n / (BATCH_TOKENS // length)), n * length


def summed(*parts: tuple[int, int]) -> tuple[int, int]:
    passes, ran = zip(*parts, strict=True)
    return sum(passes), sum(ran)


FITTED = summed((CONTEXT, SAMPLED * CONTEXT), whole(SAMPLED, CONTEXT))
"""Texts of a geometry: one token of each at a time is written, and they are run once. The context leaves no
room for more tokens than are taken."""


def test_a_capture_runs_each_text_once(model: Any, tokens: torch.Tensor, shapes: Shapes) -> None:
    ll.capture_residuals(model, tokens)
    assert total(shapes) == whole(N, LENGTH)


@pytest.mark.parametrize("random", [False, True])
def test_warmup(model: Any, tokens: torch.Tensor, random: bool, shapes: Shapes) -> None:
    """Each text, from its reference window on once more, and a hundred of them with random weights."""
    result = ll.warmup_study(model, tokens, random_init=random)
    anew = LENGTH - result.settings["reference"][0]
    twin = [whole(100, LENGTH)] if random else []
    assert total(shapes) == summed(whole(N, LENGTH), whole(N, anew), *twin)


def test_a_condition_runs_the_same_once_more(model: Any, tokens: torch.Tensor, shapes: Shapes) -> None:
    ll.warmup_study(model, tokens)
    alone = total(shapes)
    shapes.clear()
    ll.warmup_study(model, tokens, interventions=ll.scale_norm(0.5, layers=1))
    assert total(shapes) == summed(alone, alone)


def test_geometries_share_the_pass(model: Any, tokens: torch.Tensor, shapes: Shapes) -> None:
    """Beside the fit, which random weights have too, nothing is added: not by those that are compared, nor by
    the study's own where it is one of them."""
    how: dict[str, Any] = {"random_init": False}
    ll.warmup_study(model, tokens, **how)
    alone = total(shapes)
    shapes.clear()
    ll.warmup_study(model, tokens, geometries=True, geometry="centred", **how)
    probe = (1, 8)
    """A short text shows what the blocks read, for the geometry "layernormed"."""
    assert total(shapes) == summed(alone, FITTED, probe)


@pytest.mark.parametrize("random", [False, True])
def test_sinks(model: Any, tokens: torch.Tensor, random: bool, shapes: Shapes) -> None:
    ll.sink_study(model, tokens, random_init=random)
    assert total(shapes) == summed(whole(N, LENGTH), *([whole(60, LENGTH)] if random else []))


def test_dimensions(model: Any, tokens: torch.Tensor, shapes: Shapes) -> None:
    """Each text once, whichever half it is in; and the texts that it is centred on."""
    ll.dimension_study(model, tokens)
    halves = whole(N // 2, LENGTH), whole(N // 2, LENGTH)
    assert total(shapes) == summed(*halves, FITTED)
    other = fit_geometry(model, "centred", texts=tokens.flip(1))
    shapes.clear()
    ll.dimension_study(model, tokens, geometry=other)
    assert total(shapes) == summed(*halves)


@pytest.mark.parametrize("heads", [False, True])
def test_decomposition(model: Any, tokens: torch.Tensor, heads: bool, shapes: Shapes) -> None:
    ll.decomposition_study(model, tokens, heads=heads)
    assert total(shapes) == whole(N, LENGTH)


def cells(n: int, has_positions: bool) -> tuple[int, int]:
    """A why-study's: each text whole and its own bigram alone; then, behind another text's beginning, as it
    is and cut (and restarted), and cut (and restarted) itself; batches are as long as their farthest place.

    Where there are two changes, the first texts have both at once too.
    """
    t = np.sort(assign(n, places(None, LENGTH).tolist(), 0))
    size, changes = NEAR_TOKENS // LENGTH, 1 + has_positions
    parts = [t[start : start + size] for start in range(0, n, size)]
    ran = [(1 + changes, len(part) * (int(part[-1]) + 2) * (1 + 2 * changes)) for part in parts]
    both = [(1, CHECKED * (int(parts[0][-1]) + 2))] if has_positions else []
    return summed(whole(n, LENGTH), whole(n, 2), *ran, *both)


@pytest.mark.parametrize("random", [False, True])
def test_why(model: Any, tokens: torch.Tensor, random: bool, shapes: Shapes) -> None:
    result = ll.why_study(model, tokens, random_init=random)
    has_positions = result.dataset.attrs["position_factor"] == "applicable"
    twin = [cells(100, has_positions)] if random else []
    assert total(shapes) == summed(cells(N, has_positions), *twin)


@pytest.mark.parametrize("geometries", [None, ["layernormed"]])
@pytest.mark.parametrize("random", [False, True])
def test_sequential(model: Any, geometries: Any, random: bool, shapes: Shapes) -> None:
    """The warm-up, whose texts are the donors too, and each prompt once, once more with random weights."""
    her = [text for text in SENTENCES if text.count(" her ") == 1]
    ll.warmup_study(model, random_init=random)
    warmup = total(shapes)
    shapes.clear()
    ll.sequential_study(model, her, random_init=random, geometries=geometries, n_draws=2, n_perm=99)
    lengths = [len(model.tokenizer(text, add_special_tokens=False)["input_ids"]) for text in her]
    prompts = (len(set(lengths)), sum(lengths))
    probe = [(1, 8)] if geometries else []
    assert total(shapes) == summed(warmup, *[prompts] * (1 + random), *probe)


def test_paths(model: Any, tokens: torch.Tensor, shapes: Shapes) -> None:
    """Each text once; a short text, twice, shows how logits are made."""
    ll.path_study(model, tokens, n_perm=99)
    assert total(shapes) == summed(whole(N, LENGTH), (2, 16))


def test_speech(model: Any, shapes: Shapes) -> None:
    """Each window of a passage once."""
    found = ll.speech_study(model, n_texts=4, n_perm=99)
    windows = found.settings["windows"]
    assert 1 < len(shapes) <= windows
    assert sum(batch for batch, _ in shapes) == windows


@pytest.mark.parametrize("random", [False, True])
def test_rotation(model: Any, random: bool, shapes: Shapes) -> None:
    """Each prompt once, once more with random weights."""
    her = [text for text in SENTENCES if text.count(" her ") == 1]
    ll.rotation_study(model, her, random_init=random, n_perm=99)
    lengths = [len(model.tokenizer(text, add_special_tokens=False)["input_ids"]) for text in her]
    assert total(shapes) == summed(*[(len(set(lengths)), sum(lengths))] * (1 + random))


@pytest.mark.parametrize("own", [False, True])
def test_trajectories(model: Any, own: bool, shapes: Shapes) -> None:
    """Each prompt once with each word; of groups with prompts of their own, each prompt once."""
    her, words = [text for text in SENTENCES if text.count(" her ") == 1], (" her", " him", " round")
    swapped = {word: [text.replace(" her ", f"{word} ") for text in her] for word in words}
    ll.trajectory_study(model, swapped if own else her, occurrence="first")
    texts = [text for group in swapped.values() for text in group]
    lengths = [len(model.tokenizer(text, add_special_tokens=False)["input_ids"]) for text in texts]
    assert total(shapes) == (len(set(lengths)), sum(lengths))


def test_the_count_sees_what_is_run_twice(
    model: Any, tokens: torch.Tensor, shapes: Shapes, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The control: a study that runs its texts twice does not pass."""
    once = Batch.run

    def twice(*args: Any, **how: Any) -> None:
        once(*args, **how)
        once(*args, **how)

    monkeypatch.setattr(Batch, "run", twice)
    ll.sink_study(model, tokens, random_init=False)
    assert total(shapes) == summed(whole(N, LENGTH), whole(N, LENGTH))
