"""docs/protocol-support.md is what the registry and the handlers say."""

from minibroker.handlers.reference import reference
from tests.docs.console import ROOT


def test_the_page_is_current() -> None:
    """The page is what `python -m minibroker.handlers.reference` prints now."""
    assert (ROOT / "docs" / "protocol-support.md").read_text().splitlines() == list(reference())
