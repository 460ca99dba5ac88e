"""A study's sentence read against its claims: a reader who knows neither how it is written nor why.

Of each claim there is one pattern a verdict; the sentence must match that of the claim's own verdict and no
other. Numbers with decimals or per cent must stand in the claims or tables, to the digits shown; a warm-up's
numbers of tokens, and the layers it names, must be those of its answer.
"""

import functools
import json
import math
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

from laminar_lens.results import StudyResult, claim_rows, label_dataset
from laminar_lens.studies.study import Answer


def only_if_it_holds(pattern: str) -> dict[str, str]:
    """Of a claim that is spoken of only where it holds."""
    return {"holds": pattern, "fails": f"^(?!.*{pattern})", "undetermined": f"^(?!.*{pattern})"}


SINKS = {
    "S1": {
        "holds": "[Pp]osition 0 is a sink in layer",
        "fails": "[Nn]o sink at position 0 by length",
        "undetermined": "[Uu]ndetermined whether position 0 is a sink",
    },
    "S2": {
        "holds": "Attention rests on it: [1-9]",
        "fails": "Attention does not rest on it: no head|The model shows no attention",
        "undetermined": "Whether attention rests on it is undetermined|The model shows no attention",
    },
    "S4": {
        "holds": "It is written mostly by MLPs",
        "fails": "It is written mostly by attention|No block writes it|It is (in|as long in) the embedding",
        "undetermined": "Whether it is written mostly by MLPs is undetermined",
    },
    "S5a": {
        "holds": "[0-9]% of that is gone in the last hidden state",
        "fails": "Most of that stays",
        "undetermined": "Whether most of that is gone in the last hidden state is undetermined",
    },
    "S5b": {
        "holds": ", taken away mostly by MLPs",
        "fails": "taken away mostly by attention|no block shortens it",
        "undetermined": "whether taken away mostly by MLPs is undetermined",
    },
    "S5c": {
        "holds": "; it is a sink no longer there",
        "fails": "; it still is a sink there",
        "undetermined": "; whether it still is a sink there is undetermined",
    },
    "S6": {
        "holds": "Tokens beside it carry such vectors",
        "fails": "^(?!.*Tokens beside it)",
        "undetermined": "Tokens beside it may carry such vectors",
    },
}
SEQUENTIAL = {
    "C1": {
        "holds": "The angle at the target is much wider than the target's rotation",
        "fails": "The angle at the target is not much wider than the target's rotation",
        "undetermined": "Whether the angle at the target is much wider than [^;]* is undetermined",
    },
    "C3": {
        "holds": "; it varies less over prompts than that of unrelated pairs",
        "fails": "; it does not vary less over prompts",
        "undetermined": "; whether it varies less over prompts than [^.]* is undetermined",
    },
    "C4": {
        "holds": r"baseline splits in two .* \(as published\)",
        "fails": r"baseline splits in two .* \(elsewhere than published\)|baseline does not split",
        "undetermined": r"splits in two in (?!.*\((?:as|elsewhere than) published\))|could hide|"
        "Undetermined whether the [a-z]+ baseline splits",
    },
    "C5": {
        "holds": "; the upper group is the pairs with position 0",
        "fails": "; the upper group is not exactly the pairs with position 0",
        "undetermined": "; whether the upper group is the pairs with position 0 is undetermined",
    },
}
DIMENSIONS = {
    "D1": {
        "holds": "^Three dimensions make over half of the first pair's cosine",
        "fails": "^No three dimensions make (half of )?the first pair's cosine",
        "undetermined": "^Undetermined whether three dimensions make half of the first pair's cosine",
    },
    "D2": only_if_it_holds("also make over half of the cosine between position 0 and the body"),
    "D3": only_if_it_holds("also make over half of the cosine .*of neighbours in the body"),
    "D4": {
        "holds": "After centring on other texts, three dimensions make half",
        "fails": "After centring on other texts, three dimensions do not make half",
        "undetermined": "After centring on other texts, three dimensions may or may not make half",
    },
}
DECOMPOSITION = {
    "W1": {
        "holds": "[Aa]ttention's and the MLP's writes to a token are related in layer",
        "fails": "writes to a token are no more related than those to different tokens",
        "undetermined": "[Ww]hether attention's and the MLP's writes to a token are related is undetermined",
    },
    "W2": {
        "holds": "The two are close to orthogonal on average",
        "fails": "The two are not close to orthogonal on average [^:]* in layer",
        "undetermined": "Whether the two are close to orthogonal is undetermined",
    },
    "W3": {
        "holds": r"\. MLPs write longer vectors than attention",
        "fails": "MLPs write shorter vectors than attention",
        "undetermined": "Whether MLPs write longer vectors than attention is undetermined",
    },
    "W4": {
        "holds": "Steps turn more than they lengthen or shorten in every",
        "fails": "Not every step turns more than it lengthens or shortens",
        "undetermined": "Undetermined whether every step turns more than it lengthens or shortens",
    },
}
ROTATION = {
    "R2": {
        "holds": "; both turn it more than each block between",
        "fails": "; they are not the two that turn it most",
        "undetermined": "; whether both turn it more than each block between is undetermined",
    },
    "R3": {
        "holds": "It and the word before it turn alike, within",
        "fails": "It and the word before it turn differently, by over .* rad in layer",
        "undetermined": "Whether it and the word before it turn alike, within .*, is undetermined",
    },
}


def _correlates(name: str) -> dict[str, dict[str, str]]:
    start = f"Path length and the {name} of the true next token"
    rest = r"[^.]*(?:[.]\d[^.]*)*"  # to the end of the sentence
    then = {"holds": "do,", "fails": "do not to speak of,", "undetermined": "may or may not,"}
    none = f"|{start}: no correlation is defined"
    return {
        "a": {
            "holds": f"{start} correlate: r",
            "fails": f"{start} do not correlate to speak of",
            "undetermined": f"{start} may or may not correlate{none}",
        },
        **{
            letter: {
                one: rf"{start}{rest}{where} they {words}{none if one == 'undetermined' else ''}"
                for one, words in then.items()
            }
            for letter, where in (
                ("b", "; without position 0"),
                ("c", "; without position 0 and with token frequency held fixed"),
            )
        },
    }


TRAJECTORIES = {
    "T1": {
        "holds": "the first two axes show over half of the squared distance between any two, in every layer",
        "fails": "the first two axes leave out over half of the squared distance between some two, in layer",
        "undetermined": "whether the first two axes show half of [^.]* is undetermined",
    },
    "T2": {
        "holds": "norm, all of them are farther apart in the last third of the layers than in the first\\.",
        "fails": "some of them are nearer in the last third of the layers than in the first\\.",
        "undetermined": "Whether, relative to their norm, all of them are farther [^.]* is undetermined",
    },
    "T3": {
        "holds": "\\. The first axis is position 0",
        "fails": "part of the PCA, but not its first axis",
        "undetermined": "Whether the first axis is position 0 is undetermined",
    },
}
PATHS = {
    **{f"P1{letter}": patterns for letter, patterns in _correlates("logit").items()},
    **{f"P2{letter}": patterns for letter, patterns in _correlates("log-probability").items()},
    "P3": {
        "holds": "The norm grows, ",
        "fails": "The norm shrinks, ",
        "undetermined": "Whether the norm grows is undetermined: ",
    },
}
SPEECH = {
    "N1": {
        "holds": "^Nouns have longer paths than adjectives, matched",
        "fails": "^Nouns (do not have longer|have shorter) paths than adjectives, matched",
        "undetermined": "^Whether nouns have longer paths than adjectives, matched",
    },
    "N2": {
        "holds": "as they are they have longer ones: ",
        "fails": "as they are they (do not have longer ones, by a hundredth or more|have shorter ones): ",
        "undetermined": "as they are they may or may not have longer ones: ",
    },
    "N3": {
        "holds": "The published form, [^.]*, says the same, (not )?longer by more than a hundredth: ",
        "fails": "The published form, [^.]*, says otherwise, (not )?longer by more than a hundredth: ",
        "undetermined": "The published form, [^.]*, says nothing that could be compared: ",
    },
}
CAUSES = ("position", "context", "either", "jointly", "none", "undetermined")
READ: Mapping[str, Mapping[str, Mapping[str, str]]] = {
    "sinks": SINKS,
    "sequential": SEQUENTIAL,
    "dimensions": DIMENSIONS,
    "decomposition": DECOMPOSITION,
    "rotation": ROTATION,
    "paths": PATHS,
    "speech": SPEECH,
    "trajectories": TRAJECTORIES,
    "why": {"C8": {cause: f"^{cause.capitalize()}: " for cause in CAUSES}},
}
LEVEL = re.compile("95% (?=CI|band)|(?<= rad), 95%\\)")
TOLERANCE = re.compile(r"\(±(\S+) rad, 95%\)")
"""Of what is enough."""
LARGEST = re.compile(r"are up to (\S+) rad \w+, in layer (\d+) \(simultaneous 95% band ([^)]*)\)")
"""Of a warm-up: the largest difference that was shown."""
LONGEST = re.compile("(?:up to|at most|is a sink:) (\\S+) times the text's median length")
KEYWORD = re.compile(r"\b[a-z]\w*=['\w ]")
"""Python's way to give an option, which the command line does not have."""
TOLD = ("text", "evidence", "reason")
"""Of a claim, in sentences."""
SENTENCES = re.compile(r"(?<=[.!?]) +(?!torch)")
"""Between two; torch is a name."""
IN_PYTHON = "model.reset_hooks("
"""Of hooks that were left on a model, which a command line has no way to do."""
TABULATED = re.compile(r"(part_rotation|part_growth|tortuosity|run)(_estimate|_low|_high)?$")
"""Variables that stand in a table and may be told."""
NUMBER = re.compile(r"(?<![\w.])−?\d[\d,]*(?:\.\d+)?%?")


def check_said(result: StudyResult) -> None:
    """Refuses a sentence that says another thing than its claims, and an open claim that does not say why.

    Raises:
        AssertionError: the claim, or the number that stands nowhere else.
    """
    claims = {row["claim"]: row for row in claim_rows(result.dataset)}
    for name, row in claims.items():
        assert bool(row["reason"]) == (row["verdict"] == "undetermined"), f"{name}: {row}"
    for name, patterns in (READ.get(result.kind, {}) if claims else {}).items():
        verdict = claims[name]["verdict"]
        own = None if silent(name, claims, result.sentence) else patterns[verdict]
        said = {pattern for pattern in patterns.values() if re.search(pattern, result.sentence)}
        assert said == {own} - {None}, f"{name} {verdict}, but {result.sentence!r} says {said}"
    for text in (result.sentence, *(row[key] for row in claims.values() for key in TOLD), *result.warnings):
        small = [one for one in SENTENCES.split(text.strip()) if one[:1].islower()]
        assert not small, f"{small} of {text!r} begins with a small letter"
    for note in result.warnings:
        assert not KEYWORD.search(note) or IN_PYTHON in note, f"{note!r} is in the words of Python"
    for text in TOLERANCE.findall(result.sentence):
        known = [one.settings["tau"] for one in (result, *result.parts()) if "tau" in one.settings]
        assert [float(text)] == known, f"±{text} of {result.sentence!r} is not {known}"
    check_leave_out(result)
    check_causes(result)
    if longest := LONGEST.search(result.sentence):
        assert shows(longest[1], claims["S1"]["estimate"]), result.sentence
    known = list(numbers(result, claims.values()))
    known += [number for part in result.parts() for number in numbers(part, claim_rows(part.dataset))]
    for text in NUMBER.findall(LEVEL.sub("", LARGEST.sub("", result.sentence))):
        if "." in text or "%" in text:
            assert any(shows(text, value) for value in known), f"{text} of {result.sentence!r} stands nowhere"


def reading(kind: str, answer: Callable[..., Answer]) -> Callable[..., Answer]:
    """What answers a study, whose every sentence is then read against its claims."""

    @functools.wraps(answer)
    def read(*given: Any, **how: Any) -> Answer:
        made = answer(*given, **how)
        labels: dict[str, Any] = {"provenance": {}, "settings": {}, "warnings": made.notes}
        check_said(StudyResult(label_dataset(made.dataset, study=kind, sentence=made.sentence, **labels)))
        return made

    return read


def silent(name: str, claims: Mapping[str, Mapping[str, Any]], sentence: str) -> bool:
    """Whether a sentence has nothing to say of a claim."""
    if claims[name]["verdict"] == "not applicable":
        return True
    if name in ("S4", "S5a", "S5b", "S5c"):
        return bool(claims["S1"]["verdict"] != "holds")
    return name == "C5" and "splits in two in" not in sentence


def check_leave_out(result: StudyResult) -> None:
    """What a warm-up says to do, or one that a study keeps, is what it found, in all layers and in each."""
    data = next((one.dataset for one in (result, *result.parts()) if one.kind == "warmup"), None)
    if data is None or "verdict" not in data.attrs:
        return
    verdict, k_lo, k_hi = (data.attrs[name] for name in ("verdict", "k_lo", "k_hi"))
    sentence, layers = result.sentence, data["layer"].values
    each = data["k_hi"].values
    assert sentence.startswith("Undetermined") == (verdict == "undetermined"), sentence
    assert sentence.startswith("Drift") == (verdict == "drift"), sentence
    if verdict in ("exact", "bracketed"):
        assert (each <= k_hi).all()
        first = re.match(r"Leave out the first (?:(\d+) tokens|token): enough", sentence)
        assert (int(first[1] or 1) if first else 0) == k_hi, sentence
        if least := re.search(r"(\d+) (?:is|are) necessary", sentence):
            assert int(least[1]) == k_lo, sentence
        if fewer := re.search(r"(\d+) (?:is|are) enough in layers? ([^.]*?)\.", sentence):
            named = set(layers_of(fewer[2]))
            assert named == set(layers[(each >= 0) & (each <= int(fewer[1]))].tolist()), sentence
    if largest := LARGEST.search(sentence):
        row = layers.tolist().index(int(largest[2]))
        curves = [data[name].values[row] for name in ("delta", "band_low", "band_high")]
        [*_, shown] = [k for k, size in enumerate(curves[0]) if shows(largest[1], size)]
        assert all(any(shows(end, curve[shown]) for curve in curves[1:]) for end in largest[3].split("–"))
    if more := re.search(r"At least (\d+) tokens? must go", sentence):
        assert int(more[1]) == k_lo, sentence


def check_causes(result: StudyResult) -> None:
    """A layer that a cause is named in has that cause in its own row, or the sentence says what it has."""
    if result.kind != "why":
        return
    own = dict(zip(result.dataset["layer"].values.tolist(), result.dataset["verdict"].values, strict=True))
    each = result.sentence.partition("Layer by layer, the answer is ")[2]
    besides = {
        layer: cause
        for cause, layers in re.findall(r"(\w+) in layers? (\d[\d–, ]*(?:and [\d–]+)?)", each)
        for layer in layers_of(layers)
    }
    for found in json.loads(result.dataset.attrs["found"]):
        for layer in found["layers"]:
            said = besides.get(layer, found["verdict"])
            assert own[layer] == said, f"layer {layer} is {own[layer]}, but {result.sentence!r}"


def layers_of(text: str) -> Iterator[int]:
    """The numbers in `2–4 and 7`."""
    for first, last in re.findall(r"(\d+)(?:–(\d+))?", text):
        yield from range(int(first), int(last or first) + 1)


def numbers(result: StudyResult, claims: Iterable[Mapping[str, Any]]) -> Iterator[float]:
    """What claims hold, their evidence in its digits, tolerances, what a warm-up or a split measured."""
    for row in claims:
        yield from (row[name] for name in ("estimate", "low", "high"))
        for text in NUMBER.findall(row["evidence"]):
            yield value_of(text) / (100 if "%" in text else 1)
    data = result.dataset
    for name, value in data.attrs.items():
        if name.endswith("effects"):
            yield from (x for x in leaves(json.loads(value)) if isinstance(x, float))
        elif name.endswith("tau"):
            yield float(value)
        elif name.endswith("reference_start"):  # the last pair that is tested
            delta = data[f"{name.removesuffix('reference_start')}delta"].values
            yield from delta[:, int(value) - 1].tolist()
    for name in data.variables:
        if str(name).endswith("tolerance") or TABULATED.match(str(name)):
            yield from data[name].values.ravel().tolist()
        if name == "run_estimate":  # of π, and in radians
            yield from (data[name].values * math.pi).tolist()
    if "mode_low_mean" in data:
        two = data["two_modes"].values == 1
        yield from (
            float(data[f"mode_{side}_mean"].values[two].mean()) for side in ("low", "high") if two.any()
        )


def shows(text: str, value: float) -> bool:
    """Whether a number is another one, rounded as it is written; a direction may be said in words."""
    if math.isnan(value):
        return False
    digits = len(text.rstrip("%").partition(".")[2])
    scale = 100 if text.endswith("%") else 1
    return abs(abs(value_of(text)) - abs(value) * scale) <= 0.5001 * 10**-digits


def value_of(text: str) -> float:
    return float(text.rstrip("%").replace("−", "-").replace(",", ""))


def leaves(value: Any) -> Iterator[Any]:
    """Every number in nested lists and dictionaries."""
    if isinstance(value, dict | list):
        for one in value.values() if isinstance(value, dict) else value:
            yield from leaves(one)
    else:
        yield value
