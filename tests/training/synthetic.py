"""A tiny data set in BasicIRSTD layout: noise with bright squares, and their exact masks."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import yaml


def write_set(folder: Path, pictures: int = 12, size: int = 64, dtype: type = np.uint8, seed: int = 0) -> list[str]:
    """Write ``images/``, ``masks/`` and ``img_idx/train.txt``; returns the names."""
    rng = np.random.default_rng(seed)
    unit = (int(np.iinfo(dtype).max) + 1) // 256
    for part in ("images", "masks", "img_idx"):
        (folder / part).mkdir(parents=True)
    names = [f"p{k}" for k in range(pictures)]
    for name in names:
        picture = rng.normal(80, 5, (size, size))
        mask = np.zeros((size, size), np.uint8)
        for _ in range(2):
            x, y = rng.integers(4, size - 7, 2)
            picture[y : y + 3, x : x + 3] += 100
            mask[y : y + 3, x : x + 3] = 255
        cv2.imwrite(str(folder / "images" / f"{name}.png"), (np.clip(picture, 0, 255) * unit).astype(dtype))
        cv2.imwrite(str(folder / "masks" / f"{name}.png"), mask)
    (folder / "img_idx" / "train.txt").write_text("\n".join(names) + "\n")
    return names


def write_recipe(file: Path, root: Path, folders: tuple[str, ...] = ("tiny",), **run: object) -> Path:
    """Write a recipe for these data sets whose steps take a fraction of a second."""
    tree = {
        "network": {"name": "mshnet", "options": {"in_channels": 1}},
        "data": {
            "root": str(root),
            "crop": 32,
            "batch": 2,
            "sources": [{"folder": folder, "validation": 0.4} for folder in folders],
        },
        "optimiser": {"ema": 0.8, "warm_up": 0.0},
        "run": {"steps": 4, "log_steps": 2, "threads": 1, "device": "cpu", "precision": "float32"} | run,
    }
    file.write_text(yaml.safe_dump(tree))
    return file
