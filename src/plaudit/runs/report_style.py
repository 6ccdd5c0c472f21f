"""How the report looks: light and dark, from a phone to a wide screen, with nothing fetched from anywhere."""

STYLE = """
:root {
  color-scheme: light dark;
  --page: #f6f5f2; --card: #ffffff; --ink: #1c1d21; --soft: #65676f; --line: #e2e0da;
  --accent: #b4461f; --good: #1f7a44; --bad: #a3352c; --good-bg: #e3f2e8; --bad-bg: #f9e5e2;
}
@media (prefers-color-scheme: dark) {
  :root {
    --page: #15161a; --card: #1f2126; --ink: #ecebe7; --soft: #a0a3ab; --line: #33363d;
    --accent: #f0875c; --good: #7fd6a0; --bad: #f39a8f; --good-bg: #1c3325; --bad-bg: #3b2321;
  }
}
* { box-sizing: border-box; }
body {
  margin: 0 auto; padding: 2rem clamp(1rem, 4vw, 3rem) 4rem; max-width: 84rem; background: var(--page);
  color: var(--ink); font: 16px/1.5 system-ui, -apple-system, "Segoe UI", Roboto, sans-serif;
}
header p { color: var(--soft); margin: 0; }
h1 { font-size: clamp(1.5rem, 4vw, 2.2rem); line-height: 1.2; margin: .2rem 0 .6rem; text-wrap: balance; }
h2 { font-size: 1.2rem; margin: 2.6rem 0 .9rem; }
h3 { font-size: 1.02rem; margin: 0 0 .7rem; overflow-wrap: anywhere; }
.figures { display: flex; flex-wrap: wrap; gap: .8rem; margin: 1.4rem 0 0; padding: 0; list-style: none; }
.figures li {
  background: var(--card); border: 1px solid var(--line); border-radius: 12px; padding: .7rem 1.1rem;
}
.figures strong { display: block; font-size: 1.35rem; font-variant-numeric: tabular-nums; }
.figures span { color: var(--soft); font-size: .86rem; }
.cards {
  display: grid; gap: 1.2rem; grid-template-columns: repeat(auto-fill, minmax(min(100%, 22rem), 1fr));
}
.card {
  background: var(--card); border: 1px solid var(--line); border-radius: 14px; padding: 1.1rem; min-width: 0;
}
.pair { display: grid; grid-template-columns: 1fr 1fr; gap: .7rem; }
figure { margin: 0; min-width: 0; }
figcaption { font-size: .84rem; color: var(--soft); margin-top: .35rem; overflow-wrap: anywhere; }
img { display: block; width: 100%; height: auto; border-radius: 8px; background: var(--line); }
img.small { image-rendering: pixelated; }
.verdict { display: inline-block; border-radius: 99px; padding: 0 .55em; font-weight: 600; }
.right { color: var(--good); background: var(--good-bg); }
.wrong { color: var(--bad); background: var(--bad-bg); }
.curve { width: 100%; height: auto; margin: .9rem 0 .2rem; display: block; }
.grid { stroke: var(--line); stroke-width: 1; }
.line { fill: none; stroke: var(--accent); stroke-width: 1.8; stroke-linejoin: round; }
.best { fill: none; stroke: var(--soft); stroke-width: 1; stroke-dasharray: 3 3; }
.dot { fill: var(--accent); stroke: var(--card); stroke-width: 1.5; }
.tick { fill: var(--soft); font-size: 10px; font-variant-numeric: tabular-nums; }
.strip { overflow-x: auto; margin-top: .6rem; }
.strip > div { min-width: 15rem; }
.strip img { border-radius: 6px; }
.steps { display: flex; font-size: .74rem; color: var(--soft); margin-top: .2rem; }
.steps span { flex: 1; text-align: center; }
.wide { overflow-x: auto; }
table { border-collapse: collapse; width: 100%; font-size: .88rem; font-variant-numeric: tabular-nums; }
th, td { text-align: right; padding: .28rem .4rem; border-bottom: 1px solid var(--line); }
td { white-space: nowrap; }
th:first-child, td:first-child { text-align: left; white-space: normal; overflow-wrap: anywhere; }
th { color: var(--soft); font-weight: 500; }
tr.total td { font-weight: 650; border-bottom: 0; }
.up { color: var(--good); } .down { color: var(--bad); }
details { margin-top: .7rem; } summary { cursor: pointer; color: var(--soft); font-size: .88rem; }
dl { display: grid; grid-template-columns: max-content 1fr; gap: .25rem 1.2rem; font-size: .9rem; }
dt { color: var(--soft); } dd { margin: 0; overflow-wrap: anywhere; }
.plans { margin: 0 0 .8rem; }
.plans dd { white-space: pre-line; max-height: 12rem; overflow-y: auto; }
code { font: .88em ui-monospace, SFMono-Regular, Menlo, Consolas, monospace; overflow-wrap: anywhere; }
@media (max-width: 32rem) { dl { grid-template-columns: 1fr; } dd { margin-bottom: .4rem; } }
@media print { body { max-width: none; } .card { break-inside: avoid; } .plans dd { max-height: none; } }
"""
