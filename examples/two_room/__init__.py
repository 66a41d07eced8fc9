"""Two rooms and a door: the environment, the training and the evaluation of the embedded model."""

from worldforge_jepa_server.app.cores import set_openmp_environment

set_openmp_environment()  # before a module imports torch
