"""Sampling planners: CEM, iCEM and MPPI, in pure numpy."""

from worldforge_jepa_client.planning.base import Arrays, HostArrays, Planner, Score, plan, shift_plan
from worldforge_jepa_client.planning.methods import CEM, ICEM, MPPI, Method, PlannerOptions, make_planner

__all__ = [
    "CEM",
    "ICEM",
    "MPPI",
    "Arrays",
    "HostArrays",
    "Method",
    "Planner",
    "PlannerOptions",
    "Score",
    "make_planner",
    "plan",
    "shift_plan",
]
