"""Colours and layout of the page."""

from collections.abc import Mapping

# Text is `ink` or `muted`, on `page`, `above` or `below`; lines are `first` and `second`.
LIGHT = {
    "page": "#ffffff",
    "ink": "#1d1f24",
    "muted": "#565c67",
    "rule": "#d5d8de",
    "first": "#1f5fbf",
    "second": "#b3480a",
    "above": "#8fbcf5",
    "below": "#f5b070",
}
DARK = {
    "page": "#15171c",
    "ink": "#e8eaee",
    "muted": "#a8aeb9",
    "rule": "#3a3f4a",
    "first": "#7db2f7",
    "second": "#f0a35e",
    "above": "#22549c",
    "below": "#87430d",
}


def _variables(colours: Mapping[str, str]) -> str:
    return ":root{" + "".join(f"--{name}:{colour};" for name, colour in colours.items()) + "}"


CSS = (
    f"""
{_variables(LIGHT)}
@media (prefers-color-scheme: dark) {{{_variables(DARK)}}}
"""
    + """
:root { color-scheme: light dark; }
body { margin: 0 auto; max-width: 70rem; padding: 1rem; background: var(--page); color: var(--ink);
  font: 1rem/1.5 system-ui, sans-serif; overflow-wrap: break-word; }
h1, h2, h3 { line-height: 1.2; }
h2 { margin-top: 3rem; border-bottom: 1px solid var(--rule); padding-bottom: .3rem; }
p, li { max-width: 45rem; }
a { color: var(--first); }
nav ul { display: flex; flex-wrap: wrap; gap: .3rem 1.2rem; padding: 0; list-style: none; }
footer, caption { color: var(--muted); }
.text { white-space: pre-wrap; }
.wide { overflow-x: auto; margin: 1rem 0; }
table { min-width: min(100%, 22rem); border-collapse: collapse; font-size: .9rem; font-variant-numeric: tabular-nums; }
caption { text-align: left; padding-bottom: .3rem; }
caption span { display: block; position: sticky; left: 0; max-width: calc(100vw - 2rem); }
th, td { border-bottom: 1px solid var(--rule); padding: .25rem .6rem; text-align: left; vertical-align: top;
  overflow-wrap: normal; }
th.number, td.number { text-align: right; }
td { white-space: nowrap; }
td.long { white-space: normal; min-width: 15rem; }
td.above { background: color-mix(in srgb, var(--above) var(--part), var(--page)); }
td.below { background: color-mix(in srgb, var(--below) var(--part), var(--page)); }
summary { cursor: pointer; color: var(--first); }
.panels { display: grid; gap: 1rem; grid-template-columns: repeat(auto-fill, minmax(min(100%, 15rem), 1fr)); }
figure { margin: 0; max-width: 24rem; }
figcaption { font-size: .9rem; font-weight: 600; }
svg { display: block; width: 100%; height: auto; }
svg text { fill: var(--muted); font: 11px system-ui, sans-serif; }
svg .rule { stroke: var(--rule); }
svg .zero { stroke: var(--muted); }
svg .first, svg .second { fill: none; stroke-width: 2; }
svg .first { stroke: var(--first); }
svg .second { stroke: var(--second); stroke-dasharray: 6 3; }
svg .dot-first, svg .bar { fill: var(--first); }
svg .dot-second { fill: var(--second); }
svg .rest { fill: var(--rule); }
svg.strip { width: 10rem; margin-top: .2rem; }
"""
)
