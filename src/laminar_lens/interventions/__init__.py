"""Changes of a run, to be measured like any other: `interventions=[cut(5), restart(5)]`.

Each is a small object that yields TransformerLens hooks, checks that it fits the model and the texts, and
describes itself in the provenance. Nothing here copies a model, writes into one, or leaves a hook behind.
"""

from laminar_lens.interventions.attention import cut as cut
from laminar_lens.interventions.attention import no_context as no_context
from laminar_lens.interventions.own import custom as custom
from laminar_lens.interventions.patch import patch_residual as patch_residual
from laminar_lens.interventions.positions import restart as restart
from laminar_lens.interventions.positions import set_position as set_position
from laminar_lens.interventions.states import remove_dimensions as remove_dimensions
from laminar_lens.interventions.states import scale_norm as scale_norm
from laminar_lens.interventions.tokens import bos as bos
from laminar_lens.interventions.tokens import prefix as prefix
from laminar_lens.interventions.writes import remove_write as remove_write
from laminar_lens.models.edits import Edit as Edit
from laminar_lens.models.edits import Intervention as Intervention
from laminar_lens.models.edits import Span as Span
