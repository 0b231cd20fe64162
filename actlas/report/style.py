"""The style of a page: that of the front end, and what a page with a list of contents needs, on screens and on paper."""

from actlas.explore.module import style

_THEME = '.actlas-page:has([name="theme"][value="{0}"]:checked), .actlas-page:has([name="theme"][value="{0}"]:checked) .actlas'

_PAGE = f"""
{_THEME.format("light")} {{ color-scheme: light; }}
{_THEME.format("dark")} {{ color-scheme: dark; }}
.actlas header, .actlas .contents, .actlas main {{ max-width: 62rem; margin: 0 auto; padding: 0 1.25rem; }}
.actlas header {{ display: flex; flex-wrap: wrap; gap: .5rem 2rem; justify-content: space-between; padding-top: 2.5rem; }}
.actlas main {{ padding-bottom: 4rem; }}
.actlas .themes {{ border: 0; margin: 0; padding: .5rem 0; font-size: .875rem; color: var(--soft); }}
.actlas .themes legend {{ float: left; padding: 0 .75rem 0 0; }}
.actlas .themes label {{ margin-right: .75rem; }}
.actlas .contents ol {{ padding-left: 1.4rem; margin: .5rem 0 1rem; columns: 2 18rem; }}
.actlas .contents li {{ margin: 0 0 .3rem; break-inside: avoid; }}
.actlas .contents a {{ color: var(--link); text-decoration: underline; padding: .1rem 0; display: inline; }}
.actlas h1 {{ font-size: 1.9rem; }}
.actlas section > h2 {{ font-size: 1.35rem; margin-top: 2.75rem; }}
.actlas h3 {{ font-size: 1.05rem; margin: 2rem 0 .5rem; }}
.actlas p, .actlas ul {{ max-width: 46rem; margin: .6rem 0; }}
.actlas ul {{ padding-left: 1.2rem; }}
.actlas li {{ margin: .3rem 0; }}
.actlas figure {{ margin: .5rem 0 .75rem; }}
.actlas figcaption, .actlas caption {{ color: var(--soft); font-size: .875rem; text-align: left; }}
.actlas figcaption {{ max-width: 52rem; }}
.actlas caption {{ padding-bottom: .4rem; }}
.actlas td.long {{ min-width: 14rem; }}
.actlas .fallback svg {{ display: block; width: 100%; min-width: 36rem; height: auto; }}
.actlas .fallback svg .rule {{ stroke-width: .6; }}
.actlas .fallback text[font-size="8"] {{ font-size: 8px; }}
.actlas .fallback text[font-size="9"] {{ font-size: 9px; }}
.actlas .fallback text[font-size="10"] {{ font-size: 10px; }}
@page {{ size: A4; margin: 14mm; }}
@media print {{
  .actlas-page, .actlas-page .actlas, {_THEME.format("dark")} {{ color-scheme: light; }}
  .actlas {{ font-size: 10.5pt; }}
  .actlas header, .actlas .contents, .actlas main {{ max-width: none; padding: 0; }}
  .actlas .skip, .actlas .themes {{ display: none; }}
  .actlas .facts {{ font-size: 7pt; margin: .2rem 0; gap: 0 1rem; }}
  .actlas summary {{ list-style: none; }}
  .actlas details::details-content {{ content-visibility: visible; height: auto; }}
  .actlas .fallback svg {{ min-width: 0; }}
  .actlas section, .actlas figure {{ break-inside: auto; }}
  .actlas h2, .actlas h3, .actlas summary, .actlas caption, .actlas .fallback, .actlas .picture {{ break-after: avoid; }}
  .actlas .fallback, .actlas .picture, .actlas tr {{ break-inside: avoid; }}
  .actlas thead {{ display: table-header-group; }}
  .actlas .wide, .actlas .chart, .actlas pre {{ overflow: visible; }}
  .actlas pre {{ font-size: 7pt; }}
  .actlas table {{ font-size: 6.5pt; width: 100%; }}
  .actlas th, .actlas td {{ white-space: normal; overflow-wrap: break-word; padding: .1rem .4rem .1rem 0; line-height: 1.25; }}
  .actlas td:not(.number) {{ overflow-wrap: anywhere; min-width: 4.5em; }}
  .actlas table:has(th:nth-child(14)) {{ font-size: 5.5pt; }}
  .actlas table:has(th:nth-child(14)) td {{ min-width: 0; padding-right: .25rem; }}
  .actlas table:has(th:nth-child(14)) th {{ padding-right: .25rem; overflow-wrap: anywhere; }}
}}
"""

#: Text of the page's only style sheet.
STYLE = style() + _PAGE
