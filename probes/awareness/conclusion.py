"""What reading a stated purpose and editing its direction say together."""

from typing import Literal

Word = Literal[
    "decodable and used",
    "decodable, behaviour goes by the format",
    "decodable but unused",
    "used, but not shown decodable",
    "not decodable",
]


def concluded(decodable: bool, context_moves: bool, format_moves: bool) -> Word:
    """Decodable asks for the open gate (`TwoByTwo.verdict`); used for an effect of the context's direction
    beyond controls, and going by the format for one of the format's alone.
    """
    if not decodable:
        return "used, but not shown decodable" if context_moves else "not decodable"
    if context_moves:
        return "decodable and used"
    return "decodable, behaviour goes by the format" if format_moves else "decodable but unused"
