"""The checks of tools.chaos report manipulated outputs, and nothing else."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from run_stream import main
from tests.e2e.harness import SMALL
from tools.chaos.checks import Expect, objections
from tools.chaos.evidence import Evidence, read_files, read_record
from tools.chaos.report import percentile

FRAMES = 12
LIMIT_S = 10.0


@pytest.fixture(scope="module")
def real_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("real")
    assert main([SMALL, "--set", "detect.threads=1", "--out", str(out)]) == 0
    return out


@pytest.fixture
def out(real_run: Path, tmp_path: Path) -> Path:
    return shutil.copytree(real_run, tmp_path / "out")


def evidence(out: Path, **changes: Any) -> Evidence:
    found: dict[str, Any] = {
        "exit_code": 0,
        "errors": "",
        "record": read_record(out),
        "files": {"demo": read_files(out / "demo")},
        "lengths": {"demo": FRAMES},
    }
    return Evidence(**(found | changes))


def objected(out: Path, expect: Expect | None = None, **changes: Any) -> str:
    (objection,) = objections(evidence(out, **changes), expect or Expect(), LIMIT_S)
    return objection


def edit(path: Path, change: Callable[[list[bytes]], object]) -> None:
    lines = path.read_bytes().splitlines(keepends=True)
    change(lines)
    path.write_bytes(b"".join(lines))


def edit_account(out: Path, **numbers: Any) -> None:
    record = read_record(out)
    record["sources"]["demo"]["account"] |= numbers
    (out / "run.json").write_text(json.dumps(record))


def both(out: Path, change: Callable[[list[bytes]], object]) -> None:
    for name in ("tracks.jsonl", "detections.jsonl"):
        edit(out / "demo" / name, change)


def test_untouched_outputs_pass(out: Path) -> None:
    seen = evidence(out)
    assert seen.files["demo"].tracks == list(range(FRAMES))
    assert seen.files["demo"].videos == {"overlay.mp4": FRAMES}
    assert objections(seen, Expect(), LIMIT_S) == []


def test_duplicated_line(out: Path) -> None:
    both(out, lambda lines: lines.insert(5, lines[4]))
    said = objections(evidence(out), Expect(), LIMIT_S)
    assert "demo: 1 duplicate frames in tracks.jsonl, or frames out of order" in said
    assert "demo: 13 lines of tracks for 12 frames delivered" in said


def test_duplicate_that_takes_the_place_of_another_line(out: Path) -> None:
    both(out, lambda lines: lines.__setitem__(5, lines[4]))
    assert objected(out) == "demo: 1 duplicate frames in tracks.jsonl, or frames out of order"


def test_lines_out_of_order(out: Path) -> None:
    both(out, lambda lines: lines.reverse())
    assert objected(out) == "demo: 0 duplicate frames in tracks.jsonl, or frames out of order"


def test_missing_line(out: Path) -> None:
    both(out, lambda lines: lines.pop(5))
    assert "demo: 11 lines of tracks for 12 frames delivered" in objections(evidence(out), Expect(), LIMIT_S)


def test_line_missing_in_one_file_only(out: Path) -> None:
    edit(out / "demo" / "detections.jsonl", lambda lines: lines.pop(5))
    assert objected(out) == "demo: tracks and detections have different frames"


def test_torn_line(out: Path) -> None:
    edit(out / "demo" / "tracks.jsonl", lambda lines: lines.append(lines.pop()[:-1]))
    assert objected(out) == "demo: tracks.jsonl holds a torn line"


def test_account_that_does_not_close(out: Path) -> None:
    edit_account(out, captured=FRAMES + 1)
    said = objections(evidence(out, lengths={"demo": FRAMES + 1}), Expect(), LIMIT_S)
    assert said == ["demo: captured 13 is not delivered 12 + dropped 0 + lost 0"]


def test_source_that_was_not_read_to_its_end(out: Path) -> None:
    assert objected(out, lengths={"demo": 20}) == "demo: captured 12 of 20 frames"
    assert objections(evidence(out, lengths={"demo": 20}), Expect(complete=False), LIMIT_S) == []


def test_loss_that_is_not_allowed(out: Path) -> None:
    edit_account(out, captured=FRAMES + 2, lost={"crash": 2})
    seen = evidence(out, lengths={})
    assert objections(seen, Expect(), LIMIT_S) == ["2 frames lost (crash), at most 0 allowed"]
    assert objections(seen, Expect(lost={"crash": 1}), LIMIT_S) == ["2 frames lost (crash), at most 1 allowed"]
    assert objections(seen, Expect(lost={"crash": 2}), LIMIT_S) == []


def test_video_that_cannot_be_played(out: Path) -> None:
    (out / "demo" / "overlay.mp4").write_bytes(b"no video")
    assert "demo: overlay.mp4 cannot be played" in objections(evidence(out), Expect(), LIMIT_S)


def test_wrong_restarts(out: Path) -> None:
    said = objected(out, Expect(restarted=frozenset(("detect",))))
    assert said == "restarted: none; expected: detect"


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"exit_code": 5}, "exit code 5, expected 0"),
        ({"errors": "Traceback (most recent call last):"}, "a traceback on standard error"),
        ({"survivors": ["python -m pipeline.worker 1 detect"]}, "still running: python -m pipeline.worker 1 detect"),
        ({"leftovers": ["irst-1-a"]}, "left behind: irst-1-a"),
        ({"recoveries": [1.0, LIMIT_S + 1]}, "recovery took 11.0 s, the limit is 10 s"),
    ],
)
def test_evidence_besides_the_output_files(out: Path, changes: dict[str, Any], said: str) -> None:
    assert objected(out, **changes) == said


def test_error_text_that_is_missing(out: Path) -> None:
    assert (
        objected(out, Expect(named="No space left"), errors="oops") == "standard error does not contain 'No space left'"
    )


def test_missing_record(out: Path) -> None:
    (out / "run.json").write_text("{")
    assert "run.json is missing or broken" in objections(evidence(out), Expect(), LIMIT_S)


def test_percentile_is_a_value_that_occurred() -> None:
    assert [percentile([4.0, 1.0, 3.0, 2.0], share) for share in (0.0, 0.5, 0.51, 0.95, 1.0)] == [1, 2, 3, 4, 4]
