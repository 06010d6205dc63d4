"""A chat endpoint on loopback that rewrites: real HTTP, with the faults of the judges' server."""

import re
from typing import Any

from tests.judge_server import JudgeServer


def prompt_of(request: dict[str, Any]) -> str:
    """The prompt as it stands between the lines of the fence."""
    found = re.search(
        r"\[prompt (\w+)\]\n(.*)\n\[end of prompt \1\]", request["messages"][1]["content"], re.DOTALL
    )
    assert found is not None
    return found[2]


def reworded(request: dict[str, Any]) -> str:
    """What this server makes of a prompt: the words of the instruction's first sentence and the seed
    tell requests apart.
    """
    kind = "daily" if "daily use" in request["messages"][0]["content"] else "plain"
    return f"{kind} words {request.get('seed', 0)} for {prompt_of(request)}"


class RewriteServer(JudgeServer):
    def __init__(self, **options: Any) -> None:
        super().__init__(**({"answer": reworded} | options))

    def text_of(self, body: dict[str, Any]) -> str:
        return prompt_of(body)
