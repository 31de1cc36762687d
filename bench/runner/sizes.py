"""sizes: bytes of the structures a program has many of."""

from .programs import say
from .results import number, print_table

NAME = 'sizes'
CONTENDERS = ['ringloop', 'libuv', 'libev']


def run(context):
    for contender in context.programs.present('sizes', context.chosen(CONTENDERS)):
        say(f'sizes: {contender}')
        sizes = context.programs.run_json([context.programs.path(f'sizes_{contender}')])
        for structure, size in sizes.items():
            context.results.add(NAME, f'struct={structure}', contender, 'bytes_per_item', size)


def report(context):
    rows = []
    for case in context.results.cases(NAME):
        for contender in CONTENDERS:
            value = context.results.value(NAME, case, contender, 'bytes_per_item')
            if value is not None:
                rows.append([case.removeprefix('struct='), contender, number(value)])
    print_table('sizes: bytes', ['structure', 'library', 'bytes'], rows)
