from __future__ import annotations

from pipeline.graph import free_ports


def test_ports_are_different() -> None:
    for _ in range(20):
        assert len(set(free_ports(50))) == 50
