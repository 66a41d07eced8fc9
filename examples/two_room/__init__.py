"""Two rooms and a door: the environment, its controller and demo; `training` makes the embedded model."""

from worldforge_jepa_server.app.cores import set_openmp_environment

set_openmp_environment()  # before a module imports torch
