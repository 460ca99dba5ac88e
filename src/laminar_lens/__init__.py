"""Laminar Lens: the angular geometry of the residual stream.

    import laminar_lens as ll

    model = ll.load_model("novella")
    study = ll.sequential_study(model, ll.her_prompts(), target=" her")
    print(study.summary())

Every name is imported when it is first used: `import laminar_lens` loads no torch and no TransformerLens.
"""

from importlib import import_module
from typing import TYPE_CHECKING

__version__ = "0.1.0"

_HOME = {
    "angle": "kernels",
    "angle_profile": "kernels",
    "sequential_angles": "kernels",
    "pair_angles": "kernels",
    "pairwise_angles": "kernels",
    "rotation_angles": "kernels",
    "turning_angles": "kernels",
    "step_lengths": "kernels",
    "AngleMeter": "meter",
    "register_measure": "measures",
    "register_geometry": "geometry",
    "load_model": "models",
    "ProgressLines": "progress",
    "describe": "models",
    "random_twin": "models",
    "sample_tokens": "models",
    "ResidualStates": "capture",
    "capture_residuals": "capture",
    "iter_residuals": "capture",
    "residuals_from_cache": "capture",
    "bos": "interventions",
    "custom": "interventions",
    "cut": "interventions",
    "no_context": "interventions",
    "patch_residual": "interventions",
    "prefix": "interventions",
    "remove_dimensions": "interventions",
    "remove_write": "interventions",
    "restart": "interventions",
    "scale_norm": "interventions",
    "set_position": "interventions",
    "her_prompts": "prompts",
    "read_prompts": "prompts",
    "passages": "texts.passages",
    "sequential_study": "studies.sequential.study",
    "warmup_study": "studies.warmup.study",
    "sensitivity_grid": "studies.warmup.grid",
    "angle_table": "studies.angles",
    "why_study": "studies.why.study",
    "sink_study": "studies.sinks.study",
    "dimension_study": "studies.dimensions.study",
    "decomposition_study": "studies.decomposition.study",
    "rotation_study": "studies.rotation.study",
    "path_study": "studies.paths.study",
    "speech_study": "studies.speech.study",
    "trajectory_study": "studies.trajectories.study",
    "Study": "studies.study",
    "Answer": "studies.study",
    "Claim": "studies.claim",
    "register": "studies.registry",
    "run": "studies.drive",
    "merge": "studies.merge",
    "compare": "comparison.compare",
    "band": "studies.own",
    "named": "studies.own",
    "StudyResult": "results",
    "load_result": "results",
    "LaminarLensError": "errors",
}

__all__ = ["__version__", *sorted(_HOME)]

if TYPE_CHECKING:
    from laminar_lens.capture import ResidualStates as ResidualStates
    from laminar_lens.capture import capture_residuals as capture_residuals
    from laminar_lens.capture import iter_residuals as iter_residuals
    from laminar_lens.capture import residuals_from_cache as residuals_from_cache
    from laminar_lens.comparison.compare import compare as compare
    from laminar_lens.errors import LaminarLensError as LaminarLensError
    from laminar_lens.geometry import register_geometry as register_geometry
    from laminar_lens.interventions import bos as bos
    from laminar_lens.interventions import custom as custom
    from laminar_lens.interventions import cut as cut
    from laminar_lens.interventions import no_context as no_context
    from laminar_lens.interventions import patch_residual as patch_residual
    from laminar_lens.interventions import prefix as prefix
    from laminar_lens.interventions import remove_dimensions as remove_dimensions
    from laminar_lens.interventions import remove_write as remove_write
    from laminar_lens.interventions import restart as restart
    from laminar_lens.interventions import scale_norm as scale_norm
    from laminar_lens.interventions import set_position as set_position
    from laminar_lens.kernels import angle as angle
    from laminar_lens.kernels import angle_profile as angle_profile
    from laminar_lens.kernels import pair_angles as pair_angles
    from laminar_lens.kernels import pairwise_angles as pairwise_angles
    from laminar_lens.kernels import rotation_angles as rotation_angles
    from laminar_lens.kernels import sequential_angles as sequential_angles
    from laminar_lens.kernels import step_lengths as step_lengths
    from laminar_lens.kernels import turning_angles as turning_angles
    from laminar_lens.measures import register_measure as register_measure
    from laminar_lens.meter import AngleMeter as AngleMeter
    from laminar_lens.models import describe as describe
    from laminar_lens.models import load_model as load_model
    from laminar_lens.models import random_twin as random_twin
    from laminar_lens.models import sample_tokens as sample_tokens
    from laminar_lens.progress import ProgressLines as ProgressLines
    from laminar_lens.prompts import her_prompts as her_prompts
    from laminar_lens.prompts import read_prompts as read_prompts
    from laminar_lens.results import StudyResult as StudyResult
    from laminar_lens.results import load_result as load_result
    from laminar_lens.studies.angles import angle_table as angle_table
    from laminar_lens.studies.claim import Claim as Claim
    from laminar_lens.studies.decomposition.study import decomposition_study as decomposition_study
    from laminar_lens.studies.dimensions.study import dimension_study as dimension_study
    from laminar_lens.studies.drive import run as run
    from laminar_lens.studies.merge import merge as merge
    from laminar_lens.studies.own import band as band
    from laminar_lens.studies.own import named as named
    from laminar_lens.studies.paths.study import path_study as path_study
    from laminar_lens.studies.registry import register as register
    from laminar_lens.studies.rotation.study import rotation_study as rotation_study
    from laminar_lens.studies.sequential.study import sequential_study as sequential_study
    from laminar_lens.studies.sinks.study import sink_study as sink_study
    from laminar_lens.studies.speech.study import speech_study as speech_study
    from laminar_lens.studies.study import Answer as Answer
    from laminar_lens.studies.study import Study as Study
    from laminar_lens.studies.trajectories.study import trajectory_study as trajectory_study
    from laminar_lens.studies.warmup.grid import sensitivity_grid as sensitivity_grid
    from laminar_lens.studies.warmup.study import warmup_study as warmup_study
    from laminar_lens.studies.why.study import why_study as why_study
    from laminar_lens.texts.passages import passages as passages


def __getattr__(name: str) -> object:
    if name not in _HOME:
        raise AttributeError(f"module 'laminar_lens' has no attribute {name!r}")
    value: object = getattr(import_module(f"laminar_lens.{_HOME[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
