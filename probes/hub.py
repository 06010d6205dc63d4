"""Probes and directions as Hugging Face hub folders: the artefact in safetensors beside a model card
that people can read.
"""

from probes.exchange.hub import load_folder, push_to_hub, save_folder

__all__ = ["load_folder", "push_to_hub", "save_folder"]
