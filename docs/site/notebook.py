"""A notebook as a page: its text, its code, and whatever outputs are kept in it."""

import base64
import json
import re
from pathlib import Path
from typing import Any

ESCAPES = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")


def write_notebooks(notebooks: Path, folder: Path) -> list[tuple[str, str]]:
    """Writes a page a notebook and one that lists them; gives (title, path) for the navigation."""
    folder.mkdir(parents=True)
    found = []
    for path in sorted(notebooks.glob("*.ipynb")):
        cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
        text = "\n\n".join(filter(None, (cell(c, i, folder, path.stem) for i, c in enumerate(cells))))
        title = re.search(r"^# (.+)$", text, re.MULTILINE)
        kept = any(c.get("outputs") for c in cells)
        note = "" if kept else "\n\nShown without outputs: run it to see them."
        where = f"\n\n*In the repository: `notebooks/{path.name}`.{note}*\n"
        (folder / f"{path.stem}.md").write_text(text + where, encoding="utf-8")
        opening = re.split(r"\n\s*\n", "".join(cells[0]["source"]).split("\n", 1)[1].strip())[0]
        found.append((title.group(1) if title else path.stem, f"notebooks/{path.stem}.md", opening))
    lines = [
        "# Notebooks",
        "",
        "Short, offline, on models that this project trained or that a package carries.",
    ]
    for title, page, opening in found:
        lines += ["", f"## [{title}]({Path(page).name})", "", opening]
        if shown := sorted(folder.glob(f"{Path(page).stem}_*.png")):
            lines += ["", f"[![{title}]({shown[0].name}){{ .thumbnail }}]({Path(page).name})"]
    (folder / "index.md").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return [("Notebooks", "notebooks/index.md"), *((title, page) for title, page, _ in found)]


def cell(cell: dict[str, Any], number: int, folder: Path, stem: str) -> str:
    """A cell as Markdown; pictures go into the folder."""
    source = "".join(cell["source"]).strip()
    if cell["cell_type"] == "markdown":
        return source
    if cell["cell_type"] != "code" or not source:
        return ""
    outputs = (
        output(o, folder / f"{stem}_{number:02}_{i}.png") for i, o in enumerate(cell.get("outputs", []))
    )
    return "\n\n".join([fenced(source, "python"), *filter(None, outputs)])


def output(output: dict[str, Any], picture: Path) -> str:
    """The richest form of an output that a page can show."""
    if output["output_type"] == "stream":
        return "" if output.get("name") == "stderr" else plain("".join(output["text"]))
    if output["output_type"] == "error":
        return plain(f"{output['ename']}: {output['evalue']}")
    data = {kind: "".join(v) if isinstance(v, list) else v for kind, v in output.get("data", {}).items()}
    if "image/png" in data:
        picture.write_bytes(base64.b64decode(data["image/png"]))
        return f"![output of the cell above]({picture.name})"
    if "text/html" in data:
        return f'<div class="output">{_one_block(data["text/html"])}</div>'
    if "image/svg+xml" in data:
        return f'<div class="output">{_one_block(data["image/svg+xml"])}</div>'
    return data["text/markdown"] if "text/markdown" in data else plain(data.get("text/plain", ""))


def plain(text: str) -> str:
    text = ESCAPES.sub("", text).rstrip()
    return fenced(text, "text") if text.strip() else ""


def fenced(text: str, language: str) -> str:
    """A fence longer than any run of backticks within."""
    ticks = "`" * max(3, 1 + max((len(run) for run in re.findall(r"`+", text)), default=0))
    return f"{ticks}{language}\n{text}\n{ticks}"


def _one_block(html: str) -> str:
    """HTML that Markdown leaves alone: a blank line would end the block."""
    return re.sub(r"\n\s*\n", "\n", html.strip())
