"""Reference scoring in plain loops, from the published descriptions alone; shares no code with what it checks."""

from __future__ import annotations

import math
from itertools import combinations, permutations

BINS = ((1, 4), (5, 9), (10, 25), (26, math.inf))


def blobs(rows):
    """8-connected groups of true cells as lists of (row, column), in raster order of their first cell."""
    left = {(r, c) for r, row in enumerate(rows) for c, cell in enumerate(row) if cell}
    found = []
    for start in sorted(left):
        if start not in left:
            continue
        left.remove(start)
        group, todo = [], [start]
        while todo:
            r, c = todo.pop()
            group.append((r, c))
            for neighbour in ((r + i, c + j) for i in (-1, 0, 1) for j in (-1, 0, 1)):
                if neighbour in left:
                    left.remove(neighbour)
                    todo.append(neighbour)
        found.append(group)
    return found


def apart(one, other):
    """Distance between the centroids of two groups."""
    (r, c), (s, d) = ([sum(cell[axis] for cell in group) / len(group) for axis in (0, 1)] for group in (one, other))
    return math.hypot(r - s, c - d)


def legacy(pictures):
    """Figures of (logits, label) pictures, as nested lists, computed like the published evaluation."""
    inter = union = targets = hits = false = components = cells = 0
    ious = []
    for logits, label in pictures:
        here_inter = here_union = 0
        for logit_row, label_row in zip(logits, label, strict=True):
            for logit, value in zip(logit_row, label_row, strict=True):
                cells += 1
                predicted = 1 if logit > 0 else 0
                # Predictions are multiplied by their equality with the label, so only a label of exactly 1 can be hit.
                hit = predicted * (1 if predicted == value else 0)
                inter += hit
                union += predicted + (1 if value >= 0.5 else 0) - hit
                here_inter += hit
                here_union += predicted + int(value) - hit
        ious.append(here_inter / here_union if here_union else 0.0)

        predictions = blobs([[logit > 0 for logit in row] for row in logits])
        areas = [len(blob) for blob in predictions]
        matched = []
        for target in blobs([[int(value) for value in row] for row in label]):
            targets += 1
            for k, blob in enumerate(predictions):
                if apart(blob, target) < 3:
                    hits += 1
                    matched.append(len(blob))
                    del predictions[k]
                    break
        unmatched = [area for area in areas if area not in matched]
        components += len(unmatched)
        false += sum(unmatched)
    return {
        "pictures": len(pictures),
        "targets": targets,
        "iou": inter / union if union else None,
        "niou": sum(ious) / len(ious),
        "pd": hits / targets if targets else None,
        "fa": false / cells,
        "false_alarms_per_picture": components / len(pictures),
    }


def strict(pictures):
    """Figures of (predicted, truth) masks, as a list with one entry per way of breaking ties in the matching."""
    inter = union = cells = 0
    ious, totals = [], [0] * len(BINS)
    ways = {((0,) * len(BINS), 0, 0)}
    for predicted, truth in pictures:
        pairs = [(p, t) for rows in zip(predicted, truth, strict=True) for p, t in zip(*rows, strict=True)]
        cells += len(pairs)
        here_inter, here_union = sum(1 for p, t in pairs if p and t), sum(1 for p, t in pairs if p or t)
        inter, union = inter + here_inter, union + here_union
        if here_union:
            ious.append(here_inter / here_union)
        found, targets = blobs(predicted), blobs(truth)
        for target in targets:
            totals[size(target)] += 1
        ways = {
            (tuple(a + b for a, b in zip(bins, more, strict=True)), pixels + less, count + fewer)
            for bins, pixels, count in ways
            for more, less, fewer in outcomes(found, targets)
        }
    n = len(pictures)
    return [
        {
            "pictures": n,
            "targets": sum(totals),
            "iou": inter / union if union else None,
            "niou": sum(ious) / len(ious) if ious else None,
            "pd": sum(bins) / sum(totals) if sum(totals) else None,
            "fa": pixels / cells,
            "false_alarms_per_picture": count / n,
            "pd_by_area": [(total, hit / total if total else None) for total, hit in zip(totals, bins, strict=True)],
        }
        for bins, pixels, count in ways
    ]


def size(blob):
    """Index of the size bin."""
    return next(k for k, (low, high) in enumerate(BINS) if low <= len(blob) <= high)


def outcomes(found, targets):
    """Targets hit per size bin, false pixels and false components of every best assignment, by exhaustive search."""
    for pairs in range(min(len(found), len(targets)), -1, -1):
        tried = []
        for some in combinations(targets, pairs):
            for order in permutations(found, pairs):
                distances = [apart(p, t) for p, t in zip(order, some, strict=True)]
                if all(distance < 3 for distance in distances):
                    bins = tuple(sum(1 for t in some if size(t) == k) for k in range(len(BINS)))
                    pixels = sum(map(len, found)) - sum(map(len, order))
                    tried.append((sum(distances), (bins, pixels, len(found) - pairs)))
        if tried:
            least = min(total for total, _ in tried)
            return {outcome for total, outcome in tried if total < least + 1e-9}
    raise AssertionError("no pairs at all is always possible")
