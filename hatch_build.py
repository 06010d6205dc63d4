"""The README as a package index shows it: a page there has no neighbouring files. Links to them lead to the
repository where `[project.urls]` names it as Source, and become plain text where it does not.
"""

import re
from pathlib import Path

from hatchling.metadata.plugin.interface import MetadataHookInterface

LINK = re.compile(r"(!?)\[([^\]]*)\]\((?![a-z]+:)([^)]+)\)")


def standing_alone(text: str, source: str | None) -> str:
    """Markdown without relative links and pictures."""

    def put(found: re.Match[str]) -> str:
        picture, said, target = found.groups()
        if source:
            return f"{picture}[{said}]({source}/{'raw' if picture else 'blob'}/main/{target})"
        return f"*(picture: {said})*" if picture else said

    return LINK.sub(put, text)


class ReadmeHook(MetadataHookInterface):
    """Hatchling finds it by its base class."""

    def update(self, metadata: dict) -> None:
        text = (Path(self.root) / "README.md").read_text(encoding="utf-8")
        source = metadata.get("urls", {}).get("Source")
        metadata["readme"] = {"content-type": "text/markdown", "text": standing_alone(text, source)}
