"""Imports all that a server imports, with the environment that it sets before: for `preloaded`."""

from worldforge_jepa_server.__main__ import set_environment
from worldforge_jepa_server.app.cores import set_openmp_environment

# What libraries read when they are loaded.
set_environment()
set_openmp_environment()

import worldforge_jepa_server.app.serve  # noqa: E402
import worldforge_jepa_server.models.native.tiny  # noqa: E402, F401
