"""The frame of every report: one HTML file that needs no other, with pictures inside it."""

import base64
import html
import io
import pathlib
import string
from collections.abc import Sequence

from PIL import Image

BROAD = 700

_PAGE = string.Template("""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>$title</title>
<style>
:root { color-scheme: light dark; --paper: #ffffff; --ink: #1b1b1f; --faint: #5c5f66;
  --line: #d5d7dc; --shade: #f3f4f6; --mark: #0b5fa5; --warn: #fff4d6; }
@media (prefers-color-scheme: dark) {
  :root { --paper: #16181c; --ink: #e6e7ea; --faint: #a3a7b0; --line: #3a3e46; --shade: #22252b;
    --mark: #7cc0ff; --warn: #3d3313; }
}
* { box-sizing: border-box; }
body { margin: 0 auto; padding: 1rem; max-width: 72rem; background: var(--paper);
  color: var(--ink); font: 1rem/1.5 system-ui, sans-serif; overflow-wrap: break-word; }
h1 { font-size: 1.6rem; line-height: 1.25; }
h2 { font-size: 1.25rem; margin-top: 2.5rem; border-bottom: 1px solid var(--line); }
h3 { font-size: 1rem; margin-bottom: 0.25rem; }
a { color: var(--mark); }
nav ul { display: flex; flex-wrap: wrap; gap: 0.25rem 1.25rem; padding: 0; list-style: none; }
.note { background: var(--warn); border-left: 4px solid #d39b00; padding: 0.5rem 0.75rem; }
.small, figcaption, caption { color: var(--faint); font-size: 0.85rem; }
.wide { overflow-x: auto; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; }
caption { text-align: left; padding-bottom: 0.25rem; }
th, td { border-bottom: 1px solid var(--line); padding: 0.3rem 0.6rem; text-align: left;
  vertical-align: top; }
th.number, td.number { text-align: right; white-space: nowrap; }
tbody th { font-weight: normal; }
tbody th, td:first-child { min-width: 9rem; }
tr.group th { background: var(--shade); font-weight: 600; }
tr.published { color: var(--faint); font-style: italic; }
td .small { display: block; }
figure { margin: 1rem 0; overflow-x: auto; }
figure img { display: block; max-width: 100%; height: auto; background: #ffffff;
  border-radius: 4px; }
.charts { display: grid; gap: 1rem; align-items: start;
  grid-template-columns: repeat(auto-fit, minmax(min(100%, 26rem), 1fr)); }
.faces { display: grid; gap: 0.75rem;
  grid-template-columns: repeat(auto-fill, minmax(8.5rem, 1fr)); }
.faces img { width: 100%; }
pre { background: var(--shade); padding: 0.75rem; overflow-x: auto; font-size: 0.8rem; }
@media (max-width: 40rem) { .broad img { max-width: none; width: 40rem; } }
@media print {
  :root { --paper: #ffffff; --ink: #000000; --faint: #444444; --line: #bbbbbb; --shade: #f3f4f6;
    --mark: #000000; --warn: #ffffff; }
  body { max-width: none; padding: 0; font-size: 10pt; }
  nav { display: none; }
  pre { white-space: pre-wrap; }
  .wide, figure { overflow: visible; }
  .broad img { max-width: 100%; }
  figure, tr { break-inside: avoid; }
  h2, h3 { break-after: avoid; }
}
</style>
</head>
<body>
$body
</body>
</html>
""")


def page(title: str, sections: Sequence[tuple[str, str]], top: str) -> str:
    """A whole HTML page.

    Args:
      title: its heading, as plain text.
      sections: the title of each, as plain text, and its HTML.
      top: HTML that stands before the list of sections.
    """
    links, parts = [], []
    for number, (name, content) in enumerate(sections, start=1):
        links.append(f'<li><a href="#section{number}">{escaped(name)}</a></li>')
        parts.append(f'<section id="section{number}">\n<h2>{escaped(name)}</h2>\n{content}')
        parts.append("</section>")
    body = [f"<h1>{escaped(title)}</h1>", top, "<nav><ul>", *links, "</ul></nav>", *parts]
    return _PAGE.substitute(title=escaped(title), body="\n".join(body))


def escaped(value: object) -> str:
    """A value as text that means nothing to HTML, in attributes either."""
    return html.escape(str(value), quote=True)


def plain_table(header: Sequence[str], rows: Sequence[Sequence[object]], caption: str = "") -> str:
    """A table of texts, all of them escaped."""
    heads = "".join(f'<th scope="col">{escaped(name)}</th>' for name in header)
    lines = [
        "<tr>" + "".join(f"<td>{escaped(value)}</td>" for value in row) + "</tr>" for row in rows
    ]
    named = f"<caption>{escaped(caption)}</caption>" if caption else ""
    return (
        f'<div class="wide"><table>{named}<thead><tr>{heads}</tr></thead>\n<tbody>\n'
        + "\n".join(lines)
        + "\n</tbody></table></div>"
    )


def picture_file(path: pathlib.Path, most: int, caption: str) -> str:
    """A `figure` of a PNG file.

    Args:
      path: of the PNG.
      most: bytes; a larger file is shown as a JPEG, made smaller until it fits.
      caption: plain text, of which a reader who cannot see the picture is told, too.
    """
    data = path.read_bytes()
    if len(data) <= most:
        return picture(data, caption)
    with Image.open(path) as image:
        full = image.convert("RGB")
    width, height = full.size
    while len(data) > most and min(width, height) > 16:
        buffer = io.BytesIO()
        full.resize((width, height)).save(buffer, format="JPEG", quality=90, subsampling=0)
        data = buffer.getvalue()
        width, height = width * 4 // 5, height * 4 // 5
    return picture(data, f"{caption} (compressed to fit here; the file is {path.name})")


def data_address(data: bytes, kind: str) -> str:
    """Bytes of a MIME type as an address that holds them."""
    return f"data:{kind};base64,{base64.b64encode(data).decode('ascii')}"


def picture(data: bytes, caption: str) -> str:
    """A `figure` of the bytes of a PNG or JPEG, with its caption as plain text.

    On a phone one of more than `BROAD` pixels is to be moved sideways, so that it can be read.
    """
    with Image.open(io.BytesIO(data)) as image:
        (width, height), kind = image.size, Image.MIME[image.format or "PNG"]
    text = escaped(caption)
    broad = ' class="broad"' if width > BROAD else ""
    return (
        f'<figure{broad}><img src="{data_address(data, kind)}" width="{width}" height="{height}" '
        f'alt="{text}"><figcaption>{text}</figcaption></figure>'
    )
