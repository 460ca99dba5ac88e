"""What the command of a speech study refuses. Nothing heavy is imported."""

from typing import TYPE_CHECKING, cast

from laminar_lens.errors import InputError
from laminar_lens.studies.command import Asked, Command, Known
from laminar_lens.studies.speech.taggers import check_number
from laminar_lens.texts.passages import PASSAGES, SAMPLED

if TYPE_CHECKING:
    from laminar_lens.studies.speech.study import Speech


class SpeechCommand(Command):
    """Texts that nothing tags are refused, and more passages than have tags."""

    def check(self, asked: Asked) -> None:
        """Refuses texts that the model writes, and given ones without a tagger."""
        if asked.texts == SAMPLED:
            raise InputError("--texts sampled has no words to tag: leave it out, or give a file")
        if asked.texts not in (None, PASSAGES) and cast("Speech", asked.study).tagger is None:
            raise InputError(
                "--texts has no tags of its own: give --tagger spacy:PIPELINE, such as spacy:en_core_web_sm"
            )

    def fits(self, asked: Asked, known: Known) -> None:
        """Refuses more passages than there are with tags."""
        n_texts = asked.options.get("n_texts")
        if n_texts is not None and asked.texts in (None, PASSAGES):
            check_number(n_texts, cast("Speech", asked.study).tagger)
