"""What both pages share: one look, words that stay words, and a page that can fetch nothing from anywhere."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterable, Sequence
from html import escape
from pathlib import Path

THEME = Path(__file__).with_name("theme.css").read_text("utf-8")
STYLE = THEME + Path(__file__).with_name("page.css").read_text("utf-8")
SCRIPT = Path(__file__).with_name("compare.js").read_text("utf-8")


def document(title: str, body: str, script: str = "") -> str:
    """The page around its body. Its policy lets in this style, this script and pictures inside the page, and nothing else."""
    policy = f"default-src 'none'; base-uri 'none'; form-action 'none'; img-src data:; style-src {_hash(STYLE)}"
    if script:
        policy += f"; script-src {_hash(script)}"
        script = f"<script>{script}</script>"
    return (
        f'<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{policy}">\n'
        f'<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{text(title)}</title>\n<style>{STYLE}</style>\n</head>\n<body>\n<main>\n{body}\n</main>\n{script}</body>\n</html>\n"
    )


def _hash(content: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(content.encode()).digest()).decode()}'"


def text(value: object) -> str:
    """Words for a page or an attribute of it: no tag, line break, control character or half of a surrogate pair survives."""
    return escape("".join(c if c.isprintable() or c == "\u00a0" else repr(c)[1:-1] for c in str(value)))


def table(caption: str, columns: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table that scrolls by itself where it is too wide. The caption is plain words, columns and cells are HTML; a row's first heads it."""
    head = "".join(f'<th scope="col">{column}</th>' for column in columns)
    body = "".join(
        f'<tr><th scope="row">{first}</th>' + "".join(f"<td>{cell}</td>" for cell in cells) + "</tr>\n"
        for first, *cells in rows
    )
    return (
        f'<div class="wide" role="group" aria-label="{text(caption)}" tabindex="0"><table><caption><span>{text(caption)}</span></caption>\n'
        f"<thead><tr>{head}</tr></thead>\n<tbody>{body}</tbody></table></div>"
    )
