#!/usr/bin/env python3
"""tests/from_libuv_check.py ROOT COMPILER: what the pages say of the interface is in the headers.

In README.md and docs/*.md:
- each loop_* and LOOP_* name is declared in a public header (loop_x_*() and LOOP_X_* stand for any that begin so);
- in struct.member, as loop_options.work, the structure has that member;
- snippets of C fit the headers: names, members, numbers and types of arguments. They are parts of programs, so that
  what they leave out (variables, functions of the reader's own) is passed by; a snippet that has a main() and all it
  needs is compiled as it stands.
In docs/from-libuv.md each group of libuv's functions has a section.
"""
import pathlib
import re
import subprocess
import sys
import tempfile

COMMENT = re.compile(r"/\*.*?\*/", re.S)
NAME = re.compile(r"(?<![\w/.-])(loop_[a-z]\w*|LOOP_[A-Z]\w*)(?![\w/-])(\*?)(?:\.([a-z]\w*)(?!\w*\())?")

# Written of, though in no header: files, and what pages on the inside explain.
FILES = re.compile(r"\.(?:c|h|md|py|sh|cmake)$")
PAGES_OF_INTERNALS = {"design.md", "observing.md"}

# What compilers say of a snippet that does not fit the headers; all else may be what the snippet leaves out.
WRONG = re.compile(
    r"has no member named|no member named|does not refer to any field|"
    r"too (?:few|many) arguments to function|"
    r"(?:implicit declaration of|undeclared) function '(?:loop|LOOP)_|"
    r"'(?:loop|LOOP)_\w+' undeclared|undeclared identifier '(?:loop|LOOP)_|unknown type name 'loop_|"
    r"storage size of|incomplete type 'struct loop_|excess elements|undefined type 'struct loop_")
TYPES = re.compile(r"incompatible|makes (?:pointer|integer) from")
UNDECLARED = re.compile(r"(?:error: '|undeclared identifier ')(\w+)'(?: undeclared|$)", re.M)
STRICT = ["-Werror=incompatible-pointer-types", "-Werror=int-conversion", "-Werror=implicit-function-declaration"]
PRELUDE = "#define _GNU_SOURCE\n" + "".join(f"#include <{name}>\n" for name in (
    "errno.h", "fcntl.h", "poll.h", "signal.h", "stdint.h", "stdio.h", "stdlib.h", "string.h", "sys/stat.h",
    "unistd.h", "ringloop.h"))

# Variables that the pages use without a declaration.
VARIABLES = {"loop": "extern struct loop *loop;", "stream": "extern struct loop_stream *stream;",
             "r": "extern int r;", "fd": "extern int fd;", "in": "extern int in;", "out": "extern int out;",
             "size": "extern size_t size;"}

# Of these other libraries' headers the snippets need the ones that are installed.
ADAPTERS = {"loop_cares": "cares.h", "loop_curl": "curl.h", "loop_in_ev": "ev.h", "loop_redis": "hiredis.h",
            "loop_postgres": "postgres.h", "loop_in_uv": "uv.h", "loop_hosts_uv": "uv.h"}

GROUPS = ["loop", "timer", "prepare", "check", "idle", "async", "poll", "signal", "process", "stream", "tcp", "pipe",
          "tty", "udp", "fs_", "fs_event", "fs_poll", "threadpool", "dns", "misc"]


def headers(root):
    paths = sorted((root / "include").rglob("*.h"))
    assert len(paths) > 40, "the headers are not where they were"
    return "\n".join(COMMENT.sub("", path.read_text()) for path in paths)


def structures(text):
    """Members of each struct, those of structures inside of it as well."""
    members = {}
    for match in re.finditer(r"struct (loop_\w+) \{", text):
        depth, at = 1, match.end()
        while depth > 0:
            depth += {"{": 1, "}": -1}.get(text[at], 0)
            at += 1
        members[match.group(1)] = set(re.findall(r"\b\w+\b", text[match.end():at]))
    assert len(members) > 50, "the structures look different from what was expected"
    return members


def names(page, text, declared, members):
    """What the page names, and the headers do not have."""
    for number, line in enumerate(text.splitlines(), 1):
        if line.startswith("|") and "_test`" in line:
            continue  # names of tests, which scenarios_check.py looks at
        for name, star, member in NAME.findall(line):
            if FILES.search("." + member) and name not in members:
                continue
            known = name in declared or name + "_" in declared or (star or name.endswith("_")) and any(
                other.startswith(name) for other in declared)
            if not known:
                yield f"{page}:{number}: {name}{star} is in no header"
            elif member and name in members and not (member.endswith("_") and any(
                    other.startswith(member) for other in members[name])) and member not in members[name]:
                yield f"{page}:{number}: {name} has no member {member}"


def snippets(text):
    """The C of a page: fenced as such, or set in by four spaces, with what comes from the library in it."""
    for match in re.finditer(r"^```c\n(.*?)^```", text, re.M | re.S):
        yield text.count("\n", 0, match.start()) + 2, match.group(1)
    plain = re.sub(r"^```.*?^```", lambda match: "\n" * match.group(0).count("\n"), text, flags=re.M | re.S)
    for match in re.finditer(r"(?:^    .*\n(?:\n(?=    ))?)+", plain, re.M):
        code = re.sub(r"^    ", "", match.group(0), flags=re.M)
        if re.search(r"\bloop_\w+\(.*", code) and ";" in code and not re.search(r"^\s*[$+-]|^ringloop: ", code, re.M):
            yield plain.count("\n", 0, match.start()) + 1, code


OUTSIDE = re.compile(r"#|/\*.*\*/$|static |typedef |(?:enum|struct|union) \w+\s*\{|[\w ]+\*?\w+\([^;]*\)\s*\{")


def as_program(code, left_out=()):
    """Functions, types and #include lines as they are, statements in a function; what is left out declared."""
    outside, inside = [VARIABLES.get(name, f"extern void *{name};") for name in sorted(left_out)], []
    for chunk in re.split(r"\n(?=[^\s{}])", code):
        block = chunk.rstrip()
        is_outside = OUTSIDE.match(block) and not re.match(r"(?:if|for|while|switch|else)\b", block)
        (outside if is_outside else inside).append(chunk)
    return "\n".join(outside) + "\nvoid snippet(void);\nvoid snippet(void)\n{\n" + "\n".join(inside) + "\n}\n"


def compile_one(root, compiler, source, flags):
    run = subprocess.run([compiler, "-std=gnu17", "-fsyntax-only", "-I", str(root / "include"), *flags, str(source)],
                         capture_output=True, text=True, env={"LC_ALL": "C", "PATH": "/usr/local/bin:/usr/bin:/bin"})
    return run.stderr


def compiled(root, compiler, code, directory):
    """What the compiler says against the snippet."""
    source = directory / "snippet.c"
    if re.search(r"^int main\(", code, re.M) and "#include <ringloop.h>" in code and "..." not in code:
        source.write_text(code)
        return [line for line in compile_one(root, compiler, source, ["-Wall"]).splitlines() if " error: " in line]
    adapters = sorted({header for name, header in ADAPTERS.items() if re.search(rf"\b{name}", code)})
    prelude = PRELUDE + "".join(f"#include <ringloop/adapter/{header}>\n" for header in adapters)
    code = re.sub(r"^\s*\.\.\.;?\s*$|\.\.\. [^;]*? \.\.\.", "", code, flags=re.M)
    left_out, said = set(), ""
    for _ in range(8):  # a compiler does not name all that is left out at once
        source.write_text(prelude + as_program(code, left_out))
        said = compile_one(root, compiler, source, ["-w", *STRICT])
        more = set(UNDECLARED.findall(said)) - left_out
        if not more or (adapters and "fatal error" in said):  # that library is not installed
            break
        left_out |= {name for name in more if not name.lower().startswith("loop_")}
    if adapters and "fatal error" in said:
        return []
    # Types of what was declared here are guesses.
    return [line.split(": ", 1)[1] for line in said.splitlines()
            if WRONG.search(line) or (not left_out and TYPES.search(line))]


def main():
    root, compiler = pathlib.Path(sys.argv[1]), sys.argv[2]
    text = headers(root)
    declared, members, errors, count = set(re.findall(r"\b(?:loop|LOOP)_\w+", text)), structures(text), [], 0

    with tempfile.TemporaryDirectory() as directory:
        for path in [root / "README.md", *sorted((root / "docs").glob("*.md"))]:
            page = path.read_text()
            if path.name not in PAGES_OF_INTERNALS:
                errors += names(path.name, page, declared, members)
            for line, code in snippets(page):
                count += 1
                errors += [f"{path.name}:{line}: {what}"
                           for what in compiled(root, compiler, code, pathlib.Path(directory))]
    assert count > 40, "the pages have fewer snippets than they had"
    page = (root / "docs/from-libuv.md").read_text()
    errors += [f"from-libuv.md: no section on {group}" for group in GROUPS
               if not re.search(rf"^## .*\b{group}", page, re.M | re.I)]
    for error in errors:
        print(error)
    return 1 if errors else 0


if __name__ == "__main__":
    sys.exit(main())
