"""Weights & Biases. Where a run goes its own settings say: `WANDB_MODE=offline`, `WANDB_DIR`, `WANDB_ENTITY`,
`WANDB_PROJECT`, a login.
"""

import os
import re
from typing import Any

import wandb

from experiments.tracking.contents import Contents
from experiments.tracking.sending import PROJECT


def send(contents: Contents, project: str | None) -> str:
    """Settings become the config, headlines the summary, figures, tables and the report media, and the folder
    an artifact.
    """
    run = wandb.init(
        project=project or os.environ.get("WANDB_PROJECT") or PROJECT,
        name=contents.name,
        job_type=contents.experiment,
        tags=[contents.experiment[:64], *contents.marks],
        notes="\n".join(contents.claims),
        config={**contents.settings, "facts": dict(contents.facts)},
        settings=_settings(),
    )
    try:
        run.log(_logged(contents))
        artifact = wandb.Artifact(re.sub(r"[^\w.-]", "_", contents.name), type="run")
        artifact.add_dir(str(contents.folder))
        run.log_artifact(artifact)
    except BaseException:
        run.finish(exit_code=1)
        raise
    run.finish()
    if not run.offline and run.url:
        return run.url
    kept = os.path.dirname(run.dir)
    return f"{kept} (not online: `wandb sync {kept}` uploads it)"


def _settings() -> wandb.Settings:
    """Only the run that lies in the folder is told of: nothing of the process that sends it. A run of the
    user's own that is active goes on.
    """
    return wandb.Settings(
        reinit="create_new",
        console="off",
        quiet=True,
        save_code=False,
        disable_git=True,
        disable_code=True,
        x_disable_stats=True,
        x_disable_meta=True,
        x_save_requirements=False,
    )


def _logged(contents: Contents) -> dict[str, Any]:
    tables = {
        name: wandb.Table(dataframe=table, allow_mixed_types=True) for name, table in contents.tables.items()
    }
    figures = {f"figures/{name}": wandb.Image(str(path)) for name, path in contents.images.items()}
    page = contents.report
    report = {} if page is None else {"report": wandb.Html(page.read_text(encoding="utf-8"), inject=False)}
    return {**contents.numbers, **tables, **figures, **report}
