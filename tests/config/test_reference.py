"""docs/configuration.md is what the code says."""

from pathlib import Path

from minibroker.config.reference import reference

PAGE = Path(__file__).parents[2] / "docs" / "configuration.md"


def test_the_page_is_current() -> None:
    """The page is what `python -m minibroker.config.reference` prints now."""
    assert PAGE.read_text().splitlines() == list(reference())
