"""The report: one page that shows what a log holds, to be looked at rather than read.

In reading order: `command` is what `callosum report` does; `gather` asks the service, in one pass over the log;
`folding` and `backlog` measure what passes by, `transcripts` makes it fit to be shown; `figures` and
`flow_figures` say which charts there are, `charts` draws them; `page` puts all into `page.html`, with `page.css`
and `page.js`.
"""
