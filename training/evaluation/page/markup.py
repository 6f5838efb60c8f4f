"""Panels as HTML and SVG. Whatever comes from data, models or paths is escaped; no colour alone carries a meaning."""

from __future__ import annotations

from html import escape

from training.evaluation.panels import CalibrationPanel, Cell, MatrixPanel, Panel, TablePanel

_LONG = 30
POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"
STYLE = """
:root { color-scheme: light dark; --ink: #1b1f24; --paper: #fff; --line: #d6dae0; --soft: #f3f4f6; --link: #0a58a8;
  --bar: 10, 88, 168; }
@media (prefers-color-scheme: dark) { :root { --ink: #e6e9ee; --paper: #14171b; --line: #3a414b; --soft: #20252c;
  --link: #7fb5ef; --bar: 92, 160, 235; } }
body { margin: 0 auto; max-width: 1180px; padding: 1.2rem; background: var(--paper); color: var(--ink);
  font: 15px/1.5 system-ui, "Segoe UI", "DejaVu Sans", sans-serif; }
h1 { font-size: 1.5rem; margin: 0; } h2 { font-size: 1.2rem; margin: 2.2rem 0 .6rem; } h3 { font-size: 1rem; }
a { color: var(--link); } nav a { margin-right: 1rem; white-space: nowrap; }
code, .text { font-size: .85em; overflow-wrap: anywhere; }
.wide { overflow-x: auto; max-width: 100%; } table { border-collapse: collapse; font-size: .9rem; }
th, td { padding: .2rem .6rem; text-align: left; border-bottom: 1px solid var(--line); white-space: nowrap; }
td.words { white-space: normal; min-width: 14rem; max-width: 32rem; overflow-wrap: anywhere; }
td.number, th.number { text-align: right; font-variant-numeric: tabular-nums; }
.share { background: linear-gradient(to right, rgba(var(--bar), .28) var(--part), transparent var(--part)); }
.matrix th { font-weight: 400; } .matrix thead th { writing-mode: vertical-rl; transform: rotate(180deg); }
.matrix td { text-align: center; min-width: 1.6rem; padding: .1rem .2rem; } .matrix td.own { font-weight: 700; }
dl { display: grid; grid-template-columns: max-content 1fr; gap: 0 1rem; }
dd { margin: 0; overflow-wrap: anywhere; } .note { margin: .3rem 0; }
.filters { display: flex; flex-wrap: wrap; gap: .4rem 1rem; margin: .6rem 0; }
.cards { display: grid; grid-template-columns: repeat(auto-fill, minmax(min(100%, 320px), 1fr)); gap: 1rem;
  align-items: start; }
.card { margin: 0; padding: .6rem; border: 1px solid var(--line); border-radius: 6px; overflow-wrap: anywhere;
  font-size: .88rem; }
.card svg { display: block; width: 100%; height: auto; background: var(--soft); } .card p { margin: .35rem 0 0; }
polygon { fill: none; stroke-width: 2px; vector-effect: non-scaling-stroke; }
polygon.truth { stroke: #2ca02c; } polygon.answer { stroke: #ff7f0e; stroke-dasharray: 5 3; }
.reason { display: inline-block; border: 1px solid #d62728; border-radius: 4px; padding: 0 .35rem; }
figure.plot svg { width: min(100%, 26rem); height: auto; }
.plot line, .plot path { stroke: currentColor; fill: none; } .plot text { fill: currentColor; font-size: 11px; }
"""


def panel_html(panel: Panel) -> str:
    """A panel with its title."""
    if isinstance(panel, MatrixPanel):
        return _matrix(panel)
    return _calibration(panel) if isinstance(panel, CalibrationPanel) else _table(panel)


def _table(panel: TablePanel) -> str:
    head = "".join(
        f"<th{_right(_is_number_column(panel, n))}>{escape(name)}</th>" for n, name in enumerate(panel.header)
    )
    rows = "".join(
        "<tr>"
        + "".join(_cell(value, name in panel.shares) for value, name in zip(row, panel.header, strict=True))
        + "</tr>"
        for row in panel.rows
    )
    return f'<h3>{escape(panel.title)}</h3><div class="wide"><table><tr>{head}</tr>{rows}</table></div>'


def _is_number_column(panel: TablePanel, place: int) -> bool:
    return any(isinstance(row[place], int | float) for row in panel.rows)


def _right(number: bool) -> str:
    return ' class="number"' if number else ""


def _cell(value: Cell, is_share: bool) -> str:
    if value is None:
        return '<td class="number">undefined</td>' if is_share else "<td></td>"
    if isinstance(value, str):
        return f'<td class="words">{escape(value)}</td>' if len(value) > _LONG else f"<td>{escape(value)}</td>"
    text = f"{value:,}" if isinstance(value, int) else f"{value:.3f}"
    if not is_share:
        return f'<td class="number">{text}</td>'
    return f'<td class="number share" style="--part: {100 * min(max(value, 0), 1):.0f}%">{text}</td>'


def _matrix(panel: MatrixPanel) -> str:
    head = "".join(f"<th>{escape(name.replace('_', ' '))}</th>" for name in panel.said)
    rows = []
    for true, counts in zip(panel.true, panel.counts, strict=True):
        of = max(1, sum(counts))
        cells = "".join(
            f'<td class="{"own" if said == true else ""}" style="background: rgba(var(--bar), {0.7 * count / of:.2f})" '
            f'title="{escape(f"{true} answered as {said}: {count} of {of}")}">{count or ""}</td>'
            for said, count in zip(panel.said, counts, strict=True)
        )
        rows.append(f"<tr><th>{escape(true)}</th>{cells}</tr>")
    return (
        f'<h3>{escape(panel.title)}</h3><div class="wide"><table class="matrix"><thead><tr><th></th>{head}</tr></thead>'
        f"{''.join(rows)}</table></div>"
    )


def _calibration(panel: CalibrationPanel) -> str:
    """Bars of what is right at each confidence; on the diagonal the model is as often right as it is sure."""
    most = max(count for _, _, count in panel.bins)
    bars = "".join(
        f'<circle cx="{40 + 200 * sure:.1f}" cy="{220 - 200 * right:.1f}" r="{3 + 7 * (count / most) ** 0.5:.1f}" '
        f'fill="rgba(var(--bar), .6)"><title>{count:,} boxes, confidence {sure:.2f}, right {right:.2f}</title></circle>'
        for sure, right, count in panel.bins
    )
    points = " ".join(f"{40 + 200 * sure:.1f},{220 - 200 * right:.1f}" for sure, right, _ in panel.bins)
    ticks = "".join(
        f'<text x="{40 + 200 * at - 8:.0f}" y="236">{at}</text><text x="8" y="{224 - 200 * at:.0f}">{at}</text>'
        for at in (0, 0.5, 1)
    )
    return (
        f'<h3>{escape(panel.title)}</h3><figure class="plot"><svg viewBox="0 0 260 256" role="img" '
        f'aria-label="{escape(panel.title)}"><line x1="40" y1="220" x2="240" y2="220"/>'
        '<line x1="40" y1="220" x2="40" y2="20"/><line x1="40" y1="220" x2="240" y2="20" stroke-dasharray="3 3"/>'
        f'<path d="M {points.replace(" ", " L ")}"/>{bars}{ticks}'
        '<text x="105" y="252">confidence</text><text x="44" y="14">share that is right</text></svg></figure>'
    )
