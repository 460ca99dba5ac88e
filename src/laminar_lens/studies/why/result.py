"""The answer of a why-study."""

import json
from typing import Any, ClassVar

from laminar_lens.results import StudyResult, Summary
from laminar_lens.results.complete import complete


class WhyResult(StudyResult):
    """The answer of `why_study`: what makes first pairs stand apart, by layer and over all layers."""

    study: ClassVar[str | None] = "why"

    @property
    @complete
    def verdict(self) -> str:
        """ "position", "context", "either", "jointly", "none" or "undetermined"."""
        return str(self.dataset.attrs["verdict"])

    @property
    @complete
    def found(self) -> list[dict[str, Any]]:
        """What the verdict rests on: layers named by half of the texts, with E11, E10 and E01 (rad, 95%
        intervals) as the other half has them; at most one entry a direction."""
        return list(json.loads(self.dataset.attrs["found"]))

    @property
    @complete
    def by_layer(self) -> list[dict[str, Any]]:
        """Verdict, sign and every effect, one dictionary a layer; intervals are simultaneous."""
        from laminar_lens.studies.why.view import effects

        table = effects(self.dataset)
        return [] if table is None else table.rows()

    @complete
    def summary(self) -> Summary:
        """As every study's, with the effects by layer under `effects`."""
        return Summary({**super().summary(), "effects": self.by_layer})
