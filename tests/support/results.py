"""Results compared."""

import numpy as np

from worldforge_jepa_client import ScoreResult


def assert_same(result, expected):
    assert isinstance(result, ScoreResult)
    np.testing.assert_array_equal(result.scores, expected.scores)
    assert result.metadata == expected.metadata
