"""The command line: parse, call, save; no science.

Importing it loads neither torch nor TransformerLens nor plotly, so that `--help` and a mistyped argument are
answered at once. In the order of the work: `options` names what can be given, `app` parses it into a
`requests.Request`, `checks` and `preflight` refuse what cannot work, `run` does the work, and `tables` and
`screen` say what was found.
"""

from laminar_lens.cli.app import main

__all__ = ["main"]
