"""The few numbers of a reading by which runs are held against each other."""

from experiments.report import Report
from probes.evidence.decodable import Decodable


def headlines_of_reading(reading: Decodable, report: Report) -> None:
    """What `reading.numbers` says in words: the probe at its chosen site on test rows, beside shuffled labels
    and the bare text.
    """
    report.headline("auroc", reading.first.at_site)
    report.headline("auroc_shuffled_95", reading.null.level())
    report.headline("auroc_text_alone", reading.best_text[1])
