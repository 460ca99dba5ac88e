"""Changes of a run, to be measured like any other: `interventions=[cut(5), restart(5)]`.

Each is a small object that yields TransformerLens hooks, checks that it fits the model and the texts, and
describes itself in the provenance. Nothing here copies a model or leaves a hook behind.
"""

from laminar_lens.interventions.attention import cut as cut
from laminar_lens.interventions.positions import restart as restart
from laminar_lens.models.edits import Intervention as Intervention
