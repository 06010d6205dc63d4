"""Running: a language model as a value, loaded from a name or a folder, checked on first use, served
by three backends.
"""

from probes.models.model import Model
from probes.models.writes import Write

__all__ = ["Model", "Write"]
