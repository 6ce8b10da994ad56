"""The colours of figures and page, and the page's style sheet."""

from __future__ import annotations

INK = "#1f2430"
MUTED = "#667085"
LINE = "#c3c9d4"
FROZEN = "#d5d9e1"
PAPER = "#ffffff"
ACCENT = "#1f6f8b"

CSS_VARIABLES = {
    INK: "var(--ink)",
    MUTED: "var(--muted)",
    LINE: "var(--line)",
    FROZEN: "var(--frozen)",
    PAPER: "var(--paper)",
}
"""Figure colours that the page takes over by its own, so that drawings follow dark mode."""

SERIES = ("#d1495b", "#2e86ab", "#7a9e3b", "#8e6bbf", "#d98e04", "#4d9e93")
"""One colour a search method, readable on light and on dark paper."""

CSS = """
:root { color-scheme: light dark; --ink: #1f2430; --muted: #667085; --line: #c3c9d4;
  --frozen: #d5d9e1; --paper: #ffffff; --ground: #f6f7f9; --accent: #1f6f8b; }
@media (prefers-color-scheme: dark) { :root { --ink: #e6e8ee; --muted: #9aa3b5; --line: #475063;
  --frozen: #4a5263; --paper: #171a21; --ground: #101217; --accent: #6fc3df; } }
* { box-sizing: border-box; }
body { margin: 0; background: var(--ground); color: var(--ink);
  font: 16px/1.55 system-ui, -apple-system, "Segoe UI", Roboto, sans-serif; }
main { max-width: 68rem; margin: 0 auto; padding: 2.5rem 1.25rem 5rem; }
h1 { font-size: 1.9rem; line-height: 1.2; margin: 0 0 .4rem; letter-spacing: -.01em; }
h2 { font-size: 1.2rem; margin: 2.8rem 0 .8rem; }
p { max-width: 44rem; margin: .4rem 0 1rem; }
.muted, figcaption { color: var(--muted); }
.cards { display: grid; gap: .8rem; grid-template-columns: repeat(auto-fit, minmax(9.5rem, 1fr));
  margin: 1.6rem 0; padding: 0; list-style: none; }
.cards li { background: var(--paper); border: 1px solid var(--line); border-radius: .5rem;
  padding: .8rem 1rem; }
.cards b { display: block; font-size: 1.45rem; line-height: 1.25; font-weight: 600; }
.cards span { color: var(--muted); font-size: .85rem; }
figure { margin: 0 0 1.2rem; }
figcaption { font-size: .88rem; margin-top: .5rem; max-width: 44rem; }
.scroll { overflow-x: auto; background: var(--paper); border: 1px solid var(--line);
  border-radius: .5rem; padding: .9rem; }
.scroll svg { display: block; height: auto; margin: 0 auto; }
table { border-collapse: collapse; width: 100%; font-size: .9rem;
  font-variant-numeric: tabular-nums; }
th, td { text-align: right; padding: .38rem .7rem; border-bottom: 1px solid var(--line);
  white-space: nowrap; vertical-align: top; }
th { color: var(--muted); font-weight: 600; font-size: .82rem; }
tbody th { color: inherit; font-size: inherit; }
tr:last-child > * { border-bottom: 0; }
th:first-child, td.text, th.text { text-align: left; }
td.text { white-space: normal; overflow-wrap: anywhere; min-width: 11rem; }
.frozen { color: var(--muted); }
.bar { display: inline-block; width: 5rem; height: .5rem; border-radius: .25rem;
  background: var(--frozen); overflow: hidden; vertical-align: middle; }
.bar i { display: block; height: 100%; background: var(--accent); }
summary { cursor: pointer; color: var(--accent); }
@media (max-width: 40rem) { main { padding: 1.4rem .9rem 3rem; } h1 { font-size: 1.5rem; } }
@media print { body { background: none; } .scroll { overflow: visible; } }
"""
