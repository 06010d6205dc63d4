"""Every model is checked once, on first use: padding, hooks and templates must do what captures rely on."""

from probes.models.selfcheck import THRESHOLDS, SelfCheckError, self_check

__all__ = ["THRESHOLDS", "SelfCheckError", "self_check"]
