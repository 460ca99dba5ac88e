"""A trajectory study's answer in a few sentences, each part as its claim has it."""

from laminar_lens.studies.claim import Claim
from laminar_lens.studies.layers import named_layers
from laminar_lens.studies.trajectories.claims import hiding
from laminar_lens.studies.trajectories.facts import Facts
from laminar_lens.words import joined, percent

_PLANE = {
    "holds": "the first two axes show over half of the squared distance between any two, in every layer",
    "fails": "the first two axes leave out over half of the squared distance between some two, in {where}",
    "undetermined": "whether the first two axes show half of the squared distance of any two is undetermined",
}
_PARTING = {
    "holds": "Relative to their norm, all of them are farther apart in the last third of the layers than in "
    "the first",
    "fails": "Relative to their norm, some of them are nearer in the last third of the layers than in the "
    "first",
    "undetermined": "Whether, relative to their norm, all of them are farther apart in the last third of the "
    "layers than in the first is undetermined",
}
_FIRST = {
    "holds": " The first axis is position 0, which has over half of its variance.",
    "fails": " Position 0 is part of the PCA, but not its first axis.",
    "undetermined": " Whether the first axis is position 0 is undetermined.",
    "not applicable": "",
}


def sentence(facts: Facts, claims: dict[str, Claim]) -> str:
    """The answer in a few sentences."""
    plane = _PLANE[claims["T1"].verdict].format(where=named_layers(hiding(facts)))
    explained = percent(facts.measured.explained[:2].sum(), 1)
    return (
        f"{_groups(facts)}: {plane}. They are principal axes and "
        f"have {explained} of the variance "
        f"of all layers and tokens. {_PARTING[claims['T2'].verdict]}.{_FIRST[claims['T3'].verdict]}"
    )


def _groups(facts: Facts) -> str:
    """Which groups there are, and how many prompts each has."""
    words = joined([repr(str(word).strip()) for word in facts.measured.word])
    if facts.measured.paired:
        return f"{words} in {len(facts.measured.text)} prompts"
    return f"The means of {words} in {joined(list(map(str, facts.sizes)))} prompts of their own"
