"""Tokens to insert into inputs: words of the formats, and words that readers of these formats have failed on."""

from __future__ import annotations

from pipeline.capture.address import SCHEMES
from pipeline.capture.scene.spec import SceneSpec

MSGPACK = [bytes((code,)) for code in range(0xC0, 0xE0)]
MSGPACK += [
    b"\xdb\xff\xff\xff\xff",
    b"\xdd\x7f\xff\xff\xff",
    b"\xdf\x00\xff\xff\xff",
    b"\xc9\xff\xff\xff\xff\x01",
]
MSGPACK += [b"\x91" * 3000, b"\x81\xa1a" * 2000, b"\xcb\x7f\xf8" + bytes(6), b"\xcf" + b"\xff" * 8, b"\xa1\xff"]
JSON = [
    b"{",
    b"}",
    b"[",
    b"]",
    b",",
    b":",
    b'"',
    b"null",
    b"true",
    b"-1",
    b"0",
    b"1e999",
    b"-0.0",
    b"NaN",
    b"1" * 400,
]
JSON += [
    b"[" * 3000,
    b'{"a":' * 3000,
    b'"\\ud800"',
    b"\\u0000",
    b"\xff",
    b"\xef\xbb\xbf",
    b'"in_channels": ',
    b'"width": ',
]
YAML = (
    b"&a |*a|<<: |!!binary |!!timestamp |!!int |!!float |!!set |!!omap |!!null |!!bool |!x |- |? |: |[|{|]|}|,".split(
        b"|"
    )
)
YAML += b"2001-99-99|2001-01-01 99:99:99|0b|0x|0o9|1__|-|.nan|.inf|-.inf|1e999|190:20:30|=|~|%YAML 9.9\n|---\n".split(
    b"|"
)
YAML += [
    b"|",
    b"...\n",
    b"\t",
    b"\x00",
    b"\xff",
    b"\xef\xbb\xbf",
    b"\n",
    b"\n  ",
    b"[" * 3000,
    b"{" * 3000,
    b"- " * 3000,
    b"9" * 5000,
]
YAML += [
    b"extends: ",
    b"extends: config.yaml\n",
    b"a: &a [*a]\n",
    b"'",
    b'"',
    b'"\\ud800"',
    b'"\\0"',
    b"#",
    b"\x85",
    b"_",
]
CSV = [
    b"frame,x,y,w,h\n",
    b",",
    b'"',
    b"\n",
    b"\r",
    b"\r\n",
    b"nan",
    b"inf",
    b"-1",
    b"1e400",
    b"\x00",
    b"\xff",
    b"1" * 5000,
    b"a" * 140_000,
]
ADDRESS = [f"{scheme}://".encode() for scheme in SCHEMES]
ADDRESS += (
    b"@|:|/|?|&|=|#|//|\\|[|]|*|**|%40|%00|%|..|~|live=1|token=|password=|C:\\|/dev/video|.png|.mp4|\"|'|(".split(b"|")
)
ADDRESS += [
    b" ",
    b"\n",
    b"\t",
    b"\x00",
    b"\xff",
    b"\xe2\x80\xa8",
    b"=" * 1000,
    b":" * 1000,
    b"://" * 500,
    b"a" * 300,
    b"a/" * 3000,
    b"9" * 5000,
]
SCENE = [f"{field}=".encode() for field in SceneSpec.__struct_fields__]
SCENE += b"&|?|=|+|test://|sky|demo|crossing|pan|still|jitter|nan|inf|-1|1e999|0x10|1_0|%|%ff|%00|true|null".split(b"|")
SCENE += [b"\xff", b"\x00", b"\xef\xbc\x91", b"9" * 5000]
TIFF = [
    b"II*\x00",
    b"MM\x00*",
    b"II+\x00\x08\x00\x00\x00",
    b"\xff\xff\xff\xff",
    b"\x00\x01",
    b"\x01\x01",
    b"\x11\x01",
    b"\x17\x01",
]
PNG = [
    b"IHDR",
    b"IDAT",
    b"IEND",
    b"PLTE",
    b"tRNS",
    b"acTL",
    b"fcTL",
    b"fdAT",
    b"eXIf",
    b"iCCP",
    b"\x10\x00",
    b"\x00\x00@\x00\x00\x00@\x00",
]
JPEG = [b"\xff" + bytes((code,)) for code in (0xC0, 0xC2, 0xC4, 0xD8, 0xD9, 0xDA, 0xDB, 0xDD, 0xE1, 0xFE)]
BOX = b"ftyp|moov|mdat|trak|mvhd|tkhd|mdia|hdlr|vide|edts|elst|stbl|stsz|free|RIFF|AVI |LIST|movi|idx1".split(b"|")
BOX += [
    b"\x1a\x45\xdf\xa3",
    b"\x18\x53\x80\x67",
    b"\x01\xff\xff\xff\xff\xff\xff\xff",
    b"\x00\x00\x00\x01",
    b"\xff" * 8,
]
PICTURE = TIFF + PNG + JPEG
