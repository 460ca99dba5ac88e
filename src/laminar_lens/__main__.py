"""`python -m laminar_lens`, the same as the command `laminar-lens`."""

import sys

from laminar_lens.cli import main

sys.exit(main())
