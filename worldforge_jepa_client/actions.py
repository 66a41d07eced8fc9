"""Candidate tensors to WorldForge `Action` sequences and back, for the task families that models publish."""

from worldforge_jepa_client.provider.actions import ActionMapping, plain_action
from worldforge_jepa_client.provider.task_families import FAMILIES, TaskFamily

__all__ = ["FAMILIES", "ActionMapping", "TaskFamily", "plain_action"]
