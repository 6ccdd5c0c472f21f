"""The frame of every report: one HTML file that needs nothing else, with a policy that the browser keeps."""

from html import escape

from plaudit.runs.report_script import SCRIPT, SCRIPT_HASH
from plaudit.runs.report_style import STYLE

POLICY = (
    f"default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src '{SCRIPT_HASH}'; base-uri 'none'; "
    "form-action 'none'"
)
"""the browser itself refuses anything from outside the file, and any script but ours"""


def document(title: str, body: str) -> str:
    """The whole page; `title` is text, `body` is HTML."""
    return f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="{POLICY}">
<title>{escape(title)}</title>
<style>{STYLE}</style>
</head>
<body>
{body}
<script>{SCRIPT}</script>
</body>
</html>
"""
