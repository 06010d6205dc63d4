"""Steering vectors of other tools as `Direction` values, and back: control vectors in GGUF, and
lm-eval's `steered` files.
"""

from probes.exchange.control_vectors import read_gguf, write_gguf
from probes.exchange.lm_eval import read_lm_eval, write_lm_eval

__all__ = ["read_gguf", "read_lm_eval", "write_gguf", "write_lm_eval"]
