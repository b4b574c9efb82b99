"""What MkDocs does beyond its plugins: files that pages link outside `docs/`, and formulas as MathML.

Browsers draw MathML themselves, so formulas need no script, on the site or from elsewhere.
"""

import html
import re
from pathlib import Path, PurePosixPath

from latex2mathml.converter import convert
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT = Path(__file__).parent.parent
# `](../examples/iris.toml)`, with as many steps up as lead out of docs/.
LINK = re.compile(r"\]\(((?:\.\./)+)([\w./-]+)\)")
FORMULA = re.compile(r'<(span|div) class="arithmatex">(.*?)</\1>', re.DOTALL)


def outside(path: str, text: str) -> dict[str, str]:
    """Links of a page of `docs/` that leave it: as written → the path from the repository's root."""
    found = {}
    for up, rest in LINK.findall(text):
        if up.count("../") == len(PurePosixPath(path).parts):
            found[up + rest] = rest
    return found


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Take along the files outside `docs/` that pages link, under `files/`."""
    linked = set()
    for file in files.documentation_pages():
        linked |= set(outside(file.src_uri, file.content_string).values())
    for path in sorted(linked):
        if (ROOT / path).is_file():  # What is not there stays a broken link, of which MkDocs warns.
            files.append(File.generated(config, f"files/{path}", abs_src_path=str(ROOT / path)))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Lead links out of `docs/` to the copies."""
    up = "../" * (len(PurePosixPath(page.file.src_uri).parts) - 1)
    for written, path in outside(page.file.src_uri, markdown).items():
        markdown = markdown.replace(f"]({written})", f"]({up}files/{path})")
    return markdown


def on_page_content(content: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Turn TeX, as arithmatex leaves it, into MathML."""
    return FORMULA.sub(mathml, content)


def mathml(found: re.Match[str]) -> str:
    """One formula, `\\(…\\)` or `\\[…\\]`; the TeX stays as the text that readers without MathML get."""
    tex = html.unescape(found[2]).strip()[2:-2].strip()
    return convert(tex, display="block" if found[1] == "div" else "inline")
