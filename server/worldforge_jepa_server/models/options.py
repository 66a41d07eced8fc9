"""Reading the options of a model source."""

from __future__ import annotations

from worldforge_jepa_server.models.contract import ModelLoadError

_FLAGS = {"true": True, "1": True, "yes": True, "false": False, "0": False, "no": False}


def flag(option: str, text: str) -> bool:
    """Parse an option that is true or false.

    Raises:
        ModelLoadError: neither true nor false.
    """
    try:
        return _FLAGS[text.lower()]
    except KeyError:
        raise ModelLoadError(f"{option}={text}: expected true or false") from None
