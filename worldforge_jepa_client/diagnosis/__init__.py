"""Tells from logged episodes whether a served model, and the inputs it is sent, are fit to plan with. No torch."""

from worldforge_jepa_client.diagnosis.logs.episodes import Broken, Episode, Keys
from worldforge_jepa_client.diagnosis.report import render_html
from worldforge_jepa_client.diagnosis.run import Diagnosis, Settings, diagnose
from worldforge_jepa_client.diagnosis.verdict import Verdict

__all__ = ["Broken", "Diagnosis", "Episode", "Keys", "Settings", "Verdict", "diagnose", "render_html"]
