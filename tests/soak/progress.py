"""What of each row was done, kept in a file, so that a run goes on where the last one stopped."""

from __future__ import annotations

import json
import os
from pathlib import Path

import attrs
import cattrs


@attrs.define(kw_only=True)
class Violation:
    """A unit that failed."""

    seed: int
    text: str


@attrs.define(kw_only=True)
class Done:
    """Of one row."""

    first_seed: int
    next_seed: int
    """Everything from the first up to here was begun."""
    unfinished: list[int] = attrs.field(factory=list)
    """Of those, what was begun and not finished: to be done again."""
    cases: int = 0
    seconds: float = 0
    """Of work, in all processes together."""
    is_over: bool = False
    """There are no more cases."""
    violations: list[Violation] = attrs.field(factory=list)

    def begin(self) -> int:
        """The seed to do next; those that a stopped run has left come first."""
        seed = self.next_seed
        self.next_seed += 1
        self.unfinished.append(seed)
        return seed

    def finish(self, seed: int, cases: int, seconds: float) -> None:
        """One is done."""
        self.unfinished.remove(seed)
        self.cases += cases
        self.seconds += seconds
        self.is_over = self.is_over or not cases

    def fail(self, seed: int, text: str) -> None:
        """One has failed; it stays unfinished, so that the next run begins with it."""
        self.violations = [violation for violation in self.violations if violation.seed != seed]
        self.violations.append(Violation(seed=seed, text=text))


@attrs.define
class Progress:
    """Of all rows, by their names."""

    path: Path
    rows: dict[str, Done] = attrs.field(factory=dict)

    @classmethod
    def load(cls, path: Path) -> Progress:
        """From the file, or empty. Raises ValueError if it is none of ours."""
        if not path.exists():
            return cls(path)
        try:
            return cls(path, cattrs.structure(json.loads(path.read_bytes()), dict[str, Done]))
        except Exception as error:
            raise ValueError(f"{path} is no progress of a long run: {error}") from error

    def of(self, name: str, seed: int) -> Done:
        """Of one row; it begins at `seed` if it has not begun."""
        return self.rows.setdefault(name, Done(first_seed=seed, next_seed=seed))

    def save(self) -> None:
        """Replace the file."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        aside = self.path.with_suffix(".tmp")
        aside.write_text(json.dumps(cattrs.unstructure(self.rows), indent=1) + "\n")
        os.replace(aside, self.path)
