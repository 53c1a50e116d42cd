#!/bin/sh
# Installs the programs that the network tests of tests/capture talk to (Debian, Ubuntu; as root):
# ffmpeg for UDP, SRT and HTTP, GStreamer's RTSP server with an H.264 encoder for RTSP.
# Without them those tests are skipped and say so.
set -eu
apt-get update -qq
apt-get install -y --no-install-recommends \
    ffmpeg \
    python3 python3-gi python3-gst-1.0 gir1.2-gst-rtsp-server-1.0 \
    gstreamer1.0-plugins-base gstreamer1.0-plugins-good gstreamer1.0-plugins-ugly
