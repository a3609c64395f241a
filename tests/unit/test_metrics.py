"""The table is what is exported, and nothing else can be counted."""

from __future__ import annotations

import pytest
from prometheus_client.parser import text_string_to_metric_families

from tocsin.metrics import BUCKETS_S, PREFIX, TABLE, Metric, Metrics


def fill(metrics: Metrics, row: Metric) -> None:
    labels = dict.fromkeys(row.labels, "x")
    if row.kind == "counter":
        metrics.count(row.name, 2, **labels)
    elif row.kind == "gauge":
        metrics.set(row.name, 2, **labels)
    else:
        metrics.observe(row.name, 0.003, **labels)
        metrics.observe(row.name, 2000.0, **labels)


@pytest.mark.evidence("`/readyz` says 503 until the service can serve, `/metrics` shows every row")
@pytest.mark.parametrize("row", TABLE, ids=lambda row: row.name)
def test_each_row_is_exported_with_its_kind_and_labels(row: Metric) -> None:
    metrics = Metrics()
    fill(metrics, row)
    families = {
        family.name: family for family in text_string_to_metric_families(metrics.render().decode())
    }
    family = families[PREFIX + row.name]
    assert family.type == row.kind
    assert family.documentation == row.help
    assert set(row.labels) <= set(family.samples[0].labels)
    assert metrics.value(row.name, **dict.fromkeys(row.labels, "x")) == 2
    assert any(sample.name.startswith(row.exported) for sample in family.samples)


def test_the_table_is_in_order_and_names_are_unique() -> None:
    names = [row.name for row in TABLE]
    assert names == sorted(set(names))


def test_help_is_a_sentence() -> None:
    assert all(row.help[0].isupper() or row.help[0].isdigit() for row in TABLE)
    assert all(row.help.endswith(".") for row in TABLE)


def test_what_is_not_in_the_table_cannot_be_counted() -> None:
    metrics = Metrics()
    with pytest.raises(KeyError):
        metrics.count("inventions")
    with pytest.raises(KeyError):
        metrics.set("calls", 1, command="push", code=0)
    with pytest.raises(ValueError, match="label"):
        metrics.count("calls", command="push", account="alice")


def test_a_gauge_goes_up_and_down() -> None:
    metrics = Metrics()
    metrics.add("in_flight", 3, channel="apns")
    metrics.add("in_flight", -1, channel="apns")
    assert metrics.value("in_flight", channel="apns") == 2
    assert metrics.value("in_flight", channel="fcm") == 0


def test_two_services_in_one_process_count_apart() -> None:
    one, other = Metrics(), Metrics()
    one.count("acks")
    assert one.value("acks") == 1
    assert other.value("acks") == 0


def test_a_span_beyond_the_last_bucket_is_kept() -> None:
    metrics = Metrics()
    metrics.observe("store_commit_seconds", BUCKETS_S[-1] * 10)
    assert metrics.value("store_commit_seconds") == 1


def test_the_process_itself_is_exported() -> None:
    text = Metrics().render().decode()
    assert "process_resident_memory_bytes" in text
    assert "python_info" in text
