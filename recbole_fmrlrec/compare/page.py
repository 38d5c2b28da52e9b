"""The frame of ``report.html``: one column on a phone, plots side by side on a desk."""

PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title>
<style>
:root {{ --line: #0003; --head: #f4f4f4; }}
body {{ font: 15px/1.5 system-ui, sans-serif; max-width: 72rem; margin: 0 auto; padding: 1rem;
  background: #fff; color: #111 }}
h1 {{ font-size: 1.5rem; margin: .5rem 0 }}
h2 {{ margin: 2.5rem 0 .5rem; border-bottom: 2px solid #111 }}
h3 {{ margin: 1.8rem 0 .5rem }}
.wide {{ overflow-x: auto }}
table {{ border-collapse: collapse; font-size: .85rem; font-variant-numeric: tabular-nums }}
th, td {{ padding: .25rem .6rem; text-align: right; border-bottom: 1px solid var(--line);
  white-space: nowrap }}
th {{ background: var(--head) }}
.text {{ text-align: left }}
tr > :first-child {{ position: sticky; left: 0; background: #fff; min-width: 4.5rem;
  max-width: 7.5rem; white-space: normal }}
th:first-child {{ background: var(--head) }}
sup {{ line-height: 0 }}
.plots {{ display: grid; gap: 1rem; grid-template-columns: repeat(auto-fit, minmax(20rem, 1fr));
  margin: 1rem 0 }}
figure {{ margin: 0 }}
figure img {{ width: 100%; max-width: 34rem; height: auto; display: block }}
figcaption {{ font-size: .85rem; color: #444 }}
.small, li {{ font-size: .85rem; overflow-wrap: break-word }}
@media (max-width: 30rem) {{ .plots {{ grid-template-columns: 1fr }} }}
</style>
</head>
<body>
<h1>{title}</h1>
<p class="small">Made {made}.</p>
{body}
<h2>Notes</h2>
<ul>{notes}</ul>
</body>
</html>
"""
