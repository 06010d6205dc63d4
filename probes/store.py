"""Activations larger than memory: `open_store`, `StoredActivations`; `python -m probes.store` shows
what a folder holds.
"""

from probes.reading.store import StoredActivations, fill, open_store

__all__ = ["StoredActivations", "fill", "open_store"]

if __name__ == "__main__":
    from probes.reading.commands import main

    main()
