"""Figures of effects."""
