"""Fitting from a store without holding its rows: what mass-mean probes, ridge, LEACE and principal
components need are sums over rows.
"""

from probes.fitting.streaming import (
    Moments,
    Prepare,
    Stored,
    fit_transform,
    mass_mean,
    moments,
    principal_components,
    ridge,
    streams,
)

__all__ = [
    "Moments",
    "Prepare",
    "Stored",
    "fit_transform",
    "mass_mean",
    "moments",
    "principal_components",
    "ridge",
    "streams",
]
