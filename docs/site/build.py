"""`python -m docs.site.build`: the pages in `docs`, notebooks and public names as a site in `build/site`."""

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

from docs.site.notebook import write_notebooks
from docs.site.reference import write_reference

ROOT = Path(__file__).parents[2]
DOCS, BUILD = ROOT / "docs", ROOT / "build"
LINK = re.compile(r"(!?)\[([^\]]*)\]\((\.\./[^)]+)\)")

Nav = list[dict[str, object]]


def main() -> int:
    """Stages the pages below `build/pages`, then makes the site; warnings are errors."""
    for name in ("pages", "site"):
        shutil.rmtree(BUILD / name, ignore_errors=True)
    nav = stage(BUILD / "pages")
    config = (DOCS / "site" / "zensical.toml").read_text(encoding="utf-8")
    filled = config.replace("nav = [] # filled in", f"nav = {_toml(nav)}")
    (BUILD / "zensical.toml").write_text(filled, encoding="utf-8")
    made = [
        sys.executable,
        "-m",
        "zensical",
        "build",
        "--clean",
        "--strict",
        "-f",
        str(BUILD / "zensical.toml"),
    ]
    return subprocess.run(made, cwd=BUILD, check=False).returncode


def stage(pages: Path) -> Nav:
    """Copies and makes all pages; gives the navigation, which is that of docs/README.md."""
    pages.mkdir(parents=True)
    for path in sorted(DOCS.glob("*.md")):
        name = "index.md" if path.name == "README.md" else path.name
        (pages / name).write_text(within(path.read_text(encoding="utf-8")), encoding="utf-8")
    shutil.copytree(DOCS / "figures", pages / "figures")
    shutil.copy(DOCS / "site" / "style.css", pages)
    notebooks = write_notebooks(ROOT / "notebooks", pages / "notebooks")
    reference = write_reference(pages / "reference")
    return [
        *navigation((DOCS / "README.md").read_text(encoding="utf-8")),
        {"Notebooks": [{title: path} for title, path in notebooks]},
        {"Reference": [{title: path} for title, path in reference]},
    ]


def within(text: str) -> str:
    """A page whose links out of `docs` lead to what is on the site, or become their words where it is not."""

    def put(found: re.Match[str]) -> str:
        picture, said, target = found.groups()
        if target.rstrip("/") == "../notebooks":
            return f"[{said}](notebooks/index.md)"
        if notebook := re.fullmatch(r"\.\./notebooks/(.+)\.ipynb", target):
            return f"[{said}](notebooks/{notebook.group(1)}.md)"
        return f"*(picture: {said})*" if picture else said

    return LINK.sub(put, re.sub(r"\]\(README\.md(?=[#)])", "](index.md", text))


def navigation(text: str) -> Nav:
    """Sections and pages as docs/README.md lists them: a heading, and items that begin with a link."""
    nav: Nav = [{"Home": "index.md"}]
    pages: list[dict[str, str]] = []
    for line in text.splitlines():
        if heading := re.match(r"## (.+)", line):
            pages = []
            nav.append({heading.group(1): pages})
        elif item := re.match(r"- \[([^\]]+)\]\(([\w-]+\.md)\)", line):
            pages.append({item.group(1): item.group(2)})
    return [section for section in nav if next(iter(section.values()))]


def _toml(value: object) -> str:
    if isinstance(value, dict):
        return "{ " + ", ".join(f"{json.dumps(k)} = {_toml(v)}" for k, v in value.items()) + " }"
    if isinstance(value, list):
        return "[" + ", ".join(map(_toml, value)) + "]"
    return json.dumps(value, ensure_ascii=False)


if __name__ == "__main__":
    sys.exit(main())
