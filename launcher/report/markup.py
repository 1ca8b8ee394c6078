"""Texts and pictures within a page."""

from __future__ import annotations

from collections.abc import Iterable
from html import escape

from launcher.visible import visible


def escaped(text: str) -> str:
    """A text as html, with no character that isn't seen."""
    return escape(visible(text))


def svg(width: float, height: float, parts: Iterable[str], title: str, style: str = "") -> str:
    """A picture, made of these parts, of a size in pixels; `style` is css of its own."""
    head = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:.0f} {height:.0f}"'
    size = f' width="{width:.0f}" height="{height:.0f}" role="img" aria-label="{escaped(title)}"'
    styled = f' style="{style}"' if style else ""
    return f'{head}{size} font-family="system-ui, sans-serif"{styled}>{"".join(parts)}</svg>'
