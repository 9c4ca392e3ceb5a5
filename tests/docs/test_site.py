"""The pages become a site, without a warning: every link leads somewhere, every page can be reached."""

from __future__ import annotations

import re
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from tests.conftest import Tell
from tests.docs.conftest import Site, build
from tests.docs.pages import ROOT
from tests.docs.shell import commands_of

pytestmark = pytest.mark.timeout(400)

DOCS = ROOT / "docs"


def test_builds_without_warnings(site: Site, tell: Tell) -> None:
    """`sphinx-build -W --keep-going` ends with 0; that is: headings, links, anchors, references and code are right."""
    assert (site.code, re.findall(r".*(?:WARNING|ERROR|Exception).*", site.said)) == (0, [])
    tell(f"site: {len(site.pages)} pages in {site.seconds:.0f} s, 0 warnings")


def test_every_page_is_in_a_toctree(site: Site) -> None:
    """Every Markdown file of docs/ is a page that the menu leads to."""
    files = {_name(file) for file in DOCS.rglob("*.md")}
    assert files == site.pages
    listed = {page for file in DOCS.rglob("*.md") for page in _listed(file)}
    assert files - listed == {"index"}
    menu = set(re.findall(r'class="reference internal" href="([\w/.-]+)\.html"', site.html("index")))
    tops = {page for page in files if not page.startswith(("api/", "tutorial/")) or page.endswith("/index")}
    assert tops - menu == {"index"}


def _listed(file: Path) -> set[str]:
    """Name the pages that a page's toctrees lead to."""
    trees = re.findall(r"^```\{toctree\}\n(.*?)^```$", file.read_text(), re.MULTILINE | re.DOTALL)
    names = [line for tree in trees for line in tree.splitlines() if line and not line.startswith(":")]
    return {_name(page) for name in names for page in file.parent.glob(f"{name}.md")}


def _name(page: Path) -> str:
    return str(page.relative_to(DOCS).with_suffix(""))


def test_readme_and_changelog_are_pages(site: Site) -> None:
    """The README is the first page, CHANGELOG.md and CONTRIBUTING.md are pages, and their links lead to pages."""
    for page, heading in (("index", "how-it-works"), ("changelog", "added"), ("contributing", "adding-a-service")):
        assert f'id="{heading}"' in site.html(page)
    assert 'href="reattach.html#how-a-job-is-known-again"' in site.html("index")
    assert 'href="contributing.html#adding-a-service"' in site.html("api/job").replace("../", "")
    assert "docs/" not in "".join(re.findall(r'href="([^"#:]+)"', site.html("index")))


def test_nothing_from_elsewhere(site: Site) -> None:
    """No page loads a script, a style, a font or an image from another host."""
    for page in site.pages:
        assert re.findall(r'<(?:script|link|img)\b[^>]*(?:src|href)="(?:https?:)?//[^"]*"', site.html(page)) == []


def test_a_broken_link_is_a_failure(tmp_path: Path) -> None:
    """The build fails for a link to a page, to a heading or to a file that is not there, and for a lost page."""
    (tmp_path / "conf.py").write_text('extensions = ["myst_parser"]\nmyst_heading_anchors = 4\n')
    links = {"page": "other.md", "heading": "#nowhere", "elsewhere": "lost.md#nowhere", "file": "../no.py"}
    (tmp_path / "lost.md").write_text("# Lost\n")
    (command,) = commands_of("tests/docs/test_site.py")
    for name, link in links.items():
        (tmp_path / "index.md").write_text(f"# Title\n\n[{name}]({link})\n")
        folder = tmp_path / f"out-{name}"
        done = build(command.replace(" docs build/docs", f" {tmp_path} {folder}"), folder)
        assert done.code != 0
        assert "lost.md: WARNING: document isn't included in any toctree" in done.said
        assert re.search(r"index\.md:3: WARNING: .*(not found|myst\.xref_missing)", done.said), (name, done.said)


def test_parameters_of_bases(tmp_path: Path) -> None:
    """What docs/conf.py says of parameters that a class takes of its bases is what its constructor takes."""
    code = """
        import sys
        sys.path.insert(0, sys.argv[1])
        import conf
        from ork_provider.bigquery import BigQueryJobOperator
        lines = []
        conf.add_parameters_of_bases(None, "class", "", BigQueryJobOperator, None, lines)
        print("\\n".join(lines))
    """
    command = [sys.executable, "-c", textwrap.dedent(code), str(DOCS)]
    said = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True).stdout
    assert "* ``poll_interval=" in said
    assert "* ``on_existing='reattach'``" in said
    assert "``sql" not in said
    assert "task_id" in said
