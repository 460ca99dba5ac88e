"""Every number of a speech study of smollm2, in loops over Hugging Face's own states, in float64."""

import re
from collections import Counter
from itertools import combinations
from typing import Any

import numpy as np
import pytest
import torch

import laminar_lens as ll
from laminar_lens.texts.tags import FILE
from tests.real.conftest import Reference
from tests.said import check_said

N, LAYERS = 4, 30
NAMES = ("nouns", "verbs", "adjectives", "function words")
KINDS = {"NOUN": 0, "VERB": 1, "ADJ": 2}
KINDS |= dict.fromkeys(("ADP", "AUX", "CCONJ", "DET", "PART", "PRON", "SCONJ"), 3)


Passage = tuple[str, list[tuple[int, int, str]]]


@pytest.fixture(scope="module")
def tagged() -> list[Passage]:
    """Some passages, with start, end and tag of each word."""
    found = []
    for line in FILE.read_text(encoding="utf-8").splitlines()[:N]:
        number, items = line.split("\t")
        text, words, start = ll.passages()[int(number) - 1], [], 0
        for item in items.split(" "):
            word, tag = item.rsplit("_", 1)
            start = text.index(word, start)
            words.append((start, start + len(word), tag))
            start += len(word)
        found.append((text, words))
    return found


@pytest.fixture(scope="module")
def result(smollm2: Any, tagged: list[Passage]) -> Any:
    known = dict(tagged)
    return ll.speech_study(smollm2, list(known), tagger=lambda text: known[text], n_perm=99)


@pytest.fixture(scope="module")
def words(tagged: list[Passage], reference: Reference) -> list[list[dict[str, Any]]]:
    """Of each passage its words with what is measured of each, and its states."""
    spelled = re.compile(r"\w+?(?=n['’]t\b)|n['’]t\b|['’](?:[smd]|ll|re|ve)\b|\w+")
    counts = Counter(part for text in ll.passages() for part in spelled.findall(text.casefold()))
    found = []
    for text, spans in tagged:
        encoded = reference.tokenizer(text, return_offsets_mapping=True, add_special_tokens=False)
        states = reference.states(torch.tensor([encoded["input_ids"]]))[:, 0].double().numpy()
        owners = []
        for a, b in encoded["offset_mapping"]:
            inside = {c for c in range(a, b) if not text[c].isspace()}
            owners.append([k for k, (start, end, _) in enumerate(spans) if inside & set(range(start, end))])
        row = []
        for k, (start, end, tag) in enumerate(spans):
            kind = KINDS.get(tag, -1)
            own = [token for token, of in enumerate(owners) if k in of]
            if kind < 0 or not own or own[0] == 0 or any(len(owners[token]) > 1 for token in own):
                continue
            x = states[:, own[-1]]
            step, turn, away = np.zeros((3, LAYERS))
            for layer in range(LAYERS):
                step[layer] = np.linalg.norm(x[layer + 1] - x[layer])
                away[layer] = np.linalg.norm(x[layer + 1] - x[0])
                a, b = (one / np.linalg.norm(one) for one in (x[layer], x[layer + 1]))
                turn[layer] = 2 * np.arctan2(np.linalg.norm(a - b), np.linalg.norm(a + b))
            parts = spelled.findall(text[start:end].casefold())
            fixed = (min(counts[part] for part in parts), len(own), own[-1], end - start)
            numbers = {"path": step.sum(), "tortuosity": step.sum() / away[-1], "rotation": turn.mean()}
            row.append(
                {"kind": kind, "fixed": np.log(fixed), "step": step, "turn": turn, "state": x, **numbers}
            )
        found.append(row)
    return found


def test_curves_by_class(result: Any, words: Any) -> None:
    data = result.dataset
    for kind, name in enumerate(NAMES):
        of = [[word for word in row if word["kind"] == kind] for row in words]
        part = data.sel({"class": name})
        assert int(part["words"]) == sum(map(len, of))
        for layer in range(LAYERS):
            for key in ("step", "turn"):
                right = np.mean([np.mean([word[key][layer] for word in row]) for row in of])
                assert float(part[key].sel(layer=layer + 1)) == pytest.approx(right, rel=1e-4), (name, layer)
        for key in ("path", "tortuosity", "rotation"):
            right = np.mean([np.mean([word[key] for word in row]) for row in of])
            assert float(part[key].sel(layer=LAYERS)) == pytest.approx(right, rel=1e-4), (name, key)


def test_ratios(result: Any, words: Any) -> None:
    """Matched: treatment coding and an intercept, by least squares."""
    for measure in ("path", "tortuosity", "rotation"):
        each: dict[tuple[str, str], list[float]] = {}
        for row in words:
            y = np.log([word[measure] for word in row])
            kind = np.array([word["kind"] for word in row])
            fixed = np.array([word["fixed"] for word in row])
            terms = np.column_stack([np.ones(len(y)), *(kind == k for k in (1, 2, 3)), fixed])
            by_class = [0, *np.linalg.lstsq(terms, y, rcond=None)[0][1:4]]
            for a, b in combinations(range(4), 2):
                name = f"{NAMES[a]} / {NAMES[b]}"
                each.setdefault((name, "as they are"), []).append(y[kind == a].mean() - y[kind == b].mean())
                each.setdefault((name, "matched"), []).append(by_class[a] - by_class[b])
        for (name, held), values in each.items():
            found = float(result.dataset["ratio"].sel(measure=measure, compared=name, held=held))
            assert found == pytest.approx(np.exp(np.mean(values)), rel=1e-4), (measure, name, held)


def test_the_published_form(result: Any, words: Any) -> None:
    means = np.array(
        [
            np.mean([word["state"] for row in words for word in row if word["kind"] == k], axis=0)
            for k in range(4)
        ]
    )
    flat = means.reshape(-1, means.shape[-1])
    axes = np.linalg.svd(flat - flat.mean(axis=0), full_matrices=False)[2][:2]
    for k, name in enumerate(NAMES):
        part = result.dataset.sel({"class": name})
        whole = sum(np.linalg.norm(means[k, one + 1] - means[k, one]) for one in range(LAYERS))
        flat_way = sum(np.linalg.norm(axes @ (means[k, one + 1] - means[k, one])) for one in range(LAYERS))
        assert float(part["mean_length"]) == pytest.approx(whole, rel=1e-4), name
        assert float(part["published_length"]) == pytest.approx(flat_way, rel=1e-3), name


def test_the_sentence_says_what_the_claims_say(result: Any) -> None:
    check_said(result)
