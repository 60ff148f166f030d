"""The benchmarks themselves: what they compare, what they refuse to say, and that nothing of a run is lost."""

import json
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import attrs
import pytest

from minibroker.load.producing import run_produce
from minibroker.load.specs import ProduceSpec, Span
from minibroker.load.statistics import Comparison
from minibroker.load.topics import create_topic
from minibroker.testing import BrokerThread
from tests.benchmarks.__main__ import main, run_case
from tests.benchmarks.brokers import KafkaPeer
from tests.benchmarks.case import KAFKA, OURS, Bench, Case, Turn
from tests.benchmarks.cases import CASES
from tests.benchmarks.lines import LINES, Goal, Line, Verdict
from tests.benchmarks.loads.clients import CONSUME, PRODUCE, ClientName, ClientSpec, run_client
from tests.benchmarks.loads.commits import CommitSpec, run_commits
from tests.benchmarks.loads.limits import LimitName, LimitSpec, run_limit
from tests.benchmarks.plots import PLOTS, draw_plots
from tests.benchmarks.processes import BenchmarkError, run_load
from tests.benchmarks.report import BEGIN, END, page_section, rows, write_page
from tests.benchmarks.results import Results

AT_LEAST_TWICE = Goal(over=KAFKA, at_least=2)
AT_MOST_HALF = Goal(over=KAFKA, at_most=0.5)
AT_LEAST_80_PERCENT = Goal(over=KAFKA, at_least=0.8)


@pytest.mark.parametrize(
    ("goal", "ours", "theirs", "verdict"),
    [
        pytest.param(AT_LEAST_TWICE, [30, 31, 32], [10, 10, 10], Verdict.REACHED, id="clearly more"),
        pytest.param(AT_LEAST_TWICE, [15, 16, 17], [10, 10, 10], Verdict.MISSED, id="clearly too little"),
        pytest.param(AT_LEAST_TWICE, [19, 21, 22], [10, 10, 10], Verdict.WITHIN_NOISE, id="about as much as asked"),
        pytest.param(AT_MOST_HALF, [3, 4, 4], [10, 10, 10], Verdict.REACHED, id="clearly less"),
        pytest.param(AT_MOST_HALF, [6, 7, 7], [10, 10, 10], Verdict.MISSED, id="clearly too much"),
        pytest.param(AT_LEAST_TWICE, [30], [10], Verdict.ONE_ROUND, id="one round proves nothing"),
        pytest.param(AT_LEAST_TWICE, [30, 300], [10, 100], Verdict.WITHIN_NOISE, id="runs that overlap do not differ"),
        pytest.param(AT_LEAST_80_PERCENT, [10, 11], [11, 10], Verdict.REACHED, id="equal is enough for no less than"),
        pytest.param(AT_LEAST_TWICE, [], [], Verdict.NOT_MEASURED, id="no figures"),
    ],
)
def test_a_goal_is_judged_by_all_rounds(goal: Goal, ours: list[float], theirs: list[float], verdict: Verdict) -> None:
    """Reached or missed only if the rounds agree; a difference only if the runs of both sides are apart."""
    assert goal.judge(Comparison.of(ours, theirs) if ours else None) is verdict


def test_a_line_compares_rounds_in_which_both_sides_ran() -> None:
    """A side that failed in one round takes that round out of the ratio, not the rounds that are whole."""
    line = Line(work="w", case="c", metric="m", unit="", goals=(AT_LEAST_TWICE,))
    rounds = [{OURS: {"m": 4.0}, KAFKA: {"m": 2.0}}, {OURS: {"m": 9.0}}, {OURS: {"m": 6.0}, KAFKA: {"m": 2.0}}]
    comparison = line.compare(rounds, KAFKA)
    assert comparison is not None
    assert (comparison.ratio, comparison.low, comparison.high, comparison.rounds) == (2.5, 2, 3, 2)


def test_every_line_is_about_figures_that_are_measured() -> None:
    """The table names cases, sides and plots that exist."""
    sides = {case.name: set(case.sides) for case in CASES}
    assert len(sides) == len(CASES)
    for line in LINES:
        assert {line.ours, *(goal.over for goal in line.goals)} <= sides[line.case]
    assert {plot.case for plot in PLOTS} <= set(sides)


def counting_case(calls: list[str], failing: str | None = None) -> Case:
    """A case whose sides write down that they ran."""

    def turn(side: str) -> Turn:
        def run(_: Bench) -> dict[str, float]:
            calls.append(side)
            if side == failing:
                raise BenchmarkError("it is broken")
            return {"mb_per_s": 10.0 * len(calls)}

        return run

    return Case(name="c", work="w", sides={side: turn(side) for side in (OURS, KAFKA)})


def test_sides_take_turns_and_rounds_are_resumed(tmp_path: Path) -> None:
    """A B A B, saved after each round; a second run does only what is missing."""
    path = tmp_path / "results.json"
    calls: list[str] = []
    bench = Bench(tmp_path, None)
    run_case(counting_case(calls), bench, Results({}), 2, path)
    assert calls == [OURS, KAFKA, OURS, KAFKA]
    results = Results.load(path)
    assert results is not None
    assert results.of("c")[1] == {OURS: {"mb_per_s": 30.0}, KAFKA: {"mb_per_s": 40.0}}
    run_case(counting_case(calls), bench, results, 3, path)
    assert calls == [OURS, KAFKA] * 3


def test_a_side_that_fails_is_named_and_the_others_go_on(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """No figure is better than a wrong one, and its absence is said aloud."""
    calls: list[str] = []
    results = Results({})
    run_case(counting_case(calls, failing=KAFKA), Bench(tmp_path, None), results, 2, tmp_path / "results.json")
    assert calls == [OURS, KAFKA, OURS]
    assert results.errors == {"c/kafka": "it is broken"}
    assert "kafka: NO FIGURES: it is broken" in capsys.readouterr().out


def test_without_a_kafka_its_sides_say_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The script is looked for where the environment says."""
    monkeypatch.setenv("TEST_PEER_KAFKA", str(tmp_path / "nowhere"))
    with pytest.raises(BenchmarkError, match="nowhere does not exist"):
        KafkaPeer()
    with pytest.raises(BenchmarkError, match="no Kafka to compare with"):
        Bench(tmp_path, None).broker(KAFKA)


def test_the_page_gets_the_table_between_its_markers(tmp_path: Path) -> None:
    """What people wrote stays; what was measured is replaced."""
    results = Results({"cores": "2"})
    for factor in (1.0, 1.1):
        results.add("produce-1mb", {side: {"mb_per_s": factor * value} for side, value in ((OURS, 300), (KAFKA, 200))})
    page = tmp_path / "page.md"
    page.write_text(f"before\n{BEGIN}\nwhat was there\n{END}\nafter\n")
    write_page(page, results, CASES)
    text = page.read_text()
    assert text.startswith("before\n")
    assert text.endswith("after\n")
    assert "what was there" not in text
    assert "| produce, 1 MB batches, acks=all, synced | 315 (300 to 330) MB/s | 210 (200 to 220) MB/s | 1.50 " in text
    assert page_section(results, CASES) in text
    (row,) = [
        row for row in rows(results) if row.work.startswith("produce, 1 MB batches, acks=all") and "kafka" in row.goal
    ]
    assert row.verdict == "reached"


def test_plots_are_drawn_from_sweeps(tmp_path: Path) -> None:
    """An SVG with a point for each value and a line for each side."""
    results = Results({})
    for factor in (1.0, 2.0):
        results.add(
            "sweep-batch-size", {f"{s}@{x}": {"mb_per_s": factor * x} for s in (OURS, KAFKA) for x in (10, 1000)}
        )
    (path,) = draw_plots(results, tmp_path)
    root = ElementTree.parse(path).getroot()
    names = [element.tag.rpartition("}")[2] for element in root]
    assert names.count("polyline") == 2
    assert names.count("circle") == 4


def test_a_load_reports_from_its_own_process(minibroker: BrokerThread) -> None:
    """The harness sees what the generator saw, and one line of what went wrong."""
    create_topic(minibroker.address, "t")
    spec = ProduceSpec(address=minibroker.address, topic="t", span=Span(warm_up_s=0, max_bytes=100_000))
    report = run_load("produce", spec)
    assert report["bytes"] >= 100_000
    assert report["load_share"] > 0
    with pytest.raises(BenchmarkError, match="produce: looking up missing: UNKNOWN_TOPIC_OR_PARTITION"):
        run_load("produce", attrs.evolve(spec, topic="missing"))


def test_commits_are_counted_and_read_back(minibroker: BrokerThread) -> None:
    """Each group ends at the offset that was acknowledged last."""
    create_topic(minibroker.address, "t")
    spec = CommitSpec(address=minibroker.address, topic="t", groups=7, span=Span(warm_up_s=0, max_bytes=10_000))
    assert run_commits(spec).bytes >= 10_000


@pytest.mark.parametrize("client", ["minibroker", "confluent"])
def test_a_client_sends_and_reads_what_it_says(minibroker: BrokerThread, client: ClientName) -> None:
    """What a client says it sent is in the log, and it reads it again."""
    create_topic(minibroker.address, "t")
    spec = ClientSpec(address=minibroker.address, topic="t", client=client, work="produce", seconds=0.01)
    assert run_client(spec)["records_per_s"] > 0
    run_produce(ProduceSpec(address=minibroker.address, topic="t", span=Span(warm_up_s=0, max_bytes=2_000_000)))
    assert run_client(attrs.evolve(spec, work="consume"))["records_per_s"] > 0
    assert set(PRODUCE) <= set(CONSUME)


@pytest.mark.parametrize("limit", ["sendfile", "synced-append"])
def test_limits_are_measured(tmp_path: Path, limit: LimitName) -> None:
    """Each limit moves the bytes it is asked to move."""
    spec = LimitSpec(limit=limit, directory=str(tmp_path), total_bytes=4 << 20, seconds=0.01)
    assert run_limit(spec)["mb_per_s"] > 0


def test_the_command_lists_its_cases(capsys: pytest.CaptureFixture[str]) -> None:
    """One command runs all, and shows what that is."""
    assert main(["--list"]) == 0
    printed = capsys.readouterr().out
    assert all(case.name in printed for case in CASES)


def test_a_case_nobody_knows_is_an_error(capsys: pytest.CaptureFixture[str]) -> None:
    """A slip of the pen does not run an hour of something else."""
    assert main(["--only", "prodcue", "--fresh"]) == 2
    assert "no case is called prodcue" in capsys.readouterr().err


def test_results_of_another_format_are_not_resumed(tmp_path: Path) -> None:
    """A file this version does not understand is not half understood."""
    path = tmp_path / "results.json"
    Results({}).save(path)
    path.write_text(json.dumps({**json.loads(path.read_text()), "format": 0}))
    assert Results.load(path) is None
    assert Results.load(tmp_path / "none.json") is None
