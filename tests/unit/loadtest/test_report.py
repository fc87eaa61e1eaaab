"""Medians, ratios, and the two forms in which figures are printed."""

import json

import pytest

from loadtest.report import Column, Report, percentile, ratios


def test_a_ratio_is_taken_within_its_round() -> None:
    rows = {"floor": [{"us": 2.0}, {"us": 4.0}], "broker": [{"us": 3.0}, {"us": 4.0}]}
    ratios(rows, "us", "floor")
    assert [each["ratio"] for each in rows["broker"]] == [1.5, 1.0]
    assert [each["ratio"] for each in rows["floor"]] == [1.0, 1.0]


@pytest.mark.parametrize(("share", "value"), [(0.5, 50.0), (0.99, 99.0), (1.0, 99.0)])
def test_percentile(share: float, value: float) -> None:
    assert percentile(list(range(100)), share) == value
    assert percentile([], share) == 0.0


def test_a_table_has_medians_and_a_line_of_json_for_each_row(capsys: pytest.CaptureFixture[str]) -> None:
    report = Report({"commit": "abc", "mode": "compiled"})
    rows = {
        "floor": [{"us": 1.0, "waiting_share": 0.5}, {"us": 3.0, "waiting_share": 0.5}],
        "broker": [{"us": 2.0, "generator_share": 0.95}, {"us": 2.0, "generator_share": 0.95}],
    }
    report.table("a title", [Column("us", "us/delivery"), Column("p50", "p50 ms")], rows, rate=100)
    lines = capsys.readouterr().out.strip().split("\n")
    assert lines[0] == "a title"
    assert lines[1].split() == ["us/delivery", "p50", "ms"]
    assert lines[2].split() == ["floor", "2.00"]
    assert lines[3].split() == ["broker", "2.00"]
    assert lines[4].startswith("floor: waited for a core")
    assert lines[5].startswith("broker: the generator was near its core's limit")
    figures = [json.loads(line) for line in lines[6:]]
    assert [figure["name"] for figure in figures] == ["floor", "broker"]
    assert figures[0] == {
        "figure": "a title",
        "rate": 100,
        "name": "floor",
        "rounds": 2,
        "us": 2.0,
        "waiting_share": 0.5,
        "commit": "abc",
        "mode": "compiled",
    }


def test_a_table_for_a_document(capsys: pytest.CaptureFixture[str]) -> None:
    Report({}, is_markdown=True).table("a title", [Column("us", "us/delivery")], {"floor": [{"us": 1.0}]})
    assert capsys.readouterr().out.split("\n")[1:6] == [
        "a title",
        "",
        "|  | us/delivery |",
        "| --- | ---: |",
        "| floor | 1.00 |",
    ]
