"""Folding for deployment: the same logits from fewer and simpler layers."""

from __future__ import annotations

import copy
from collections import Counter

from torch import fx, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from nets.layers.shaped import ShapedConv2d


def fold(network: nn.Module) -> nn.Module:
    """Return an eval-mode copy without gradients whose linear layers are plain convolutions.

    Shaped convolutions (Gaussian, pinwheel, pinwheel bank) become ``nn.Conv2d`` with their current kernels. An
    ``nn.BatchNorm2d`` that is the only consumer of a convolution's output is merged into that convolution. Outputs
    agree with ``network.eval()`` up to rounding.

    Args:
        network: any network; left unchanged. A batch norm inside a module that ``torch.fx`` cannot trace is kept.
    """
    folded = _replace_shaped_convs(copy.deepcopy(network).eval()).requires_grad_(False)
    for module in list(folded.modules()):
        if any(isinstance(child, nn.BatchNorm2d) for child in module.children()):
            _absorb_norms(module)
    return folded


def _replace_shaped_convs(module: nn.Module) -> nn.Module:
    if isinstance(module, ShapedConv2d):
        return _plain_conv(module)
    for name, child in module.named_children():
        setattr(module, name, _replace_shaped_convs(child))
    return module


def _plain_conv(layer: ShapedConv2d) -> nn.Conv2d:
    weight = layer.weight.detach()
    channels, size = layer.raw_sigma.numel(), layer.size
    conv = nn.Conv2d(channels, len(weight), size, padding=size // 2, groups=channels, bias=False).eval()
    conv.weight = nn.Parameter(weight)
    return conv


class _ShallowTracer(fx.Tracer):
    """Tracer that records the calls between a module's direct children without tracing into them."""

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        return True


def _absorb_norms(module: nn.Module) -> None:
    """Merge batch norms of a module whose input is a convolution that is called once and has no other consumer."""
    try:
        graph = _ShallowTracer().trace(module)
    except (fx.proxy.TraceError, TypeError, RuntimeError):
        return
    nodes = [node for node in graph.nodes if node.op == "call_module"]
    calls = Counter(node.target for node in nodes)
    for node in nodes:
        source = node.args[0] if node.args else None
        if not isinstance(source, fx.Node) or source.op != "call_module":
            continue
        if calls[source.target] != 1 or calls[node.target] != 1 or len(source.users) != 1:
            continue
        conv, norm = module.get_submodule(str(source.target)), module.get_submodule(str(node.target))
        if not isinstance(conv, nn.Conv2d) or not isinstance(norm, nn.BatchNorm2d) or not norm.track_running_stats:
            continue
        module.set_submodule(str(source.target), fuse_conv_bn_eval(conv, norm).requires_grad_(False))
        module.set_submodule(str(node.target), nn.Identity())
