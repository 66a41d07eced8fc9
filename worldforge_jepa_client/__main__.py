"""`python -m worldforge_jepa_client`."""

import sys

from worldforge_jepa_client.tools.cli import main

sys.exit(main())
