"""Formatting of figures and tables."""

from __future__ import annotations

import pytest
from msgspec import Struct

from tools.benchmark.tables import cell, markdown


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (1234.5, "1,234"),
        (12.345, "12.3"),
        (1.2345, "1.23"),
        (0.012345, "0.0123"),
        (0.0, "0"),
        (-5.678, "-5.68"),
        (12345, "12,345"),
        (True, "yes"),
        (None, "-"),
        (float("nan"), "-"),
        ("tcp", "tcp"),
    ],
)
def test_three_digits(value: object, text: str) -> None:
    assert cell(value) == text


class Row(Struct):
    way: str
    p99_ms: float | None


def test_table() -> None:
    head, rule, first, second = markdown([Row("a", 1.0), Row("b", None)]).splitlines()
    assert (head, rule) == ("| way | p99 ms |", "|---|---:|")
    assert (first, second) == ("| a | 1.00 |", "| b | - |")
