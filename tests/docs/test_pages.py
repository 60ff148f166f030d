"""What our pages say is so: their commands work, their links lead somewhere, generated ones are current."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.docs.console import ROOT, Reader, steps_of

PAGES = [ROOT / "README.md", ROOT / "CHANGELOG.md", *sorted((ROOT / "docs").rglob("*.md"))]
PAGES_WITH_COMMANDS = [page for page in PAGES if "```console" in page.read_text()]

DEFINITION = re.compile(r"^(?:async )?def (test_\w+)", re.MULTILINE)


def name_of(page: Path) -> str:
    return str(page.relative_to(ROOT))


@pytest.fixture
def reader(tmp_path: Path) -> Iterator[Reader]:
    reader = Reader.in_fresh_checkout(tmp_path)
    yield reader
    reader.stop_broker()


@pytest.mark.parametrize("page", PAGES_WITH_COMMANDS, ids=name_of)
def test_commands_do_what_the_page_says(page: Path, reader: Reader) -> None:
    """Who types the commands of a page, in order, in a fresh checkout, sees what the page shows."""
    for step in steps_of(page.read_text()):
        reader.type(step)


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_links_lead_somewhere(page: Path) -> None:
    """Each relative link names a file that exists and, behind a #, a heading in it."""
    for target in re.findall(r"\]\(([^)\s]+)\)", page.read_text()):
        if target.startswith(("https://", "http://")):
            continue
        name, _, heading = target.partition("#")
        linked = (page.parent / name).resolve() if name else page
        assert linked.exists(), f"{name_of(page)} links to {target}"
        if heading:
            assert heading in headings(linked.read_text()), f"{name_of(page)} links to {target}"


def headings(text: str) -> set[str]:
    """The anchors of a page's headings, as GitHub makes them."""
    titles = re.findall(r"^#+ (.*)$", text, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_the_tests_that_pages_name_are_there(page: Path) -> None:
    """A page that says a test shows something names one that exists, and one alone of that name."""
    text = page.read_text()
    names = set(re.findall(r"`(test_\w+)`", text))
    defined = [name for file in ROOT.glob("tests/**/test_*.py") for name in DEFINITION.findall(file.read_text())]
    assert {name: defined.count(name) for name in names} == dict.fromkeys(names, 1)
    for file in re.findall(r"\btests/[\w/]+\.py\b", text):
        assert (ROOT / file).exists(), f"{name_of(page)} names {file}"


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_pages_know_no_machine(page: Path) -> None:
    """No page names a directory of somebody's machine."""
    assert not re.search(r"(?<![\w.])/(home|root|work|Users|private)/", page.read_text())


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_python_in_pages_compiles(page: Path) -> None:
    """Every block of Python is Python."""
    for block in re.findall(r"^```python\n(.*?)^```$", page.read_text(), re.MULTILINE | re.DOTALL):
        compile(block, name_of(page), "exec")


@pytest.mark.parametrize("name", ["README.md", "docs/README.fr.md"])
def test_the_two_commands_are_there(name: str) -> None:
    """Each start page has the one line that runs a broker and the one that runs the tests, which `.ci/run` takes from it."""
    lines = (ROOT / name).read_text().splitlines()
    assert "python3 -m venv .venv && .venv/bin/pip install -q -e . && .venv/bin/python broker.py" in lines
    assert "python3 -m venv .venv && .venv/bin/pip install -q -e '.[test]' && .venv/bin/pytest -n auto" in lines
