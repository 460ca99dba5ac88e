"""The command line: parse, call, save; no science.

Importing it loads neither torch nor TransformerLens nor plotly, so that `--help` and a mistyped argument are
answered at once. In the order of the work: `options` names what can be given, `app` parses it into a
`requests.Request`, `checks` and `preflight` refuse what cannot work, `run` does the work, and `tables` and
`screen` say what was found.
"""

import sys
from collections.abc import Sequence

__all__ = ["main"]


def main(argv: Sequence[str] | None = None) -> int:
    """As `app.main`; Ctrl-C while that is imported is no traceback either."""
    try:
        from laminar_lens.cli.app import main as answer
    except KeyboardInterrupt:
        print("laminar-lens: interrupted; nothing was written", file=sys.stderr)
        return 130
    return answer(argv)
