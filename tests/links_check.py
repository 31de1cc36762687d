#!/usr/bin/env python3
"""tests/links_check.py ROOT: every link of the pages leads somewhere.

Looks at README.md, CHANGELOG.md, CONTRIBUTING.md and docs/*.md: links to files of the project, and to headings of this
page and others (anchors as GitHub makes them). Each page of docs/ must be listed in README.md, and a page that is named
in a public header must be there.
"""
import pathlib
import re
import sys

FENCE = re.compile(r"^```.*?^```\s*?$", re.M | re.S)
INDENTED = re.compile(r"(?:^|(?<=\n\n))(?:    .*\n|\n)+", re.M)
LINK = re.compile(r"\[(?:[^\[\]`]|`[^`]*`)*\]\(([^()\s]+)\)", re.S)
HEADING = re.compile(r"^#{1,6} +(.*?) *#*$", re.M)
NAMED = re.compile(r"\bdocs/([\w-]+\.md)")
ELSEWHERE = re.compile(r"^[a-z]+:")


def prose(text):
    """A page without its code."""
    return INDENTED.sub("\n", FENCE.sub("", text))


def anchors(text):
    """The anchors of its headings; the second of one name has -1 behind it."""
    found = {}
    for heading in HEADING.findall(FENCE.sub("", text)):
        plain = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading).replace("`", "")
        name = re.sub(r"[^\w\- ]", "", plain.lower()).replace(" ", "-")
        count = found.setdefault(name, 0)
        found[name] += 1
        if count > 0:
            found[f"{name}-{count}"] = 1
    return set(found)


def check_link(root, page, target):
    path, _, anchor = target.partition("#")
    leads_to = (root / page).parent / path if path else root / page
    if not leads_to.resolve().is_relative_to(root):
        return f"{page}: {target} leads out of the project"
    if not leads_to.exists():
        return f"{page}: {target} leads nowhere"
    if anchor and (leads_to.suffix != ".md" or anchor not in anchors(leads_to.read_text())):
        return f"{page}: {target} names no heading"
    return None


def check_named(root):
    """What nobody would find, and what is named and not there."""
    readme = (root / "README.md").read_text()
    for path in sorted((root / "docs").glob("*.md")):
        if f"(docs/{path.name})" not in readme:
            yield f"README.md: docs/{path.name} is not listed"
    for path in sorted((root / "include").rglob("*.h")):
        for name in NAMED.findall(path.read_text()):
            if not (root / "docs" / name).exists():
                yield f"{path.relative_to(root)}: there is no docs/{name}"


def main():
    root = pathlib.Path(sys.argv[1]).resolve()
    pages = ["README.md", "CHANGELOG.md", "CONTRIBUTING.md", *(f"docs/{path.name}" for path in
                                                               sorted((root / "docs").glob("*.md")))]
    links, errors = 0, list(check_named(root))
    for page in pages:
        for target in LINK.findall(prose((root / page).read_text())):
            if ELSEWHERE.match(target):
                continue
            links += 1
            errors += filter(None, [check_link(root, page, target)])
    assert links > 200, "the pages look different from what was expected"
    print("\n".join(errors) if errors else f"{links} links")
    return 1 if errors else 0


if __name__ == "__main__":
    sys.exit(main())
