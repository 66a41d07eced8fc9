"""`python -m worldforge_jepa_server`."""

import sys

from worldforge_jepa_server.cli import main

sys.exit(main())
