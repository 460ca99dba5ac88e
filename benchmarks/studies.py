"""What the studies cost beside their forward passes: processor time of one thread, on the model smollm2.

After each pass of a study, the same tokens go through Hugging Face's trunk and through TransformerLens's own
forward, so that load on the machine meets all three. The study's time is without those two. Loading the model
and drawing the page are no part of it.
"""

import contextlib
import functools
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch

MODEL = "smollm2"
TEXTS = {"sequential": 120, "warmup": 120, "why": 120, "sinks": 120, "dimensions": 120}
TEXTS |= {"decomposition": 120, "rotation": 54, "paths": 120, "trajectories": 54, "speech": 60}
"""Passages; a sequential study's warm-up takes them, beside its 54 prompts, all that a study of rotation or
trajectories has; a speech study has 60 with tags, which it reads whole."""
WAYS = ("study", "transformer_lens", "hugging_face")


@dataclass
class Spent:
    """Processor seconds, and what was run.

    Attributes:
        whole: of the study, its passes included.
        lens, face: of TransformerLens's own forward and of Hugging Face's trunk, on the tokens of its passes.
    """

    whole: float = 0.0
    lens: float = 0.0
    face: float = 0.0
    passes: int = 0
    tokens: int = 0


def study_calls(model: Any, texts: dict[str, int]) -> dict[str, Callable[[], Any]]:
    """Each study by name; its random twin, its intervals and claims are in it."""
    import laminar_lens as ll
    from laminar_lens.studies.sequential.command import Part

    how: dict[str, Any] = {"texts": "passages"}
    return {
        "sequential": lambda: ll.sequential_study(
            model, ll.her_prompts(), warmup=Part(n_texts=texts["sequential"])
        ),
        "warmup": lambda: ll.warmup_study(model, n_texts=texts["warmup"], **how),
        "why": lambda: ll.why_study(model, n_texts=texts["why"], **how),
        "sinks": lambda: ll.sink_study(model, n_texts=texts["sinks"], **how),
        "dimensions": lambda: ll.dimension_study(model, n_texts=texts["dimensions"], **how),
        "decomposition": lambda: ll.decomposition_study(model, n_texts=texts["decomposition"], **how),
        "paths": lambda: ll.path_study(model, n_texts=texts["paths"], **how),
        "speech": lambda: ll.speech_study(model, n_texts=texts["speech"]),
        "trajectories": lambda: ll.trajectory_study(model, ll.her_prompts()[: texts["trajectories"]]),
        "rotation": lambda: ll.rotation_study(model, ll.her_prompts()[: texts["rotation"]]),
    }


def spent_on(call: Callable[[], Any], model: Any, trunk: Callable[[torch.Tensor], Any]) -> Spent:
    """Runs a study, and after each of its passes the other two ways."""
    spent, beside = Spent(), 0.0

    def compare(runner: Any, tokens: torch.Tensor) -> None:
        nonlocal beside
        start = time.process_time()
        with torch.no_grad():
            runner.forward(tokens, return_type=None)
            middle = time.process_time()
            trunk(tokens)
        end = time.process_time()
        spent.lens += middle - start
        spent.face += end - middle
        beside += end - start
        spent.passes, spent.tokens = spent.passes + 1, spent.tokens + tokens.numel()

    with _after_each_pass(type(model), compare):
        start = time.process_time()
        call()
        spent.whole = time.process_time() - start - beside
    return spent


@contextlib.contextmanager
def _after_each_pass(kind: Any, look: Callable[[Any, torch.Tensor], None]) -> Iterator[None]:
    """Calls `look` after every run with hooks, outside of its hooks; a study ends a pass by an exception."""
    run = kind.run_with_hooks

    @functools.wraps(run)
    def looked_at(self: Any, tokens: torch.Tensor, *given: Any, **more: Any) -> Any:
        try:
            return run(self, tokens, *given, **more)
        finally:
            look(self, tokens)

    kind.run_with_hooks = looked_at
    try:
        yield
    finally:
        kind.run_with_hooks = run


def hugging_face_trunk() -> Callable[[torch.Tensor], Any]:
    """The same weights without this package or the unembedding; attention as Hugging Face chooses."""
    import gguf
    from transformers import AutoModelForCausalLM
    from transformers.utils import logging

    from laminar_lens.models.smollm2 import smollm2_file

    logging.disable_progress_bar()
    gguf.get_tensor_name_map = functools.cache(gguf.get_tensor_name_map)  # asked for 400 times
    file = smollm2_file()
    hf = AutoModelForCausalLM.from_pretrained(file.parent, gguf_file=file.name, dtype=torch.float32).eval()
    return lambda tokens: hf.model(tokens, use_cache=False)


def one_thread() -> None:
    """Before anything is measured."""
    torch.set_num_threads(1)


def study_rows(names: Sequence[str]) -> Iterator[dict[str, str]]:
    """Rows of the table, three a study, as soon as they are measured."""
    import laminar_lens as ll

    model, trunk = ll.load_model(MODEL), hugging_face_trunk()
    calls = study_calls(model, TEXTS)
    for name in names:
        spent = spent_on(calls[name], model, trunk)
        shape = f"{name}, {TEXTS[name]} texts: {spent.tokens:,} tokens in {spent.passes} passes"
        for way, seconds in zip(WAYS, (spent.whole, spent.lens, spent.face), strict=True):
            yield {
                "op": "study",
                "backend": way,
                "shape": shape,
                "dtype": "float32",
                "p50_ms": f"{1e3 * seconds:.0f}",
                "status": "ok",
            }
