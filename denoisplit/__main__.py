"""``python -m denoisplit``."""

import sys

from denoisplit.cli.main import main

sys.exit(main())
