"""The classes of words that are compared, as they are asked for. Nothing heavy is imported."""

from collections.abc import Sequence

from laminar_lens.arguments import shown
from laminar_lens.errors import InputError

CLASSES: dict[str, tuple[str, ...]] = {
    "nouns": ("NOUN",),
    "verbs": ("VERB",),
    "adjectives": ("ADJ",),
    "function words": ("ADP", "AUX", "CCONJ", "DET", "PART", "PRON", "SCONJ"),
}
"""By name, the Universal tags of its words; names of people and places (PROPN) and adverbs are in none."""
OF_TAG = {tag: at for at, tags in enumerate(CLASSES.values()) for tag in tags}
"""By tag, the place of its class."""
NONE = -1


def chosen_classes(name: str, given: object) -> tuple[str, ...]:
    """The classes that are asked for, in their usual order.

    Raises:
        InputError: fewer than two, or one that there is not.
    """
    asked = given.split(",") if isinstance(given, str) else given
    known = ", ".join(CLASSES)
    if not isinstance(asked, Sequence) or not all(isinstance(one, str) for one in asked):
        raise InputError(f"{name} is {shown(given)}; expected two or more of {known}")
    asked = [one.strip().replace("_", " ") for one in asked]
    for one in asked:
        if one not in CLASSES:
            raise InputError(
                f"{name} is {shown(given)}: {shown(one)} is no class of words; choose from {known}"
            )
    if len(set(asked)) < 2:
        raise InputError(f"{name} is {shown(given)}: give at least two to compare, of {known}")
    return tuple(one for one in CLASSES if one in asked)


def check_classes(classes: Sequence[str], n_texts: dict[str, int], tagger: str, tags: Sequence[str]) -> None:
    """Refuses a class that no text has, or one alone.

    Args:
        classes: that are asked for.
        n_texts: by class, how many texts have a word of it that is measured.
        tagger: its name.
        tags: that it gives.

    Raises:
        InputError: names the class.
    """
    given = ", ".join(repr(tag) for tag in list(tags)[:12]) + (", …" if len(tags) > 12 else "") or "none"
    for name in classes:
        wanted, n = " or ".join(CLASSES[name]), n_texts[name]
        if n == 0 and not {*CLASSES[name]} & {*tags}:
            raise InputError(
                f"{tagger} tags no word as {wanted}, so that there are no {name}; it gives {given}: give a "
                "tagger with Universal tags, or leave that class out of classes="
            )
        if n < 2:
            has = "only 1 text has" if n else "no text has"
            raise InputError(
                f"{has} {name} that are measured (words tagged {wanted}), at least 2 are needed: give more "
                "texts, or leave that class out of classes="
            )
