"""Tests of a device, `DEVICE`: the CPU by default, so that these tests run everywhere; `make gpu-check` sets it."""

import os

DEVICE = os.environ.get("WORLDFORGE_JEPA_TEST_DEVICE", "cpu")
