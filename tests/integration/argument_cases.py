"""Every public function, every parameter, values of every wrong kind: in a process of its own, without the
hook that checks annotations before our own errors are reached.

    python argument_cases.py FOLDER [--bridge]      # one line a call that broke the rule, then the count
"""

import contextlib
import faulthandler
import inspect
import io
import os
import re
import sys
import tempfile
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
import xarray as xr

import laminar_lens as ll
from laminar_lens.geometry import Geometry, fit_geometry
from laminar_lens.stats.sinks import sink_tokens
from laminar_lens.studies.mask_files import token_masks
from laminar_lens.studies.sinks.study import Sinks

TEXTS = [
    "He gave her the book.",
    "They admired her courage.",
    "In the morning he drove her.",
    "A boy gave her it.",
]


class Ran(BaseException):
    """The arguments were taken: a pass would begin."""


def values() -> Iterator[tuple[str, Any]]:
    """What nobody means; made anew for each call, as a generator is used up."""
    yield "None", None
    yield from {"text": "no", "blank": " ", "surrogate": "\ud800", "bytes": b"x"}.items()
    yield from {"True": True, "False": False, "numpy true": np.True_}.items()
    yield from {"float": 0.5, "nan": float("nan"), "inf": float("inf"), "complex": 1j}.items()
    yield from {"minus": -1, "0": 0, "2": 2, "huge": 2**63, "vast": 2**200, "long": 10**5000}.items()
    yield from {"empty": [], "list": [1.5, None], "flags": [True, False], "bytes list": [b"x"]}.items()
    yield from {"texts": ["\ud800", "x"], "deep": [[1], [2, 3]], "dict": {"a": 1}, "set": {3, "x"}}.items()
    yield from {"object": object(), "class": int, "slice": slice("a", None), "range": range(3)}.items()
    yield from {"tensor": torch.rand(2, 3), "ints": torch.ones(2, 3, dtype=torch.long)}.items()
    yield from {"bools": torch.ones(2, 3, dtype=torch.bool), "0-d": torch.tensor(True)}.items()
    yield from {
        "array": np.ones((2, 2)),
        "strings": np.array(["a", "b"]),
        "dates": np.zeros(2, "M8[s]"),
    }.items()
    yield from {
        "objects": np.array([None, "a"], object),
        "uint64": np.full((1, 2), 2**64 - 1, np.uint64),
    }.items()
    yield from {"sparse": torch.eye(2).to_sparse(), "meta": torch.ones(2, 3, device="meta")}.items()
    yield "generator", (entry for entry in ("a", 2))
    yield "function", lambda *given: None


def tagged(text: str) -> list[tuple[int, int, str]]:
    """Words by turns nouns, adjectives, verbs and function words."""
    places = [found.span() for found in re.finditer(r"\w+", text)]
    tags = ("NOUN", "ADJ", "VERB", "DET")
    return [(start, end, tags[at % len(tags)]) for at, (start, end) in enumerate(places)]


def doors(model: Any, folder: Path) -> dict[str, tuple[Callable[..., Any], dict[str, Any]]]:
    """Each public function, and arguments that it takes."""
    found, cache = model.run_with_cache(TEXTS[0], return_type=None), {}
    cache = found[1] if isinstance(found, tuple) else found
    states = ll.capture_residuals(model, TEXTS)
    few = {"n_texts": 4, "length": 6}
    small: dict[str, Any] = {"model": model, **few}
    warm = ll.warmup_study(**small, random_init=False)
    made = ll.StudyResult(ll.angle_table(model, TEXTS, interventions=ll.cut(1)))
    file = made.save(folder / "angles.nc")
    centred = fit_geometry(model, "centred", **few)
    prompts = folder / "prompts.txt"
    prompts.write_text("\n".join(TEXTS), encoding="utf-8")
    x = torch.randn(3, 2, 5, 8)
    x_array, labels = x.numpy(), ["a", "a", "b", "b"]
    tokens = torch.tensor([[3, 4, 5], [6, 7, -1]])
    study: dict[str, Any] = {"model": model, "prompts": TEXTS}
    of = {"backend": "auto"}
    return {
        **{
            name: (getattr(ll, name), {"model": model, "texts": None, **few})
            for name in (
                *("warmup_study", "why_study", "sink_study", "dimension_study", "decomposition_study"),
                "path_study",
            )
        },
        "warmup_study (texts)": (
            ll.warmup_study,
            {"model": model, "texts": TEXTS, "length": 4, "groups": labels},
        ),
        "sequential_study": (ll.sequential_study, {**study, "warmup": False}),
        "rotation_study": (ll.rotation_study, study),
        "speech_study": (ll.speech_study, {"model": model, "texts": TEXTS, "tagger": tagged, "n_texts": 4}),
        "trajectory_study": (ll.trajectory_study, study),
        "sensitivity_grid": (ll.sensitivity_grid, {**study, "texts": None, **few}),
        "angle_table": (ll.angle_table, study),
        "capture_residuals": (ll.capture_residuals, study),
        "capture_residuals (ids)": (
            ll.capture_residuals,
            {"model": model, "prompts": tokens, "mask": tokens >= 0},
        ),
        "iter_residuals": (ll.iter_residuals, study),
        "residuals_from_cache": (ll.residuals_from_cache, {"cache": cache, "cfg": model.cfg}),
        "AngleMeter": (ll.AngleMeter, {"model": model}),
        "describe": (ll.describe, {"model": model}),
        "random_twin": (ll.random_twin, {"model": model}),
        "load_model": (ll.load_model, {"name_or_path": str(folder / "model")}),
        "sample_tokens": (ll.sample_tokens, {"model": model, "n": 2, "length": 4}),
        "token_masks": (token_masks, {"model": model, "texts": TEXTS, "skip": 1}),
        "fit_geometry": (fit_geometry, {"model": model, "name": "centred", **few}),
        "mask (tokens)": (warm.mask, {"tokens": tokens}),
        "mask (states)": (warm.mask, {"states": states}),
        "sink_tokens": (sink_tokens, {"values": x_array, "mask": np.ones((2, 5), bool)}),
        "her_prompts": (ll.her_prompts, {}),
        "passages": (ll.passages, {}),
        "read_prompts": (ll.read_prompts, {"path": prompts}),
        "run": (ll.run, {"study": Sinks(), "model": model, "texts": TEXTS, "random_init": False}),
        "compare": (ll.compare, {"results": {"a": warm, "b": warm}}),
        "merge": (ll.merge, {"parts": [warm, warm]}),
        "register": (ll.register, {"study": Sinks}),
        "band": (ll.band, {"values": xr.DataArray(x_array[0, 0], dims=("text", "layer"), name="x")}),
        "named": (ll.named, {"layers": [1, 2]}),
        "load_result": (ll.load_result, {"path": file}),
        "StudyResult": (ll.StudyResult, {"dataset": made.dataset}),
        "condition": (made.condition, {"name": "plain"}),
        "contrast": (made.contrast, {"a": "cut(1)", "what": "sequential"}),
        "save": (made.save, {"path": folder / "again.nc"}),
        "report": (made.report, {"path": folder / "again.html"}),
        "to_csv": (warm.table("by_layer").to_csv, {"path": folder / "again.csv"}),
        "text": (warm.table("by_layer").text, {"width": 80}),
        "apply": (centred.apply, {"layer": 1, "state": states.values[1]}),
        "observe": (ll.AngleMeter(model).observe, {"layer": 1, "state": states.values[1]}),
        "ProgressLines": (ll.ProgressLines, {}),
        "bos": (ll.bos, {}),
        "prefix": (ll.prefix, {"text": "Once"}),
        **{name: (getattr(ll, name), {"t": 2}) for name in ("cut", "restart")},
        "no_context": (ll.no_context, {"t": 2}),
        "set_position": (ll.set_position, {"t": 2, "p": 3}),
        "remove_dimensions": (ll.remove_dimensions, {"dims": [1]}),
        "remove_write": (ll.remove_write, {"component": "mlp", "blocks": 1}),
        "custom": (ll.custom, {"name": "mine", "hook_point": "hook_embed", "function": abs}),
        "register_measure": (ll.register_measure, {"name": "mine", "function": abs}),
        "register_geometry": (ll.register_geometry, {"geometry": Mine}),
        "scale_norm": (ll.scale_norm, {"factor": 2.0, "layers": 1}),
        "patch_residual": (ll.patch_residual, {"states": states, "layers": 1}),
        "angle": (ll.angle, {"u": x, "v": x, **of}),
        "pair_angles": (ll.pair_angles, {"resid": x, "pairs": [[0, 1]], **of}),
        "angle_profile": (ll.angle_profile, {"states": x, **of}),
        **{
            name: (getattr(ll, name), {"resid": x, **of})
            for name in (
                "sequential_angles",
                "rotation_angles",
                "pairwise_angles",
                "turning_angles",
                "step_lengths",
            )
        },
    }


class Mine(Geometry):
    """A geometry of a user's."""

    name = "mine"

    def map(self, layer: int, state: torch.Tensor) -> torch.Tensor:
        return state


def complaint(call: Callable[..., Any], given: dict[str, Any], *, must_refuse: bool = False) -> str:
    """What is wrong with how a call ended; empty for success, a pass that begins, or one clear line."""
    try:
        call(**given)
    except Ran:
        return "taken as a truth" if must_refuse else ""
    except ll.LaminarLensError as error:
        text = str(error)
        if "\n" in text or len(text) > 600:
            return f"not one line: {text[:200]!r}"
        try:
            text.encode()
        except UnicodeEncodeError:
            return f"the message itself has a lone surrogate: {text!r}"
        return ""
    except BaseException as error:  # a panic of a native library is one
        return f"{type(error).__name__}: {' '.join(str(error).split())[:160]}"
    return "taken as a truth" if must_refuse else ""


def main(folder: Path, bridge: bool) -> int:
    """Runs all; returns the number of calls that broke the rule."""
    model = ll.load_model(str(folder / "model"), bridge=True if bridge else None)
    table = doors(model, folder)
    missing = set(ll.__all__) - {name.split(" ")[0] for name in table}
    missing -= {"__version__", "ResidualStates", "LaminarLensError", "Study", "Answer", "Claim"}
    assert not missing, f"public, but not tried: {sorted(missing)}"

    def ran(*given: Any, **more: Any) -> None:
        raise Ran

    for owner in (
        {type(model), type(model.original_model)} if hasattr(model, "original_model") else {type(model)}
    ):
        owner.forward = ran  # checks come first: what reaches a pass was accepted
    calls, broken = 0, 0
    for name, (call, good) in table.items():
        for parameter, about in inspect.signature(call).parameters.items():
            for kind, value in values():
                calls += 1
                is_flag = isinstance(about.default, bool) and not isinstance(value, bool | np.bool_)
                with contextlib.redirect_stdout(io.StringIO()):
                    wrong = complaint(call, {**good, parameter: value}, must_refuse=is_flag)
                if wrong:
                    broken += 1
                    print(f"{name}({parameter}={kind}): {wrong}", flush=True)
    print(f"{calls} calls, {broken} broken")
    return broken


if __name__ == "__main__":
    faulthandler.dump_traceback_later(540, exit=True)
    warnings.simplefilter("ignore")
    with tempfile.TemporaryDirectory() as scratch:
        (Path(scratch) / "model").symlink_to(Path(sys.argv[1]).resolve())
        os.chdir(scratch)  # "no" and " " are names of files, which some calls write
        sys.exit(min(1, main(Path(scratch), "--bridge" in sys.argv)))
