"""report.json keeps to the JSON Schema that `joyctl schema report` prints, and the schema explains every key."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import fields, replace
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from report_campaign import ARMS, BASE, arm, write_campaign
from report_states import STATES, give_published, three_seeds

from joyctl.report import cost, curve, noise, worth
from joyctl.report import deltas as delta_values
from joyctl.report.jsonform import render_json
from joyctl.report.jsonschema import ReportJson, report_schema
from joyctl.report.jsonsections import Cost, CurvePoint, Delta, DurationCurve, Floor, LeftOut
from joyctl.report.report import Report, report


@cache
def validator() -> Any:
    jsonschema = pytest.importorskip("jsonschema")
    schema = report_schema()
    jsonschema.Draft202012Validator.check_schema(schema)
    return jsonschema.Draft202012Validator(schema)


def errors(value: object) -> list[str]:
    return [f"{error.json_path}: {error.message}" for error in validator().iter_errors(value)]


def through_a_file(made: Report) -> dict[str, Any]:
    value: dict[str, Any] = json.loads(json.dumps(render_json(made), allow_nan=False))
    return value


@pytest.mark.parametrize("state", STATES)
def test_every_state_of_a_campaign_keeps_to_the_schema(tmp_path: Path, state: str) -> None:
    folder = STATES[state](tmp_path / "tiny")
    give_published(folder)
    assert errors(through_a_file(report(folder))) == []


def whole(folder: Path) -> Report:
    """A report with a value in every section: three seeds, two sources left out, published numbers, costs."""
    no_code = arm(
        "drop-code-20", 0.2, "upsample-20", 0.6, 0.5, 0.1, 1.66, dropped=("code",), policy="renormalise", mix=BASE
    )
    write_campaign(folder, (*ARMS, no_code), seeds=3)
    give_published(folder)
    made = report(folder)
    hours = {"train": 1.5, "eval": 0.5}
    return replace(made, cost=cost.Cost(1_000, 2e9, "core", 2.0, 0.5, hours, 4_000, 8e9, 8.0, 0.04, "EUR"))


def test_every_section_keeps_to_the_schema_and_tells_its_value(tmp_path: Path) -> None:
    made = whole(tmp_path / "tiny")
    value = through_a_file(made)
    assert errors(value) == []
    assert made.curve is not None and made.datasets is not None
    task, metric, filter_ = made.columns[0].key
    key = {"task": task, "metric": metric, "filter": filter_}
    assert len(value["noise"]) == len(made.floors) > 0
    assert {**value["noise"][0], **key} == value["noise"][0]
    assert value["noise"][0]["trunk_sd"] == made.floors[0].trunk_sd
    assert value["curve"]["targeted"][0] == key
    durations = [point["duration"] for point in value["curve"]["points"]]
    assert durations == [point.duration for point in made.curve.points] == [0.0, 0.1, 0.2]
    assert {place["variant"] for place in value["datasets"]["ranks"][0]["places"]} == {"drop-math-20", "drop-code-20"}
    assert value["datasets"]["arms"][0]["deltas"][0] in value["averages"]


def first_items(value: Any) -> Any:
    """The same with two items of every list: one of a kind tells as much as all."""
    if isinstance(value, dict):
        return {key: first_items(item) for key, item in value.items()}
    return [first_items(item) for item in value[:2]] if isinstance(value, list) else value


def objects(value: Any) -> Iterator[dict[str, Any]]:
    """All objects of a report but those whose keys are data: mixes, changed keys, protocols."""
    if isinstance(value, list):
        for item in value:
            yield from objects(item)
    elif isinstance(value, dict):
        yield value
        for key, item in value.items():
            if key not in ("mix", "changed", "protocols", "by_stage", "wasted_by_stage", "shared_tokens"):
                yield from objects(item)


def test_a_key_that_is_not_described_is_against_it(tmp_path: Path) -> None:
    value = first_items(through_a_file(whole(tmp_path / "tiny")))
    seen = set()
    for each in objects(value):
        if frozenset(each) not in seen:  # one of each kind
            seen.add(frozenset(each))
            each["not_described"] = 1
            assert any("not_described" in error for error in errors(value)), each
            del each["not_described"]
    assert len(seen) >= 16 and errors(value) == []


def test_a_key_that_is_left_out_is_against_it(tmp_path: Path) -> None:
    value = through_a_file(report(three_seeds(tmp_path / "tiny")))
    for section in ReportJson.model_fields:
        if section != "cost":
            less = {key: item for key, item in value.items() if key != section}
            assert errors(less) == [f"$: '{section}' is a required property"]
    del value["deltas"][0]["q"]
    assert errors(value) == ["$.deltas[0]: 'q' is a required property"]


@pytest.mark.parametrize(
    ("value", "described"),
    [
        (delta_values.Delta, Delta),
        (noise.Floor, Floor),
        (curve.CurvePoint, CurvePoint),
        (curve.DurationCurve, DurationCurve),
        (worth.LeftOut, LeftOut),
        (cost.Cost, Cost),
    ],
)
def test_every_field_of_the_values_is_described(value: Any, described: Any) -> None:
    """Also where no campaign of these tests has such a value."""
    assert {field.name for field in fields(value)} - {"key"} <= set(described.model_fields)


def test_every_key_and_section_is_explained() -> None:
    schema = report_schema()
    sections = {"report.json": schema, **schema["$defs"]}
    assert [name for name, section in sections.items() if not section.get("description")] == []
    bare = [
        f"{name}.{key}"
        for name, section in sections.items()
        for key, node in section["properties"].items()
        if not node.get("description")
    ]
    assert bare == []
    assert all(section["additionalProperties"] is False for section in sections.values())


def test_the_command_prints_it() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "joyctl", "schema", "report"], capture_output=True, text=True, check=True
    )
    assert json.loads(done.stdout) == report_schema()
