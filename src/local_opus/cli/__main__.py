"""``python -m local_opus.cli``."""

import sys

from local_opus.cli import main

sys.exit(main())
