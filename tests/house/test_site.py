"""The documentation site: it builds without a warning, its pages are whole, and browsers show them.

Needs the extra `docs` (`JAXPHYS_TEST_DOCS=1` fails without it), and for the last test Chromium.
"""

import functools
import http.server
import importlib
import importlib.util
import os
import re
import subprocess
import sys
import threading
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urldefrag

import pytest
from browser import needs_chromium, opened

pytestmark = pytest.mark.float64

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = ("", "config", "data", "diagnostics", "inspection", "io", "papers", "solvers")
# What a browser fetches by itself when it opens a page; links are only followed when somebody clicks.
LOADED = {"script": "src", "img": "src", "link": "href", "iframe": "src", "source": "src", "object": "data"}
# Links that say where a page is, or was before, and are not fetched.
NOT_LOADED = {"canonical", "prev", "next"}


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """The site, built with warnings as errors."""
    if importlib.util.find_spec("mkdocs") is None and os.environ.get("JAXPHYS_TEST_DOCS") != "1":
        pytest.skip("the extra `docs` is not installed")
    folder = tmp_path_factory.mktemp("site")
    # With --quiet warnings would be neither shown nor counted.
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(folder)]
    environment = os.environ | {"NO_MKDOCS_2_WARNING": "1"}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    return folder


class Page(HTMLParser):
    """What of a page is checked: title, headings, images, links, anchors, what it loads."""

    def __init__(self, text):
        super().__init__()
        self.title, self.h1, self.links, self.ids, self.loads, self.bare_images = "", 0, [], set(), [], []
        self.inside = ""
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        given = dict(attributes)
        self.inside = tag
        self.h1 += tag == "h1"
        self.ids |= {given["id"]} if given.get("id") else set()
        if tag == "a" and given.get("href"):
            self.links.append(given["href"])
        if tag == "img" and not given.get("alt", "").strip():
            self.bare_images.append(given.get("src"))
        if given.get(LOADED.get(tag, "")) and given.get("rel") not in NOT_LOADED:
            self.loads.append(given[LOADED[tag]])

    def handle_endtag(self, tag):
        self.inside = ""

    def handle_data(self, data):
        if self.inside == "title":
            self.title += data


def complaints(folder):
    """All that is wrong with the pages of a site."""
    pages = {path: Page(path.read_text(encoding="utf-8")) for path in sorted(folder.rglob("*.html"))}
    for path, page in pages.items():
        name = path.relative_to(folder).as_posix()
        if not page.title.strip():
            yield f"{name}: no title"
        if page.h1 != 1:
            yield f"{name}: {page.h1} first headings"
        yield from (f"{name}: image {source} has no alternative text" for source in page.bare_images)
        yield from (f"{name}: loads {source}" for source in page.loads if re.match(r"(https?:)?//", source))
        for link in [] if name == "404.html" else [*page.links, *page.loads]:
            if re.match(r"(https?:|mailto:|data:|javascript:|//)", link):
                continue
            target, anchor = urldefrag(link)
            there = (path.parent / unquote(target)).resolve() if target else path
            there = there / "index.html" if there.is_dir() else there
            if not there.is_file():
                yield f"{name}: {link} leads nowhere"
            elif anchor and there in pages and unquote(anchor) not in pages[there].ids:
                yield f"{name}: {link} has no such anchor"
    for style in folder.rglob("*.css"):
        for source in re.findall(
            r"(?:url\(|@import\s+)[\"']?(?:https?:)?//[^\"')]+", style.read_text("utf-8")
        ):
            yield f"{style.name}: loads {source}"


def test_the_pages_are_whole(site):
    assert len(list(site.rglob("*.html"))) > 25
    assert list(complaints(site)) == []


def test_what_is_wrong_with_a_page_is_seen(tmp_path):
    (tmp_path / "page.html").write_text(
        "<title> </title><h1>a</h1><h1>b</h1><img src='//x.org/a.png'>"
        "<a href='gone.html'>c</a><a href='#d'>d</a>"
    )
    (tmp_path / "style.css").write_text("@import 'https://x.org/font.css';")
    assert len(list(complaints(tmp_path))) == 7


def public_names():
    """`(package, name)` of all that packages say they offer."""
    for name in PACKAGES:
        package = importlib.import_module(f"jaxphys.{name}".rstrip("."))
        offered = getattr(package, "__all__", None)
        if offered is None:  # It offers the functions that it defines.
            offered = [key for key, one in vars(package).items() if callable(one)]
            offered = [key for key in offered if getattr(package, key).__module__ == package.__name__]
        yield from ((package, key) for key in offered)


def test_every_public_name_is_in_the_reference(site):
    anchors = {
        anchor for path in (site / "api").glob("*.html") for anchor in Page(path.read_text("utf-8")).ids
    }
    missing = []
    for package, name in public_names():
        one = getattr(package, name)
        if isinstance(one, type(pytest)):
            continue  # A subpackage, whose names are looked for on their own.
        if hasattr(one, "__qualname__"):
            # What lies in a module may go by its package.
            modules = {one.__module__, one.__module__.rpartition(".")[0]}
            found = bool({f"{module}.{one.__qualname__}" for module in modules} & anchors)
        else:
            found = any(re.fullmatch(rf"{package.__name__}(\..+)?\.{name}", anchor) for anchor in anchors)
        missing += [] if found else [f"{package.__name__}.{name}"]
    assert missing == []


def test_formulas_are_drawn_by_the_browser(site):
    text = (site / "theory.html").read_text(encoding="utf-8")
    assert text.count("<math") > 50
    assert "\\frac" not in text
    assert 'class="arithmatex"' not in text


def luminance(colour):
    """Relative luminance of `#rrggbb` (WCAG 2.2)."""
    parts = (int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5))
    linear = (part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts)
    return sum(weight * part for weight, part in zip((0.2126, 0.7152, 0.0722), linear, strict=True))


def contrast(one, other):
    low, high = sorted((luminance(one), luminance(other)))
    return (high + 0.05) / (low + 0.05)


def test_contrast():
    """Text stands out by 4.5 to 1 (WCAG AA), by day and by night."""
    assert contrast("#000000", "#ffffff") == pytest.approx(21)
    assert contrast("#777777", "#ffffff") < 4.5  # The best-known grey that fails.
    style = (ROOT / "docs" / "assets" / "site.css").read_text(encoding="utf-8")
    schemes = re.findall(r'\[data-md-color-scheme="(\w+)"\] \{(.*?)\}', style, flags=re.DOTALL)
    assert {name for name, _ in schemes} == {"default", "slate"}
    for name, text in schemes:
        colours = dict(re.findall(r"--md-([\w-]+): (#[0-9a-f]{6});", text))
        for above, below in (
            ("typeset-a-color", "default-bg-color"),
            ("accent-fg-color", "default-bg-color"),
            ("default-fg-color--light", "default-bg-color"),
            ("primary-bg-color", "primary-fg-color"),
            ("code-fg-color", "code-bg-color"),
            ("code-hl-comment-color", "code-bg-color"),
        ):
            assert contrast(colours[above], colours[below]) >= 4.5, (name, above)


class Quiet(http.server.SimpleHTTPRequestHandler):
    """Serves files and says nothing."""

    def log_message(self, *_):
        pass


@needs_chromium
@pytest.mark.parametrize("page", ["index", "theory", "api/learning"])
def test_a_browser_shows_it(site, page):
    handler = functools.partial(Quiet, directory=str(site))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            shown, said = opened(f"http://127.0.0.1:{server.server_port}/{page}.html")
        finally:
            server.shutdown()
            thread.join()
    assert said == []
    assert 'class="js' in shown  # Scripts have run.
    assert "md-search__input" in shown
    assert len(re.findall("<h1", shown)) == 1


@needs_chromium
def test_what_a_browser_complains_of_is_heard(tmp_path):
    page = tmp_path / "page.html"
    page.write_text("<title>a</title><script>console.error('broken')</script>")
    assert len(opened(page.as_uri())[1]) == 1
