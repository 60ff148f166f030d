"""All cases, in the order in which they run."""

from tests.benchmarks.case import Case
from tests.benchmarks.cases import clients, fetch, groups, java, lifetime, produce, sweeps

CASES: tuple[Case, ...] = (
    *produce.CASES,
    *fetch.CASES,
    *groups.CASES,
    *clients.CASES,
    *java.CASES,
    *sweeps.CASES,
    *lifetime.CASES,
)
