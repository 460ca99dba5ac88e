"""`python -m laminar_lens.models.embedded.train`, or `python -m train` beside a copy of this folder."""

import sys

from .command import main

sys.exit(main())
