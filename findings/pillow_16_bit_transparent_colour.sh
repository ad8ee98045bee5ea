#!/bin/sh
# Pillow 13.0.0 (pypng 0.20220715.0 beside it): the transparent colour of an RGB PNG of 16 bits per sample is never transparent.
#
# Pillow reads such a file as 8-bit RGB (the high bytes) but keeps the tRNS colour at 16 bits in `info["transparency"]`, so
# `convert("RGBA")` compares 8-bit pixels with a 16-bit colour and leaves every pixel opaque, without an error or a warning. The
# file is valid: a reader that follows the PNG specification gives alpha 0 for that colour. Seen:
#
#   Pillow: mode RGB, transparency (4660, 22136, 39612), pixel (18, 86, 154, 255)
#   pypng:  pixel (4660, 22136, 39612, 0)
#
# Exits 0 while that is so, 1 if Pillow's alpha has become 0, 2 if something else came out.
set -eu

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check pillow==13.0.0 pypng==0.20220715.0

"$folder/venv/bin/python" - <<'PYTHON'
import io
import sys

import png
from PIL import Image

colour = (0x1234, 0x5678, 0x9ABC)
file = io.BytesIO()
png.Writer(1, 1, greyscale=False, bitdepth=16, transparent=colour).write(file, [colour])

image = Image.open(io.BytesIO(file.getvalue()))
seen = image.convert("RGBA").getpixel((0, 0))
print(f"Pillow: mode {image.mode}, transparency {image.info['transparency']}, pixel {seen}")

_, _, rows, _ = png.Reader(bytes=file.getvalue()).asRGBA()
expected = tuple(next(iter(rows)))
print(f"pypng:  pixel {expected}")

if expected[3] != 0:
    sys.exit(2)
sys.exit(0 if seen[3] == 255 else 1)
PYTHON
