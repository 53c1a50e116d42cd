"""Which operations of a quantised network stay in floating point. The results are tested with the export."""

from __future__ import annotations

import pytest

import nets
from nets.export import to_openvino
from nets.fold import fold
from tools.quantise import _exact

pytest.importorskip("openvino")


def kept(architecture, **options):
    network = nets.build(architecture, in_channels=3, **options).eval()
    names = _exact(to_openvino(fold(network), 3))
    return {name.split("/")[0].removeprefix("__module.") for name in names if name.endswith("/Convolution")}


def test_the_ends_of_the_edge_network_are_kept():
    assert kept("edge_unet") == {"stem.0", "head"}


def test_mshnet_keeps_what_runs_at_full_resolution_heads_and_gates():
    names = kept("mshnet")
    assert {"stem", "fuse", "encoders.0.0.conv1", "decoders.0.0.conv2"} <= names
    assert {f"heads.{level}" for level in range(4)} <= names
    assert not {"encoders.1.0.conv1", "middle.0.conv2", "decoders.1.1.conv1"} & names
