"""The speech study: whether words of different classes travel differently along the layers."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, cast

from laminar_lens.arguments import checked, text
from laminar_lens.axes import Labels, Progress, Prompts
from laminar_lens.models.hooked import HookedModel
from laminar_lens.studies.fields import MEASURE, N_PERM, TEXT, check_flips, choice, listed, one_of, option
from laminar_lens.studies.options import GeometryLike, Interventions
from laminar_lens.studies.speech.classes import CLASSES, check_classes, chosen_classes
from laminar_lens.studies.speech.taggers import check_tagger, installed_tagger
from laminar_lens.studies.study import BY_ITSELF, Answer, Study

if TYPE_CHECKING:
    import xarray as xr

    from laminar_lens.results import StudyResult
    from laminar_lens.studies.run import Run
    from laminar_lens.studies.speech.texts import TaggedTexts

PIECES = ("last", "mean")


@dataclass(frozen=True)
class Speech(Study):
    """Whether nouns, verbs, adjectives and function words travel differently along the layers (N1–N3).

    How long their paths are, how winding, how far they turn; matched on frequency, pieces, position, length.
    By default 60 passages with checked tags are read, whichever the model: none that it writes. A file of
    texts needs a tagger.
    """

    kind: ClassVar[str] = "speech"
    title: ClassVar[str] = "Parts of speech"
    view: ClassVar[str] = "laminar_lens.studies.speech.view:VIEW"
    without: ClassVar[Mapping[str, str]] = {
        **BY_ITSELF,
        "layers": "a path runs through every layer",
        "length": "texts are read whole, in windows where the context ends",
        "document_starts": "a tagger reads texts, and packed rows are token ids",
    }
    n_texts: ClassVar[int] = 60
    together: ClassVar[str] = "a word's frequency is counted in all texts, and classes have a mean over all"
    command: ClassVar[str] = "laminar_lens.studies.speech.command:SpeechCommand"
    remeasured: ClassVar[tuple[str, ...]] = ("tagger", "pieces")
    local: ClassVar[tuple[str, ...]] = ("tagger",)

    tagger: Any = option(
        None,
        "What tags the words, which a file needs: spacy:PIPELINE. Default: the tags of 60 passages.",
        "NAME",
        installed_tagger,
        panel=TEXT,
    )
    classes: Any = option(
        tuple(CLASSES),
        f"Two or more of {', '.join(CLASSES)}, with a comma between. Default: all.",
        "LIST",
        chosen_classes,
        default=None,
        panel=MEASURE,
    )
    pieces: str = option(
        "last", f"Tokens that stand for a word: {listed(PIECES)}.", "CHOICE", one_of(*PIECES)
    )
    n_perm: int = option(10_000, *N_PERM)

    def __post_init__(self) -> None:
        check_tagger("tagger", self.tagger)
        object.__setattr__(self, "classes", chosen_classes("classes", self.classes))
        choice("pieces", text("pieces", self.pieces), PIECES)
        check_flips(self.n_perm)

    def accepts(self, run: "Run") -> None:
        installed_tagger("tagger", self.tagger)

    def texts(self, run: "Run", given: Prompts) -> "TaggedTexts":
        from laminar_lens.studies.speech.texts import tagged_texts

        return tagged_texts(run, given, self.tagger)

    def check(self, run: "Run") -> None:
        from laminar_lens.studies.speech.texts import texts_by_class

        plan = cast("TaggedTexts", run.texts)
        check_classes(self.classes, texts_by_class(plan), plan.tagger, plan.tags)

    def measure(self, run: "Run") -> "xr.Dataset":
        from laminar_lens.studies.speech.measure import measure

        return measure(run, self.pieces)

    def answer(self, measured: "xr.Dataset") -> Answer:
        from laminar_lens.studies.speech.answer import answer

        return answer(measured, classes=self.classes, n_perm=self.n_perm)

    def settings(self, measured: "xr.Dataset") -> dict[str, Any]:
        return {
            **super().settings(measured),
            "tagger": str(measured.attrs["tagger"]),
            "classes": list(self.classes),
        }


@checked(Speech.without)
def speech_study(
    model: HookedModel,
    texts: Prompts = None,
    *,
    tagger: Any = None,
    classes: Any = tuple(CLASSES),
    pieces: str = "last",
    n_texts: int | None = None,
    groups: Labels = None,
    n_perm: int = 10_000,
    prepend_bos: bool = False,
    final_norm: bool = False,
    seed: int = 0,
    backend: str = "auto",
    interventions: Interventions = None,
    geometry: GeometryLike = "raw",
    progress: Progress | None = None,
) -> "StudyResult":
    """Whether words of different classes, tagged in their sentence, travel differently along the layers.

    Of each word: the length of its path through all layers (the sum of its steps), tortuosity (path over the
    distance from its embedding) and mean rotation (between a layer and the one before), in full dimension, as
    in `path_study` and `rotation_study`. Two classes are compared within each text, as a ratio of geometric
    means: as they are, and matched, by a least-squares fit of the logarithm on the class and on the
    logarithms of the word's frequency, its number of tokens, its position and its number of characters. What
    is said is the mean over texts, each counted once, with bands that hold at once for all classes and
    measures.

    Beside it the published form: the length of the path of a class's mean state in the plane of the first two
    principal components. It sees a mean instead of words and two dimensions instead of all, and has no
    interval.

    Args:
        model: any causal TransformerLens model with a tokenizer.
        texts: a list of texts, or a file as in `warmup_study`; by default the 60 English passages with
            checked tags (see `laminar_lens.texts.tags`). They are read whole; where the context ends, a text
            goes on in another window.
        tagger: a function of a text that returns (start, end, tag) for each word, in characters, with
            Universal tags; or "spacy:PIPELINE". None: the shipped tags, of the 60 passages alone.
        classes: two or more of "nouns" (NOUN), "verbs" (VERB), "adjectives" (ADJ), "function words" (ADP,
            AUX, CCONJ, DET, PART, PRON, SCONJ).
        pieces: "last" takes a word's last token, "mean" the means of its tokens' steps, displacements and
            rotations; tortuosity is then the ratio of means.
        n_texts: so many of the passages.
        groups: one label a text; texts of one group count as one.
        n_perm: sign flips of the test of all differences.
        prepend_bos: puts the model's BOS first; it then is position 0.
        final_norm: takes the last hidden state after the final norm, which is then part of the last step.
        seed: of the choice of passages, the bootstrap and the sign flips.
        backend: of the kernels.
        interventions, geometry: as in `path_study`.
        progress: called as `progress(label, done, total)`.

    Words at position 0, words that share a token with another word and words that the end of a window cuts
    are left out and counted. A word's frequency is how often it stands in these texts and in the 480 shipped
    passages,
    those of these texts cut as the tagger does.

    There is no `layers` (a path runs through all), no `length` (texts are read whole), no `document_starts`,
    `random_init` and `geometries`.

    Returns:
        A result of kind "speech", with claims N1–N3 where nouns and adjectives are compared. Ratios have no
        unit, lengths that of the residual stream, rotations are radians in [0, π]. NaN for a text in which
        two classes cannot be told apart by the fit, and where a displacement is 0.

    Raises:
        InputError: an argument that does not fit, spaCy or a pipeline that is not installed, tags that are
            none, a class that no text or only one has, fewer than 2 texts.
    """
    from laminar_lens.results import StudyResult
    from laminar_lens.studies.drive import asked

    return asked(Speech, StudyResult, model, texts, locals())
