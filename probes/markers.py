"""Statements with a meaningless marker in place of their negation: does a probe read meaning, or any
word that is put in?
"""

from probes.evidence.markers import CONTRACTED, NEGATION, MarkedTwins, marked_twins

__all__ = ["CONTRACTED", "NEGATION", "MarkedTwins", "marked_twins"]
