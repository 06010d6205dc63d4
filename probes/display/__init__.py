"""What people look at: how values look in a notebook or on a page, and figures. Never fits, never loads."""

from probes.display import fitted_values, row_values, token_values, values

LOOKS = (values, row_values, fitted_values, token_values)
"""Where looks are registered: by importing these."""
