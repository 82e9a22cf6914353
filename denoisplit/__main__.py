"""``python -m denoisplit``."""

import sys

from denoisplit.cli import main

sys.exit(main())
