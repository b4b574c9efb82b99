"""A page as headless Chromium shows it."""

import json
import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
needs_chromium = pytest.mark.skipif(
    CHROMIUM is None and "JAXPHYS_TEST_CHROMIUM" not in os.environ, reason="chromium is not installed"
)
_POLICY = re.compile(r'<meta http-equiv="Content-Security-Policy"[^>]*>')
# Answers `await driven(page)` of the script, and everything that went wrong until then.
_DRIVER = """
<script>
const wrong = [];
addEventListener("error", (event) => wrong.push(event.message));
addEventListener("unhandledrejection", (event) => wrong.push(String(event.reason)));
const later = (ms) => new Promise((done) => setTimeout(done, ms));
const until = async (holds) => { for (let i = 0; i < 80 && !holds(); i++) await later(100); };
addEventListener("load", async () => {
  let found = null;
  try { found = await (async () => { %s })(); } catch (error) { wrong.push(String(error)); }
  const answer = document.createElement("pre");
  answer.id = "answer";
  answer.textContent = JSON.stringify({ found, wrong });
  document.body.append(answer);
});
</script>
"""


def opened(address: str, *options: str) -> tuple[str, list[str]]:
    """The document of an address once its scripts have run, and what was written to the console."""
    command = [
        *(str(CHROMIUM), "--headless", "--no-sandbox", "--disable-gpu", "--enable-logging=stderr"),
        *("--window-size=1100,1000", "--virtual-time-budget=20000", *options, "--dump-dom", address),
    ]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    return done.stdout, re.findall(r"CONSOLE.*", done.stderr)


def driven(path: Path, script: str, *options: str):
    """What a script returns that runs in a copy of a page whose policy lets it run."""
    html, count = _POLICY.subn("", path.read_text(encoding="utf-8"))
    assert count == 1
    copy = path.with_name("driven.html")
    copy.write_text(html.replace("</head>", _DRIVER % script + "</head>"), encoding="utf-8")
    document, _ = opened(copy.as_uri(), *options)
    copy.unlink()
    answer = json.loads(
        re.search(r'<pre id="answer">(.*?)</pre>', document, re.DOTALL)[1]
        .replace("&amp;", "&")
        .replace("&lt;", "<")
        .replace("&gt;", ">")
    )
    assert answer["wrong"] == []
    return answer["found"]
