"""Activations larger than memory: captured into a folder, resumed, shared by processes, checked, and read
lazily.

- `capture(..., store=folder)` and `capture_pairs(..., store=folder)` fill a store and give
  `StoredActivations`
- `open_store`: what a folder holds, also while it is being filled
- one file a site and shard (`shards`), laid out by a plan made beforehand (`plan`), filled by one or many
  processes (`filling`)
"""

from probes.reading.store.filling import fill
from probes.reading.store.stored import StoredActivations, in_memory, open_store

__all__ = ["StoredActivations", "fill", "in_memory", "open_store"]
