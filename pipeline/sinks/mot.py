"""Tracks in MOTChallenge text format."""

from __future__ import annotations

from pipeline.messages import COASTING, CONFIRMED, Tracked


def mot_lines(message: Tracked) -> bytes:
    """Return lines ``frame,id,left,top,width,height,confidence,-1,-1,-1`` for confirmed and coasting tracks of a frame.

    Frames count from 1. Boxes are centred on the track. The format measures from pixel edges, so the centre of the
    top-left pixel, (0, 0) in a track, is at (0.5, 0.5) here.
    """
    lines = []
    for track in message.track_table():
        if track["state"] not in (CONFIRMED, COASTING):
            continue
        width, height = float(track["bw"]), float(track["bh"])
        left, top = track["x"] + 0.5 - width / 2, track["y"] + 0.5 - height / 2
        lines.append(
            f"{message.header.frame + 1},{track['id']},{left:.2f},{top:.2f},{width:.2f},{height:.2f},"
            f"{track['score']:.4f},-1,-1,-1\n"
        )
    return "".join(lines).encode()
