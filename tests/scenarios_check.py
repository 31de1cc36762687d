#!/usr/bin/env python3
"""tests/scenarios_check.py ROOT PAGE...: the pages that say which test protects what name tests that are there.

In tables of these pages a test is written as `program_test`: name, name. The program is a file of tests/*/, and each
name a START_TEST in it that is also added to a test case. In tables whose first heading is "libuv" and whose last is
"here" each row names a test, or says "no counterpart" or "none"; there `name` alone is a test of any program.
"""
import pathlib
import re
import sys

REFERENCE = re.compile(r"`(\w+_test)`(?::? ((?:[a-z]\w*, )*[a-z]\w*)(?=[;:,.)( |]|$))?")
BARE = re.compile(r"`([a-z]\w+)`")
WITHOUT = re.compile(r"\bno counterpart\b|\bnone\b|\bnot mirrored\b")


def test_functions(root):
    """The tests of each program that are defined and added."""
    functions = {}
    for path in sorted((root / "tests").glob("*/*_test.c")):
        text = path.read_text()
        defined = set(re.findall(r"^START_TEST\((\w+)\)", text, re.M))
        added = set(re.findall(r"tcase_add_(?:\w+_)?test\(\s*\w+,\s*(\w+)", text))
        functions.setdefault(path.stem, set()).update(defined & added)
    assert sum(map(len, functions.values())) > 300, "the tests look different from what was expected"
    return functions


def tables(text):
    """The tables of a page: their headings, and their rows with line numbers."""
    table = None
    for number, line in enumerate(text.splitlines(), 1):
        if not line.startswith("|"):
            table = None
            continue
        cells = [cell.strip() for cell in line.strip().strip("|").split("|")]
        if table is None:
            table = (cells, [])
            yield table
        elif not set(line) <= set("|-: "):
            table[1].append((number, cells))


def check_row(page, number, cell, must, functions):
    found = False
    for program, names in REFERENCE.findall(cell):
        if program not in functions:
            yield f"{page}:{number}: there is no {program}.c with tests"
            continue
        found = True
        for name in filter(None, names.split(", ")):
            if name not in functions[program] and name != "all":
                yield f"{page}:{number}: {program} has no test {name}"
    for name in BARE.findall(cell) if must else []:
        found = True
        if not name.endswith("_test") and not any(name in names for names in functions.values()):
            yield f"{page}:{number}: no test is called {name}"
    if must and not found and not WITHOUT.search(cell):
        yield f"{page}:{number}: names no test"


def main():
    root = pathlib.Path(sys.argv[1])
    functions = test_functions(root)
    errors, rows = [], 0

    for page in sys.argv[2:]:
        seen = set()
        for headings, lines in list(tables((root / page).read_text())):
            must = headings[0] == "libuv" and headings[-1] == "here"
            for number, cells in lines:
                rows += 1
                if len(cells) != len(headings):
                    errors.append(f"{page}:{number}: {len(cells)} cells, not {len(headings)}")
                errors += check_row(page, number, cells[-1], must, functions)
                names = re.findall(r"\b[a-z]\w+", cells[0]) if must and len(headings) == 3 else []
                errors += [f"{page}:{number}: {name} has two rows" for name in names if name in seen]
                seen.update(names)
    assert rows > 0, "the pages have no tables"
    for error in errors:
        print(error)
    return 1 if errors else 0


if __name__ == "__main__":
    sys.exit(main())
