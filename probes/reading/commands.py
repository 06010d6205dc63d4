"""Stores from the command line: `fill` captures the texts of a file, `show` says what a folder holds."""

import argparse
from pathlib import Path

from probes.data.examples import Examples
from probes.markup.terminal import terminal
from probes.models.loading import load_model
from probes.reading.capture import capture
from probes.reading.store.stored import open_store


def _parser(prog: str) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog=prog,
        description=__doc__,
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    commands = parser.add_subparsers(dest="command", required=True)
    fill = commands.add_parser(
        "fill",
        help="capture the texts of a file into a store; run it again to go on",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    fill.add_argument("store", type=Path, help="folder of the store")
    fill.add_argument("--model", required=True, help="hub name or folder")
    fill.add_argument("--data", type=Path, required=True, help="CSV or JSONL file with one text a row")
    fill.add_argument("--text", default="text", help="column with the texts")
    fill.add_argument("--label", help="column with the labels")
    fill.add_argument("--group", help="column with the unit that must not cross a split")
    fill.add_argument(
        "--sites", nargs="+", default=["resid_post"], help="kinds or sites, such as resid_post.8"
    )
    fill.add_argument("--at", default="last", help="position, such as last, mean or 'span:NAME'")
    fill.add_argument(
        "--shard", help="this process's part, i/n from 0; RANK and WORLD_SIZE or a SLURM array by default"
    )
    fill.add_argument("--dtype", help="precision of the model, such as bfloat16; the checkpoint's by default")
    fill.add_argument("--device", help="such as cuda")
    fill.add_argument("--backend", default="hooks")
    fill.add_argument("--batch-size", type=int, help="texts a batch; by a token budget by default")
    show = commands.add_parser("show", help="what a store holds")
    show.add_argument("store", type=Path)
    return parser


def main(arguments: list[str] | None = None, prog: str = "python -m probes.store") -> None:
    given = _parser(prog).parse_args(arguments)
    if given.command == "show":
        held = open_store(given.store)
        receipt, shards = held.receipt, f"{held.plan.n_shards} shards"
        made = (
            f"at {receipt['at']}, model {receipt['model']['name']}, {shards}, self-check"
            f" {receipt['self_check']}"
        )
        # A folder may come from anybody.
        print(terminal(f"{held}\n{made}"))
        return
    if not given.data.is_file():
        raise SystemExit(f"{given.data} is no file; --data names a CSV or JSONL file with one text a row")
    read = Examples.from_jsonl if given.data.suffix in (".jsonl", ".json") else Examples.from_csv
    examples = read(given.data, given.text, given.label, given.group)
    model = load_model(given.model, given.backend, device=given.device, dtype=given.dtype)
    print(
        capture(
            model,
            examples,
            given.sites,
            given.at,
            batch_size=given.batch_size,
            store=given.store,
            shard=given.shard,
        )
    )
