"""The report of a run as one page: its sections in order."""

from components.publishing.facts import Facts
from components.publishing.page import draw_page
from components.publishing.reading import describe_continuations, describe_places, describe_samples
from components.publishing.removed import describe_copies
from components.publishing.results import (
    describe_lines,
    describe_pass_rates,
    describe_published,
    describe_verdicts,
)
from components.publishing.sections import (
    describe_corpus,
    describe_licenses,
    describe_tokens,
    describe_training,
    draw_lead,
)

_SECTIONS = (
    describe_corpus,
    describe_licenses,
    describe_tokens,
    describe_training,
    describe_pass_rates,
    describe_published,
    describe_verdicts,
    describe_lines,
    describe_samples,
    describe_continuations,
    describe_copies,
    describe_places,
)


def draw_report(facts: Facts, code_version: str) -> str:
    """Draw the page.

    Args:
        facts: the run's artifacts.
        code_version: of the codekiln that publishes.
    """
    sections = [describe(facts) for describe in _SECTIONS]
    return draw_page(facts.config.title, draw_lead(facts), sections, code_version)
