"""Measurements, each a command that prints what it measured beside its reference."""

from worldforge_jepa_server.app.cores import set_openmp_environment

set_openmp_environment()  # before a module imports torch
