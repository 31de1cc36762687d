"""timers: CPU time of starting, stopping and firing timers."""

from .bench import print_comparison, print_values, rotated
from .programs import say
from .results import case_name

NAME = 'timers'
CONTENDERS = ['ringloop', 'libuv', 'libev']
RUNS = 7
OPS = ['insert', 'insert_cancel', 'fire']


def run(context):
    contenders = context.programs.present('timers', context.chosen(CONTENDERS))
    counts = [200] if context.smoke else [100_000, 1_000_000] if context.full else [100_000]
    for op in OPS:
        for count in counts:
            name = case_name(op=op, count=count)
            say(f'timers: {name}')
            for round_number in range(context.rounds(RUNS)):
                for contender in rotated(contenders, round_number):
                    words = [context.programs.path(f'timers_{contender}'), '--op', op, '--count', count,
                             '--min-ms', 0 if context.smoke else 50]
                    result = context.programs.run_json(words, context.programs.cpus[0])
                    for metric in ('cpu_ns_per_op', 'bytes_per_item'):
                        context.results.add(NAME, name, contender, metric, result[metric])


def report(context):
    print_comparison(context.results, NAME, 'cpu_ns_per_op', 'timers: CPU per timer (insert_cancel: per pair), ns')
    print_values(context.results, NAME, 'bytes_per_item', 'timers: bytes allocated for each, itself included')
