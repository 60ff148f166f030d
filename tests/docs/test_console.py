"""The reader of our pages reads as its convention says."""

import pytest

from tests.docs.console import Step, pattern, steps_of

PAGE = """\
Text, and a block that is not for the reader:

```sh
rm -rf everything
```

```console
$ minibroker serve
minibroker … listens on …
$ first \\
  --flag
out
$ follows
a
^C
```

```console
^C
$ last
```
"""


def test_only_console_blocks_are_typed_and_in_order() -> None:
    """Commands with their output, ^C to the command above or to the broker, lines joined at a backslash."""
    assert list(steps_of(PAGE)) == [
        Step(line=8, command="minibroker serve", expected=("minibroker … listens on …",)),
        Step(line=10, command="first --flag", expected=("out",)),
        Step(line=13, command="follows", expected=("a",), interrupted=True),
        Step(line=19, command=None),
        Step(line=20, command="last"),
    ]


@pytest.mark.parametrize(
    ("expected", "printed", "matches"),
    [
        (("a", "b"), "a\nb\n", True),
        (("a", "b"), "a\nb\nc\n", False),
        (("a.c",), "abc\n", False),
        (("a…c",), "a any c\n", True),
        (("a…c",), "a\nc\n", False),
        (("…", "b"), "x\ny\nb\n", True),
        (("…",), "", True),
    ],
)
def test_the_ellipsis_stands_for_anything(expected: tuple[str, ...], printed: str, matches: bool) -> None:
    """In a line for anything in that line, alone for any lines, and everything else only for itself."""
    assert (pattern(expected).fullmatch(printed) is not None) == matches
