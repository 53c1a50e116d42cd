import string

import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st

from pipeline.capture.address import MASK, host_of, parse, redact, source_ids
from pipeline.errors import SourceError

PLAIN = [
    "rtsp://host/stream",
    "rtsp://host:554/live/ch0?channel=1&subtype=0",
    "http://[fe80::1]:8080/video.mjpg",
    "udp://@239.0.0.1:1234",
    "udp://0.0.0.0:5000?pkt_size=1316",
    "test://sky?seed=3&camera=pan+jitter",
    "/data/video.mp4: the file is cut short, 3 of 9 frames could be read",
    r"C:\video\a.avi",
    "0",
    "12:30:05 INFO capture: 25 fps, sigma=0.3, ratio 3:4",
    "write to somebody@example.com",
    "--set capture.remote.keys=keys (or capture.remote.insecure=true, which lets anybody in)",
    "--set, sinks.overlay=false, capture.remote.keys=/no/such: not a folder",
    "",
]

MASKED = [
    ("rtsp://user:pass@host/s", "rtsp://***@host/s"),
    ("RTSP://User:Pass@Host:554/s", "RTSP://***@Host:554/s"),
    ("rtsp://user@host/s", "rtsp://***@host/s"),
    ("rtsp://user:p@ss@host/s", "rtsp://***@host/s"),
    ("rtsp://user:p/a/s@host/s", "rtsp://***@host/s"),
    ("rtsp://user:p:a:s@host/s", "rtsp://***@host/s"),
    ("rtsp://user:p#a?s@host/s", "rtsp://***@host/s"),
    ("rtsp://user:p%40ss%2F@host/s", "rtsp://***@host/s"),
    ("rtsp://user:p'a\"ss@host/s", "rtsp://***@host/s"),
    ("rtsp://user:my pass@host/s", "rtsp://***@host/s"),
    ("rtsp://user:my p@ss@host/s", "rtsp://***@host/s"),
    ("rtsp://user:http://x@host/s", "rtsp://***@host/s"),
    ("http://user:pass@[fe80::1]:80/s", "http://***@[fe80::1]:80/s"),
    ("user:pass@host/s", "***@host/s"),
    ("admin:12345@192.168.1.2:554", "***@192.168.1.2:554"),
    ("//user:pass@host/s", "***@host/s"),
    ("cannot open 'rtsp://u:p@h/s': refused", "cannot open 'rtsp://***@h/s': refused"),
    ("rtsp://u:p@h1/a lost, rtsp://v:q@h2/b open", "rtsp://***@h1/a lost, rtsp://***@h2/b open"),
    ("rtsp://h1/a lost, rtsp://v:q@h2/b open", "rtsp://h1/a lost, rtsp://***@h2/b open"),
    ("http://h/s?user=joe&password=p@x&token=t#x", "http://***@&token=***"),
    ("rtsp://user:a?pwd=b@host/s", "rtsp://***@"),
    ("rtsp://user:a?pwd=b&c@host/s", "rtsp://***@host/s"),
    ("http://h/s?user=joe&Password=pw&TOKEN=t&w=3", "http://h/s?user=***&Password=***&TOKEN=***&w=3"),
    ("http://h/s?p%61ssword=pw", "http://h/s?p%61ssword=***"),
    ("http://h/s?a=1&api_key=k/e?y", "http://h/s?a=1&api_key=***"),
    ("srt://h:9000?mode=caller&passphrase=long secret", "srt://h:9000?mode=caller&passphrase=*** secret"),
    ("srt://h:9000?streamid=#!::u=joe,p=pw", "srt://h:9000?streamid=***"),
    ("capture.remote.keys=rtsp://u:p@h/s: no", "***@h/s: no"),
    ("rtsp://u:a?capture.remote.keys=b@h/s", "rtsp://***@h/s"),
    ("capture.remote.keys=a&key=b, capture.remote.key=c", "capture.remote.keys=a&key=*** capture.remote.key=***"),
    ("zmq+tcp://u:p@h:5555", "zmq+tcp://***@h:5555"),
]

password = st.text(
    st.characters(codec="utf-8", exclude_categories=("Cs", "Cc", "Z")).filter(lambda c: not c.isspace()), min_size=1
)
word = st.text(string.ascii_lowercase + string.digits, min_size=1, max_size=8)


@pytest.mark.parametrize("text", PLAIN)
def test_text_without_credentials_is_left_alone(text):
    assert redact(text) == text


@pytest.mark.parametrize(("text", "masked"), MASKED)
def test_credentials_are_masked(text, masked):
    assert redact(text) == masked


@given(st.sampled_from(["rtsp://", "HTTP://", "srt://", "x-y+z.1://", ""]), word, password, word, word)
@example("rtsp://", "user", "@", "host", "path")
def test_password_in_user_info_never_shows(scheme, user, secret, host, path):
    marked = f"Xx{secret}Xx"
    text = redact(f"cannot open {scheme}{user}:{marked}@{host}/{path} now")
    assert "Xx" not in text
    assert text.startswith(f"cannot open {scheme}{MASK}@")


@given(st.sampled_from(["password", "pwd", "token", "PassPhrase", "api_key", "auth", "user"]), password)
def test_secret_in_query_never_shows(name, secret):
    assume("&" not in secret)
    marked = f"Xx{secret}Xx"
    text = redact(f"http://host/path?channel=1&{name}={marked}&last=2")
    assert "Xx" not in text
    assert text.endswith("&last=2")


@example("://: :/@")
@example("://=: a:&\\/:==\\@ ")
@given(st.text(max_size=200) | st.text("@:/?&= a.pw", max_size=30).map("rtsp://".__add__))
def test_masking_twice_is_masking_once(text):
    assert redact(redact(text)) == redact(text)


@pytest.mark.parametrize(
    ("source", "kind", "text"),
    [
        ("0", "camera", "0"),
        ("/dev/video2", "camera", "/dev/video2"),
        ("RTSP://Host/S", "network", "rtsp://Host/S"),
        ("srt://h:1", "network", "srt://h:1"),
        ("https://h/v.mp4", "network", "https://h/v.mp4"),
        ("test://sea", "scene", "test://sea"),
        ("zmq+tcp://h:1", "remote", "zmq+tcp://h:1"),
        ("file:///tmp/a.mkv", "video", "/tmp/a.mkv"),
        ("a.mp4", "video", "a.mp4"),
        (r"C:\a.mp4", "video", r"C:\a.mp4"),
        ("stack.TIFF", "images", "stack.TIFF"),
        ("frames/*.png", "images", "frames/*.png"),
        ("/tmp", "images", "/tmp"),
    ],
)
def test_kind_of_source(source, kind, text):
    assert parse(source) == (kind, text)


def test_brackets_in_an_existing_file_name_are_no_pattern(tmp_path):
    path = tmp_path / "clip[1].mp4"
    path.touch()
    assert parse(str(path)).kind == "video"
    assert parse(str(tmp_path / "clip[2].mp4")).kind == "images"


@pytest.mark.parametrize("source", ["", "  ", "ftp://u:geheim@h/x", "rtsp://u:ge heim@h/x"])
def test_refused_addresses_show_no_password(source):
    with pytest.raises(SourceError) as caught:
        parse(source)
    assert "heim" not in str(caught.value)


def test_ids_come_from_names():
    assert source_ids(
        ["a/IR_DRONE 014.mp4", "0", "/dev/video2", "rtsp://u:p@Cam-1.local:554/x", "test://sky?seed=1", "seq/*.png"]
    ) == ["ir_drone-014", "camera0", "video2", "cam-1-local", "sky", "seq"]


def test_equal_names_are_counted_and_never_collide():
    assert source_ids(["a/x.mp4", "b/x.mp4", "x-2.mp4", "c/x.mp4"]) == ["x", "x-2", "x-2-2", "x-3"]


def test_name_without_letters_still_gives_an_id():
    assert source_ids(["日本.mp4", "???.mp4"])[0] == "source"


def test_a_name_that_no_file_can_have_is_refused():
    with pytest.raises(SourceError, match="n: File name too long"):
        source_ids(["n" * 300])


# File names have at most 255 bytes, and a character at most four.
short = st.text(min_size=1, max_size=60).filter(lambda s: s.strip() and "://" not in s and "\0" not in s)


@given(st.lists(short, max_size=5))
def test_ids_are_valid_and_unique(names):
    import re

    ids = source_ids([*names, "n" * 50, "n" * 60])
    assert all(re.fullmatch("[a-z0-9_-]{1,32}", name) for name in ids)
    assert len(set(ids)) == len(ids)


@given(password)
def test_host_never_holds_the_password(secret):
    assert host_of(f"rtsp://user:{secret}@host:1/path") == "host"
    assert source_ids([f"rtsp://user:{secret}@host:1/path"]) == ["host"]
