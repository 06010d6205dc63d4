"""Names as they are shown."""

from pathlib import Path


def called(name: str) -> str:
    """A folder or file by its whole path is called by its last part, since what notebooks show travels."""
    return Path(name).name if Path(name).is_absolute() else name
