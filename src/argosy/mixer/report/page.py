"""A report as one HTML page that needs nothing else: no script, no font, no request."""

from collections.abc import Iterable, Sequence
from html import escape

from argosy.mixer.report.documents import severities
from argosy.mixer.report.findings import Found, Rule, Severity, by_rule
from argosy.mixer.report.measured import Share
from argosy.mixer.report.report import PERFECT, NamespaceScore, Report

_GOOD, _FAIR = 90, 70
_RING = 264
"""The circumference of the ring, in the picture's units."""

STYLE = """
:root{color-scheme:light dark;--paper:#f6f7f9;--card:#fff;--ink:#1b2430;--soft:#5b6776;
--line:#e1e6ec;--good:#12805c;--fair:#a05a00;--bad:#c0263a;--critical:#8a1030;--high:#c0263a;
--medium:#b35c00;--low:#2563a8;--info:#5b6776;--tint:10%}
@media (prefers-color-scheme:dark){:root{--paper:#11161d;--card:#19212b;--ink:#e8edf3;
--soft:#9aa7b5;--line:#2a3440;--good:#45c49a;--fair:#f0a94a;--bad:#ff7583;--critical:#ff8fa3;
--high:#ff7583;--medium:#f0a94a;--low:#74b4ff;--info:#9aa7b5;--tint:18%}}
*{box-sizing:border-box}
body{margin:0;background:var(--paper);color:var(--ink);
font:15px/1.55 system-ui,-apple-system,"Segoe UI",Roboto,"Noto Sans",sans-serif}
main{max-width:1080px;margin:0 auto;padding:40px 24px 72px}
header{display:flex;flex-wrap:wrap;gap:8px 24px;align-items:baseline;justify-content:space-between;
margin-bottom:24px}
h1{font-size:26px;margin:0;letter-spacing:-.01em}h1 small{color:var(--soft);font-weight:400}
h2{font-size:18px;margin:40px 0 12px}
time,.soft{color:var(--soft)}
.card{background:var(--card);border:1px solid var(--line);border-radius:12px}
.top{display:grid;grid-template-columns:auto 1fr 1fr;gap:32px;align-items:center;padding:24px 28px}
.ring{width:128px;height:128px;flex:none}.ring circle{fill:none;stroke-width:9}
.ring .rest{stroke:var(--line)}.ring .part{stroke-linecap:round}
.ring text{font-size:30px;font-weight:650;fill:var(--ink);text-anchor:middle;
dominant-baseline:central}
.top h3{margin:0 0 8px;font-size:13px;font-weight:600;color:var(--soft)}
.big{font-size:26px;font-weight:650;line-height:1.2;margin-bottom:8px}
.bar{height:8px;border-radius:4px;background:var(--line);overflow:hidden;min-width:90px}
.bar i{display:block;height:100%;border-radius:4px}
.good{--c:var(--good)}.fair{--c:var(--fair)}.bad{--c:var(--bad)}.none{--c:var(--line)}
.bar i{background:var(--c)}.ring .part{stroke:var(--c)}
.chips{display:flex;flex-wrap:wrap;gap:8px}
.chip{display:inline-block;padding:2px 10px;border-radius:99px;font-size:13px;font-weight:600;
white-space:nowrap;color:var(--s);background:color-mix(in srgb,var(--s) var(--tint),transparent)}
.critical{--s:var(--critical)}.high{--s:var(--high)}.medium{--s:var(--medium)}.low{--s:var(--low)}
.info{--s:var(--info)}
.scroll{overflow-x:auto}
table{border-collapse:collapse;width:100%}
th{font-size:13px;font-weight:600;color:var(--soft);text-align:left;white-space:nowrap}
th,td{padding:10px 16px;vertical-align:top;border-bottom:1px solid var(--line)}
tbody tr:last-child td{border-bottom:0}
td.number,th.number{text-align:right;font-variant-numeric:tabular-nums}
td.score{width:220px}td.score div{display:flex;gap:12px;align-items:center}
td.score b{width:32px;text-align:right;font-variant-numeric:tabular-nums}td.score .bar{flex:1}
section.rule{margin:0 0 16px;overflow:hidden}
section.rule>div:first-child{display:flex;gap:16px;justify-content:space-between;
align-items:flex-start;padding:16px 16px 12px;border-bottom:1px solid var(--line)}
section.rule h3{margin:0;font-size:16px}section.rule p{margin:2px 0 0;max-width:75ch}
code{font:13px/1.5 ui-monospace,SFMono-Regular,Menlo,Consolas,monospace;overflow-wrap:anywhere}
section.rule p code{white-space:nowrap}td.object{width:34%}td.what{min-width:300px}td .soft{display:block}
ul.plain{margin:0;padding:16px 16px 16px 34px}
footer{margin-top:40px;color:var(--soft);font-size:13px;max-width:80ch}
@media (max-width:760px){.top{grid-template-columns:1fr}main{padding:24px 14px}td.object{width:auto}}
@media print{body{background:#fff}.card{break-inside:avoid}}
"""


def page(report: Report) -> str:
    title = f"Compliance of mesh {report.mesh}"
    return "".join(
        (
            "<!doctype html>\n",
            '<html lang="en"><head><meta charset="utf-8">',
            '<meta name="viewport" content="width=device-width,initial-scale=1">',
            f"<title>{escape(title)}: {report.score}</title><style>{STYLE}</style></head>\n<body><main>",
            f"<header><h1>Compliance <small>of mesh</small> {escape(report.mesh)}</h1>",
            f"<time>{escape(report.moment)}</time></header>\n",
            _summary(report),
            _namespaces(report.namespaces),
            _findings(report.findings),
            _unmeasured(report.unmeasured),
            _footer(report),
            "</main></body></html>\n",
        )
    )


def _summary(report: Report) -> str:
    counts = severities(report.findings)
    chips = "".join(
        _chip(severity, f"{number} {severity.value}") for severity, number in counts.items()
    )
    if not chips:
        chips = '<span class="soft">Nothing was found.</span>'
    return (
        f'<div class="card top"><div class="{_quality(report.score)}">{_ring(report.score)}</div>'
        f'<div><h3>Findings</h3><div class="chips">{chips}</div>'
        f'<p class="soft">{report.checked} checks of {len(report.namespaces)} namespaces</p></div>'
        f"<div><h3>Traffic with mutual TLS</h3>{_measured(report)}</div></div>\n"
    )


def _measured(report: Report) -> str:
    share = report.mutual_tls
    if share is None:
        return '<div class="big soft">not measured</div>'
    return (
        f'<div class="big">{share.percent:g} %</div>{_bar(share.percent)}'
        f'<p class="soft">{share.mutual_tls} of {share.total} requests and connections, '
        f"in the last {_duration(report.since)}</p>"
    )


def _ring(score: int) -> str:
    part = _RING * score / PERFECT
    arc = (
        f'<circle class="part" cx="50" cy="50" r="42" transform="rotate(-90 50 50)" '
        f'stroke-dasharray="{part:.1f} {_RING}"/>'
        if score
        else ""
    )
    return (
        f'<svg class="ring" viewBox="0 0 100 100" role="img" aria-label="Score {score} of 100">'
        f'<circle class="rest" cx="50" cy="50" r="42"/>{arc}'
        f'<text x="50" y="50">{score}</text></svg>'
    )


def _namespaces(scores: Sequence[NamespaceScore]) -> str:
    rows = "".join(
        f"<tr><td><code>{escape(one.namespace or '(whole mesh)')}</code></td>"
        f'<td class="score {_quality(one.score)}"><div><b>{one.score}</b>{_bar(one.score)}</div></td>'
        f'<td class="number">{_percent(one.mutual_tls)}</td>'
        '<td><div class="chips">'
        + "".join(_chip(severity, f"{number} {severity.value}") for severity, number in one.counts)
        + "</div></td></tr>"
        for one in scores
    )
    return (
        '<h2>Namespaces</h2><div class="card scroll"><table><thead><tr><th>Namespace</th>'
        '<th>Score</th><th class="number">Mutual TLS</th><th>Findings</th></tr></thead>'
        f"<tbody>{rows}</tbody></table></div>\n"
    )


def _findings(found: Sequence[Found]) -> str:
    if not found:
        return ""
    groups = by_rule(found)
    return "<h2>Findings</h2>" + "".join(_group(rule, members) for rule, members in groups)


def _group(rule: Rule, members: Sequence[Found]) -> str:
    worst = members[0].finding.severity
    rows = "".join(_row(one) for one in members)
    return (
        f'<section class="card rule" id="{escape(rule.id)}"><div><div><h3>{escape(rule.title)}</h3>'
        f'<p class="soft">{escape(rule.why)} <code>{escape(rule.id)}</code></p></div>'
        f"{_chip(worst, worst.value)}</div>"
        f'<div class="scroll"><table><tbody>{rows}</tbody></table></div></section>\n'
    )


def _row(one: Found) -> str:
    finding = one.finding
    place = f'<code class="soft">{escape(str(finding.place))}</code>' if finding.place.file else ""
    return (
        f'<tr><td class="object"><code>{escape(one.object)}</code>{place}</td>'
        f'<td class="what">{escape(_sentence(finding.message))}'
        f'<span class="soft">{escape(_sentence(finding.remedy))}</span></td>'
        f"<td>{_chip(finding.severity, finding.severity.value)}</td></tr>"
    )


def _unmeasured(what: Iterable[str]) -> str:
    items = "".join(f"<li>{escape(_sentence(one))}</li>" for one in what)
    if not items:
        return ""
    return f'<h2>Not measured</h2><div class="card"><ul class="plain">{items}</ul></div>\n'


def _footer(report: Report) -> str:
    return (
        "<footer><p>A namespace's score is the weighted share of what was right: a rule that found "
        "something at f of n objects loses f/n of its weight (critical 40, high 20, medium 10, low 5, "
        "info 0; a finding less grave than its rule loses that share of it). 100 means that there is "
        f"nothing to do.</p><p>Argosy {escape(report.version)}</p></footer>"
    )


def _chip(severity: Severity, text: str) -> str:
    return f'<span class="chip {severity.value}">{escape(text)}</span>'


def _bar(percent: float) -> str:
    return f'<div class="bar {_quality(percent)}"><i style="width:{percent:g}%"></i></div>'


def _quality(percent: float) -> str:
    if percent >= _GOOD:
        return "good"
    return "fair" if percent >= _FAIR else "bad"


def _percent(share: Share | None) -> str:
    return '<span class="soft">–</span>' if share is None else f"{share.percent:g} %"


def _duration(seconds: float) -> str:
    if seconds >= 7200:
        return f"{seconds / 3600:.0f} hours"
    return f"{seconds / 60:.0f} minutes" if seconds >= 120 else f"{seconds:.0f} seconds"


def _sentence(text: str) -> str:
    return text[:1].upper() + text[1:] + ("" if text.endswith((".", "!", "?")) else ".")
