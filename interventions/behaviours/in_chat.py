"""A behaviour asked through the model's chat template about prompts that are plain texts everywhere else."""

from dataclasses import dataclass, replace

from interventions.behaviours.asked import asked_of
from interventions.behaviours.records import Behaviour, Records
from probes.data.examples import Examples
from probes.models.model import Model


@dataclass(frozen=True)
class InChat:
    """The same behaviour with every prompt as the message of a user; ids, groups and columns stay those of
    the prompts.
    """

    behaviour: Behaviour

    def __call__(self, model: Model, prompts: Examples) -> Records:
        asked = self.behaviour(model, prompts.as_chat())
        return replace(asked, receipt=asked_of(self, model, prompts) if asked.receipt else {})
