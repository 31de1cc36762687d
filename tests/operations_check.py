#!/usr/bin/env python3
"""tests/operations_check.py ROOT: the table of docs/operations.md, the code and its tests say the same.

Every opcode of the installed liburing header has a row and every row an opcode; every function that starts an
operation (returns a loop_id) is in the table, and every function named there is declared in a public header. Each of
them is called by a test, and those in the table have a row among the tests of all operations (op_rows.c) as well.
"""
import pathlib
import re
import subprocess
import sys

# Return a loop_id, but belong to no opcode.
WITHOUT_OPCODE = {"loop_raw", "loop_raw128", "loop_work", "loop_barrier", "loop_subscription_id"}

# What these headers start runs on the work pool.
POOL_HEADERS = ("directory.h", "path.h", "system.h", "temporary.h", "tree.h")

# Called by tests of their own, but no rows: each of their results is a number of buffers.
WITHOUT_ROW = {"loop_send_bundle", "loop_recv_bundle", "loop_recv_multishot_bundle"}

# Where calls are looked for, and the rows.
TEST_DIRECTORIES = ("tests/loop", "tests/sim", "tests/net", "tests/fs")
TEST_ROWS = "tests/loop/op_rows.c"

COMMENT = re.compile(r"/\*.*?\*/", re.S)


def liburing_opcodes():
    directory = subprocess.run(["pkg-config", "--variable=includedir", "liburing"], check=True, capture_output=True,
                               text=True).stdout.strip()
    text = COMMENT.sub("", (pathlib.Path(directory) / "liburing" / "io_uring.h").read_text())
    body = re.search(r"enum io_uring_op \{(.*?)\}", text, re.S).group(1)
    names = re.findall(r"\bIORING_OP_(\w+)", body)
    assert names[-1] == "LAST" and len(names) > 50, "the header of liburing looks different from what was expected"
    return names[:-1]


STARTING = re.compile(r"^LOOP_API\s+(?:LOOP_MUST_USE\s+)?loop_id\s+(loop_\w+)\s*\(", re.M)


def pool_functions(root):
    return {name for header in POOL_HEADERS for name in
            STARTING.findall(COMMENT.sub("", (root / "include/ringloop" / header).read_text()))}


def header_functions(root):
    text = "\n".join(COMMENT.sub("", path.read_text()) for path in sorted((root / "include/ringloop").glob("*.h")))
    declared = set(re.findall(r"\b(loop_\w+)\s*\(", text))
    starting = set(STARTING.findall(text))
    assert len(starting) > 50, "the headers look different from what was expected"
    return declared, starting


def test_calls(root):
    """The functions called in tests, and those that have a row there."""
    text = "\n".join(COMMENT.sub("", path.read_text()) for directory in TEST_DIRECTORIES
                     for path in sorted((root / directory).glob("*.[ch]")))
    called = set(re.findall(r"\b(loop_\w+)\s*\(", re.sub(r'"(?:[^"\\\n]|\\.)*"', '""', text)))
    rows = set(re.findall(r'\{OP\(\w+\),\s*"(loop_\w+)"', COMMENT.sub("", (root / TEST_ROWS).read_text())))
    assert len(called) > 50 and len(rows) > 50, "the tests look different from what was expected"
    return called, rows


def table_rows(text):
    """The opcode and functions of each row."""
    section = text.split("\n## The table\n")[1].split("\n## ")[0]
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in section.splitlines()
            if line.startswith("|")]
    for row in rows[2:]:
        yield row[0], re.findall(r"`(loop_\w+)`", row[1]), row


def main():
    root = pathlib.Path(sys.argv[1])
    text = (root / "docs/operations.md").read_text()
    declared, starting = header_functions(root)
    called, tested_rows = test_calls(root)
    opcodes, errors, seen, functions = liburing_opcodes(), [], [], set()

    for opcode, names, row in table_rows(text):
        if len(row) != 6:
            errors.append(f"the row of {opcode} has {len(row)} cells, not 6")
        if opcode in seen:
            errors.append(f"{opcode} has two rows")
        seen.append(opcode)
        for name in names:
            if name in functions:
                errors.append(f"{name} stands in two rows")
            functions.add(name)
    errors += [f"liburing's opcode {name} has no row" for name in opcodes if name not in seen]
    errors += [f"{name} is no opcode of liburing" for name in seen if name not in opcodes]
    if [name for name in seen if name in opcodes] != [name for name in opcodes if name in seen]:
        errors.append("the rows are not in the order of the opcodes")
    errors += [f"{name}() starts an operation, and is not in the table" for name in
               sorted(starting - functions - WITHOUT_OPCODE - pool_functions(root))]
    errors += [f"{name}() is in the table, and not declared" for name in sorted(functions - declared)]
    errors += [f"{name}() is called by no test" for name in sorted((functions | starting) - called)]
    errors += [f"{name}() has no row in {TEST_ROWS}" for name in sorted(functions - tested_rows - WITHOUT_ROW)]
    errors += [f"{name}() has a row in {TEST_ROWS}, and is no operation" for name in
               sorted(tested_rows - functions - WITHOUT_OPCODE)]
    # Elsewhere on the page.
    named = set(re.findall(r"\b(loop_\w+)\(", text)) | set(re.findall(r"`(loop_\w+)`", text))
    errors += [f"{name}() is named, and not declared" for name in sorted(named - declared - functions)]

    for error in errors:
        print(error)
    return 1 if errors else 0


if __name__ == "__main__":
    sys.exit(main())
