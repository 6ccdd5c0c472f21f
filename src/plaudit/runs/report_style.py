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
.pair, .slider { display: grid; grid-template-columns: 1fr 1fr; gap: .7rem; }
.slider input, .slider .open { display: none; }
@media screen {
  .scripted:not(.apart) .slider { position: relative; gap: .35rem .7rem; overflow: hidden; }
  .scripted:not(.apart) .slider figure { display: contents; }
  .scripted:not(.apart) .slider img, .scripted:not(.apart) .slider input, .scripted:not(.apart) .slider::after {
    grid-area: 1 / 1 / 2 / 3;
  }
  .scripted:not(.apart) .slider figcaption { grid-row: 2; margin: 0; }
  .scripted:not(.apart) .slider .after figcaption { text-align: right; }
  .scripted:not(.apart) .slider .before img {
    z-index: 1; clip-path: inset(0 calc(100% - var(--at)) 0 0); border-radius: 8px 0 0 8px;
  }
  .scripted:not(.apart) .slider::after {
    content: "\\2194"; z-index: 2; width: 2rem; margin-left: calc(var(--at) - 1rem); pointer-events: none;
    display: grid; place-content: center; color: #1c1d21; font-size: 1.1rem; background:
      radial-gradient(circle, #fff 0 .85rem, rgb(0 0 0 / .4) .86rem .92rem, transparent .93rem),
      linear-gradient(90deg, transparent calc(50% - 2px), rgb(0 0 0 / .4) 0 calc(50% - 1px), #fff 0 calc(50% + 1px),
        rgb(0 0 0 / .4) 0 calc(50% + 2px), transparent 0);
  }
  .scripted:not(.apart) .slider input {
    display: block; z-index: 3; width: 100%; height: 100%; margin: 0; padding: 0; opacity: 0; cursor: ew-resize;
    touch-action: pan-y;
  }
  .scripted:not(.apart) .slider:has(input:focus-visible) { outline: 2px solid var(--accent); outline-offset: 4px; }
  .scripted:not(.apart) .slider .open {
    display: block; position: absolute; z-index: 4; top: .4rem; right: .4rem; padding: 0 .45rem; line-height: 1.7;
    opacity: .85;
  }
}
figure { margin: 0; min-width: 0; }
figcaption { font-size: .84rem; color: var(--soft); margin-top: .35rem; overflow-wrap: anywhere; }
img { display: block; width: 100%; height: auto; border-radius: 8px; background: var(--line); }
img.small { image-rendering: pixelated; }
.verdict { display: inline-block; border-radius: 99px; padding: 0 .55em; font-weight: 600; }
.right { color: var(--good); background: var(--good-bg); }
.wrong { color: var(--bad); background: var(--bad-bg); }
.ruling {
  color: var(--ink); background: var(--card); border: 1px solid var(--line); border-left: .4rem solid var(--soft);
  border-radius: 10px; padding: .8rem 1.1rem; margin: 1.2rem 0 0; overflow-wrap: anywhere;
}
.ruling strong { display: block; font-size: 1.35rem; }
.ruling.improved { border-left-color: var(--good); } .ruling.improved strong { color: var(--good); }
.ruling.hacked, .ruling.worse { border-left-color: var(--bad); }
.ruling.hacked strong, .ruling.worse strong { color: var(--bad); }
.card ul { margin: .8rem 0 0; padding-left: 1.2rem; font-size: .92rem; }
.alone { max-width: 24rem; }
.compare { max-width: 44rem; margin: 0 auto 1.2rem 0; }
.film { display: flex; gap: .6rem; overflow-x: auto; padding-bottom: .6rem; }
.film figure { flex: 0 0 9rem; }
.above { margin-top: 1.6rem; }
.rows { columns: 20rem; margin: .4rem 0 1.2rem; padding-left: 1.4rem; font-size: .92rem; }
.files { font-size: .88rem; color: var(--soft); }
a { color: var(--accent); }
button {
  font: inherit; color: inherit; background: var(--card); border: 1px solid var(--line); border-radius: 8px;
  padding: .3rem .8rem; cursor: pointer;
}
:focus-visible { outline: 2px solid var(--accent); outline-offset: 2px; }
.choice { margin-top: 1rem; font-size: .88rem; color: var(--soft); }
.scripted img.zoomable { cursor: zoom-in; }
dialog.large {
  border: 0; border-radius: 14px; padding: .9rem; max-width: 98vw; max-height: 98vh; background: var(--card);
  color: var(--ink); text-align: center;
}
dialog.large::backdrop { background: rgb(0 0 0 / .72); }
dialog.large img { margin: 0 auto; max-width: 100%; cursor: zoom-out; }
dialog.large p { margin: .5rem auto; max-width: 60rem; font-size: .9rem; overflow-wrap: anywhere; }
dialog.large div { display: flex; justify-content: center; gap: .6rem; }
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
th:first-child, td:first-child { text-align: left; white-space: normal; overflow-wrap: break-word; min-width: 8.5rem; }
th { color: var(--soft); font-weight: 500; vertical-align: bottom; }
.sort { border: 0; background: none; padding: 0; color: inherit; text-align: inherit; font-weight: inherit; }
.sort:hover { color: var(--ink); text-decoration: underline; }
[aria-sort] .sort { color: var(--ink); }
[aria-sort=ascending] .sort::after { content: " \\2191"; } [aria-sort=descending] .sort::after { content: " \\2193"; }
tr.total td { font-weight: 650; border-bottom: 0; }
.up { color: var(--good); } .down { color: var(--bad); }
details { margin-top: .7rem; } summary { cursor: pointer; color: var(--soft); font-size: .88rem; }
dl { display: grid; grid-template-columns: max-content 1fr; gap: .25rem 1.2rem; font-size: .9rem; }
dt { color: var(--soft); } dd { margin: 0; overflow-wrap: anywhere; }
.plans { margin: 0 0 .8rem; }
.plans dd { white-space: pre-line; max-height: 12rem; overflow-y: auto; }
code { font: .88em ui-monospace, SFMono-Regular, Menlo, Consolas, monospace; overflow-wrap: anywhere; }
@media (max-width: 32rem) { dl { grid-template-columns: 1fr; } dd { margin-bottom: .4rem; } }
@media print {
  body { max-width: none; } .card { break-inside: avoid; } .plans dd { max-height: none; }
  details::details-content { content-visibility: visible; block-size: auto; }
  .choice { display: none; } .film { flex-wrap: wrap; } .wide { overflow: visible; }
}
"""
