"""The style of a page: on screens bright or dark, and on paper."""

_LIGHT = (
    "--page: #ffffff; --ink: #1d2126; --soft: #5b6470; --rule: #d9dde3; --panel: #f5f6f8; --link: #1f5fae; color-scheme: light;"
)
_DARK = (
    "--page: #14171b; --ink: #e4e7eb; --soft: #a2abb6; --rule: #3a414a; --panel: #1d2127; --link: #8cb8f0; color-scheme: dark;"
)

#: Text of the page's only style sheet.
STYLE = f"""
:root {{ {_LIGHT} }}
@media (prefers-color-scheme: dark) {{ :root {{ {_DARK} }} }}
:root:has(input[value="light"]:checked) {{ {_LIGHT} }}
:root:has(input[value="dark"]:checked) {{ {_DARK} }}
* {{ box-sizing: border-box; }}
body {{ margin: 0; background: var(--page); color: var(--ink); font: 16px/1.55 system-ui, -apple-system, "Segoe UI",
  Roboto, "Helvetica Neue", sans-serif; }}
header, nav, main {{ max-width: 62rem; margin: 0 auto; padding: 0 1.25rem; }}
header {{ display: flex; flex-wrap: wrap; gap: .5rem 2rem; justify-content: space-between; padding-top: 2.5rem; }}
main {{ padding-bottom: 4rem; outline: none; }}
h1 {{ font-size: 1.9rem; line-height: 1.2; margin: 0 0 1rem; }}
h2 {{ font-size: 1.3rem; margin: 2.75rem 0 .75rem; padding-top: 1.25rem; border-top: 1px solid var(--rule); }}
h3 {{ font-size: 1.05rem; margin: 1.75rem 0 .5rem; }}
a {{ color: var(--link); }}
:focus-visible {{ outline: 2px solid var(--link); outline-offset: 2px; }}
.skip {{ position: absolute; left: -99rem; }}
.unseen {{ position: absolute; width: 1px; height: 1px; overflow: hidden; clip-path: inset(50%); white-space: nowrap; }}
.skip:focus {{ left: 1rem; top: 1rem; background: var(--page); padding: .5rem 1rem; }}
.themes {{ border: 0; margin: 0; padding: .5rem 0; font-size: .875rem; color: var(--soft); }}
.themes legend {{ float: left; padding: 0 .75rem 0 0; }}
.themes label {{ margin-right: .75rem; }}
nav ol {{ padding-left: 1.2rem; margin: 0 0 1rem; columns: 2 18rem; font-size: .9375rem; }}
p, ul {{ max-width: 46rem; margin: .6rem 0; }}
ul {{ padding-left: 1.2rem; }}
li {{ margin: .3rem 0; }}
figure {{ margin: 1.5rem 0 .75rem; }}
svg {{ display: block; width: 100%; min-width: 36rem; height: auto; color: var(--ink); }}
svg .rule {{ stroke: var(--rule); stroke-width: .6; fill: none; }}
figcaption, caption {{ color: var(--soft); font-size: .875rem; text-align: left; }}
figcaption {{ max-width: 52rem; }}
caption {{ padding-bottom: .4rem; }}
.wide {{ overflow-x: auto; margin: .75rem 0; }}
table {{ border-collapse: collapse; font-size: .875rem; font-variant-numeric: tabular-nums; }}
th, td {{ padding: .3rem .75rem .3rem 0; text-align: left; vertical-align: top; border-bottom: 1px solid var(--rule);
  white-space: nowrap; }}
th {{ font-weight: 600; color: var(--soft); }}
.number {{ text-align: right; }}
.long {{ white-space: normal; min-width: 14rem; }}
details {{ margin: .5rem 0; }}
summary {{ cursor: pointer; color: var(--soft); font-size: .875rem; }}
pre {{ background: var(--panel); padding: .75rem 1rem; overflow-x: auto; font: .8125rem/1.5 ui-monospace, Menlo, Consolas,
  monospace; border-radius: 6px; }}
@page {{ size: A4; margin: 14mm; }}
@media print {{
  :root, :root:has(input:checked) {{ {_LIGHT} }}
  body {{ font-size: 10.5pt; }}
  header, nav, main {{ max-width: none; padding: 0; }}
  .skip, .themes, summary, button {{ display: none; }}
  details::details-content {{ content-visibility: visible; height: auto; }}
  svg {{ min-width: 0; }}
  h2, h3, summary, caption, figure > .fallback {{ break-after: avoid; }}
  figure > .fallback, tr {{ break-inside: avoid; }}
  thead {{ display: table-header-group; }}
  .wide, pre {{ overflow: visible; }}
  pre {{ white-space: pre-wrap; font-size: 7pt; }}
  table {{ font-size: 6.5pt; width: 100%; }}
  th, td {{ white-space: normal; overflow-wrap: break-word; padding: .1rem .4rem .1rem 0; line-height: 1.25; }}
  .long {{ min-width: 0; }}
}}
"""
