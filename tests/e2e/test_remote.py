"""A remote camera through the whole pipeline, with a real server and real keys."""

from __future__ import annotations

from pathlib import Path

from tests.capture.remote_host import serving
from tests.capture.test_remote_keys import Machines
from tests.e2e.harness import FAST, assert_nothing_left, lines, record, run_program, start

SCENE = "test://crossing?width=96&height=96&frames=15&seed=3&snr=40"


def test_tracks_of_a_remote_camera_are_those_of_the_camera(tmp_path: Path, runtime: Path) -> None:
    machines = Machines(tmp_path)
    near, far = tmp_path / "near", tmp_path / "far"
    assert run_program(SCENE, *FAST, "--out", str(near), runtime=runtime).returncode == 0
    with serving(SCENE, "--keys", str(machines.camera)) as server:
        trust = f"capture.remote.keys={machines.viewer}"
        run = start(server.url, *FAST, "--set", trust, "--out", str(far), runtime=runtime)
        _, errors = run.communicate(timeout=120)
        assert (run.returncode, errors) == (0, "")
        assert server.finish()[:2] == (0, "captured 15, seen 15, dropped 0, lost 0\n")
    assert_nothing_left(run.pid, runtime)
    expected, tracks = lines(near / "crossing" / "tracks.jsonl"), lines(far / "127-0-0-1" / "tracks.jsonl")
    assert len(tracks) == 15
    assert any(line["tracks"] for line in tracks)
    assert [line | {"source": ""} for line in tracks] == [line | {"source": ""} for line in expected]
    done = record(far)
    account = done["sources"]["127-0-0-1"]["account"]
    assert done["drained"] is True
    assert account["closes"]
    assert account["captured"] == account["delivered"] == 15
    secret = (machines.viewer / "viewer.key_secret").read_text().split('secret-key = "')[1].split('"')[0]
    assert secret not in (far / "run.json").read_text()
