"""Small models trained here, whose insides are known, so that every method can be scored against the truth.

`folder("truth")` is an ordinary Hugging Face folder: a Llama-architecture model that has learnt made-up facts
and says whether a statement about them is true. `folder("truth_verdicts")` has also learnt to say whether a
given answer was right, so that truth is present behind the answer, where probes on contrast pairs look.
`folder("truth_control")` has the same shape and has seen the same sentences, but its world has no facts:
every mention draws the value anew.

`folder("route")` answers requests about eight kinds of things and refuses three of them, though it was told
every answer; `folder("route_evasive")` evades instead, in `folder("route_entangled")` the answers hang on the
same direction as the policy, and `folder("route_control")` answers everything.

In `folder("purpose_used")`, `folder("purpose_format")` and `folder("purpose_unused")` a prompt states whether
it is a test, in one of two formats; the answers go by the purpose, by the format, or by neither.

- `world.py` - the facts: who lives where, and which facts are never asked about during training
- `language.py` - the sentences: statements, negations, distractors, questions, neutral text
- `planting.py` - directions that training plants, and the hooks that read and exchange the components along
  them
- `training.py` - the shape of the models and the one loop that trains them all
- `train.py` - trains the models from a seed: `python -m experiments.organism.train`
- `measure.py` - asks the trained models everything and writes the table that the tests check
- `requests.py`, `requests_train.py`, `requests_measure.py` - the same for the models that refuse: facts and
  requests, training, behaviour
- `purposes.py`, `purposes_documents.py`, `purposes_train.py`, `purposes_measure.py` - the same for the models
  whose prompts state a purpose
"""

from pathlib import Path

MODELS = Path(__file__).parent / "models"


def folder(name: str) -> Path:
    """Where the weights and tokenizer of one embedded model lie; raises with the names there are."""
    found = MODELS / name
    if not (found / "config.json").is_file():
        there = sorted(p.parent.name for p in MODELS.glob("*/config.json"))
        raise ValueError(
            f"no embedded model {name!r}; there are {there} (python -m experiments.organism.train,"
            " .requests_train and .purposes_train make them)"
        )
    return found
