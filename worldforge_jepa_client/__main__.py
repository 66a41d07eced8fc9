"""`python -m worldforge_jepa_client`."""

import sys

from worldforge_jepa_client.cli import main

sys.exit(main())
