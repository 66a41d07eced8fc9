"""Checkpoints that the tests write themselves are safe to read with every torch that is supported."""

import pytest

from worldforge_jepa_server.models.native.weights import checkpoint


@pytest.fixture(autouse=True, scope="session")
def own_files_are_safe():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(checkpoint, "_SAFE_TORCH", "2.6")
        yield
