#!/usr/bin/env python3
"""Checks what people read, without a network.

check.py            each link leads to a file that the repository has and to a heading in it; the table of contents names each
                    page; and each sentence in a block marked `says` is one that the product prints, "…" for what differs
check.py book DIR   of the built book in DIR: each link leads somewhere in it, and it loads nothing from elsewhere
check.py rest DIR   prints what the pages in DIR lead to in the repository and are no pages of the book
"""
import html.parser
import os
import pathlib
import re
import subprocess
import sys
import urllib.parse

ROOT = pathlib.Path(__file__).resolve().parents[2]
# Where the sentences are that the product prints; what tests and this page say does not count.
SPEAKERS = ["services", "operator/src", "crds/src", "charts", "hack", "load/src", "bench/src"]
PLACEHOLDER = r"(?:[“\"'(]*(?:\{[^{}]*\}|\{\{[^{}]*\}\}|\$\{[^{}]*\}|\$[A-Za-z_0-9@*]+|%s)[”\"'),]*)+"


def files(*paths):
    """The files of the repository, committed or about to be."""
    said = ["git", "-C", str(ROOT), "ls-files", "-z", "--cached", "--others", "--exclude-standard", "--", *paths]
    names = subprocess.run(said, capture_output=True, check=True, text=True).stdout.split("\0")
    return sorted(name for name in set(names) if name and (ROOT / name).is_file())


def pages():
    """What is read as it stands: not the pieces that other pages are generated from."""
    named = files("*.md")
    ours = [name for name in named if "/" not in name or name.startswith(("docs/", "bench/", "tests/"))]
    return [name for name in ours if not name.endswith("-head.md")]


def prose(text):
    """A page with its blocks of code blanked, line for line."""
    kept, fence = [], None
    for line in text.split("\n"):
        mark = re.match(r"\s*(```+|~~~+)", line)
        if fence is None and mark:
            fence = mark[1]
        elif fence is not None and mark and mark[1].startswith(fence) and not line.strip(" `~"):
            fence = None
        elif fence is None:
            kept.append(line)
            continue
        kept.append("")
    return "\n".join(kept)


def anchors(text):
    """The names of a page's headings, as GitHub and mdbook make them."""
    names = set()
    for heading in re.findall(r"^#{1,6} +(.+?)(?: +#+)?$", prose(text), re.MULTILINE):
        heading = re.sub(r"!?\[([^\]]*)\]\([^)]*\)", r"\1", heading).replace("`", "")
        name = re.sub(r"[^\w\- ]", "", heading.strip().lower()).replace(" ", "-")
        number, first = 0, name
        while name in names:
            number += 1
            name = f"{first}-{number}"
        names.add(name)
    return names


def links(text):
    """The links of a page, each with its line."""
    for number, line in enumerate(prose(text).split("\n"), 1):
        line = re.sub(r"`[^`]*`", lambda code: "x" * len(code[0]), line)
        found = re.findall(r"\]\(<?([^)\s>]+)>?(?: +\"[^\"]*\")?\)", line)
        found += re.findall(r"^ {0,3}\[[^\]]+\]: +(\S+)", line)
        found += re.findall(r"(?:href|src)=\"([^\"]+)\"", line)
        yield from ((number, link) for link in found)


def is_elsewhere(link):
    return re.match(r"[a-z][a-z0-9+.-]*:|//", link) is not None


def target(page, link):
    """The file or folder of the repository that a link leads to, and the heading."""
    path, _, anchor = link.partition("#")
    path = urllib.parse.unquote(path)
    there = os.path.normpath(os.path.join(os.path.dirname(page), path)) if path else page
    return there, urllib.parse.unquote(anchor)


def dead_links():
    known = set(files())
    folders = {str(parent) for name in known for parent in pathlib.PurePosixPath(name).parents}
    for page in pages():
        for number, link in links((ROOT / page).read_text()):
            if is_elsewhere(link):
                continue
            there, anchor = target(page, link)
            if there not in known and there not in folders:
                yield f"{page}:{number}: the link {link} leads to {there}, which is not in the repository"
            elif anchor and there.endswith(".md") and anchor not in anchors((ROOT / there).read_text()):
                yield f"{page}:{number}: the link {link} names a heading that {there} does not have"


def missing_in_contents():
    contents = ROOT / "docs/SUMMARY.md"
    named = {target("docs/SUMMARY.md", link)[0] for _, link in links(contents.read_text())}
    for page in pages():
        if page.startswith("docs/") and page != "docs/SUMMARY.md" and page not in named:
            yield f"{page}: docs/SUMMARY.md does not name this page, so nobody finds it"


def speech():
    """All that the product may print: its sources, with texts that go over several lines put together."""
    for name in files(*SPEAKERS):
        if "/tests/" in name or name.startswith("hack/docs/") or name.endswith((".png", ".svg")):
            continue
        text = (ROOT / name).read_text(errors="replace")
        if name.endswith(".rs"):
            text = re.sub(r"#\[cfg\(test\)\]\s*mod tests \{.*", "", text, flags=re.DOTALL)
        yield re.sub(r"\s+", " ", re.sub(r"\\\n\s*", "", text).replace('\\"', '"'))


def unsaid():
    spoken = ""
    for page in pages():
        for block in re.finditer(r"^( *)```says\n(.*?)^ *```", (ROOT / page).read_text(), re.MULTILINE | re.DOTALL):
            spoken = spoken or "\n".join(speech())
            for sentence in filter(None, map(str.strip, block[2].split("\n"))):
                pieces = [re.escape(piece) for piece in sentence.strip("…").split("…")]
                if not re.search(PLACEHOLDER.join(pieces), spoken):
                    yield f"{page}: nothing in the product says “{sentence}”; quote it as it is, with … for what differs"


class Page(html.parser.HTMLParser):
    """What a built page has, leads to and loads."""

    def __init__(self, path):
        super().__init__()
        self.ids, self.leads_to, self.loads = set(), [], []
        self.feed(path.read_text())

    def handle_starttag(self, tag, attributes):
        given = {name: value or "" for name, value in attributes}
        self.ids |= {given[name] for name in ("id", "name") if given.get(name) and tag != "meta"}
        for name in ("href", "src", "poster", "data"):
            if name in given:
                (self.leads_to if tag == "a" else self.loads).append(given[name])


def dead_in_book(book):
    built = {path.resolve(): Page(path) for path in sorted(book.rglob("*.html"))}
    for path, page in built.items():
        name = path.relative_to(book.resolve())
        for link in page.leads_to + page.loads:
            if is_elsewhere(link):
                if link in page.loads and not link.startswith("data:"):
                    yield f"{name}: loads {link} from elsewhere"
                continue
            where, _, anchor = link.partition("#")
            where = urllib.parse.unquote(where.partition("?")[0])
            # The page that stands for missing ones is shown at any depth, so its links begin at the book's root.
            there = (path if not where else (path.parent / where.lstrip("/")).resolve())
            there = there / "index.html" if there.is_dir() else there
            if not there.is_file():
                yield f"{name}: the link {link} leads nowhere in the book"
            elif anchor and there in built and urllib.parse.unquote(anchor) not in built[there].ids:
                yield f"{name}: the link {link} names a place that is not there"
    for path in sorted(book.rglob("*.css")):
        for link in re.findall(r"url\(['\"]?([^)'\"]+)|@import +['\"]([^'\"]+)", path.read_text()):
            link = "".join(link)
            if is_elsewhere(link) and not link.startswith("data:"):
                yield f"{path.relative_to(book)}: loads {link} from elsewhere"


def rest(sources):
    here = {str(path.relative_to(sources)) for path in sources.rglob("*.md")}
    found = {page: links((ROOT / page).read_text()) for page in here - {"SUMMARY.md"}}
    there = {target(page, link)[0] for page in found for _, link in found[page] if not is_elsewhere(link)}
    return sorted(path for path in there - here if not path.startswith("docs/images/"))


def main():
    match sys.argv[1:]:
        case ["rest", sources]:
            print(*rest(pathlib.Path(sources)), sep="\n")
            return 0
        case ["book", book]:
            wrong = list(dead_in_book(pathlib.Path(book)))
        case []:
            wrong = [*dead_links(), *missing_in_contents(), *unsaid()]
        case _:
            wrong = [__doc__]
    for sentence in wrong:
        print(sentence, file=sys.stderr)
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
