"""work: CPU time of handing functions to the work pool and getting their results back."""

from .bench import print_comparison, print_values, rotated
from .programs import say
from .results import case_name

NAME = 'work'
CONTENDERS = ['ringloop', 'libuv']
RUNS = 7


def run(context):
    contenders = context.programs.present('work', context.chosen(CONTENDERS))
    for n in (1, 4):
        name = case_name(n=n)
        say(f'work: {name}')
        for round_number in range(context.rounds(RUNS)):
            for contender in rotated(contenders, round_number):
                words = [context.programs.path(f'work_{contender}'), '--n', n, '--ops', 500 if context.smoke else 50_000]
                result = context.programs.run_json(words, set(context.programs.cpus))
                for metric in ('cpu_ns_per_op', 'p50_ns'):
                    context.results.add(NAME, name, contender, metric, result[metric])


def report(context):
    print_comparison(context.results, NAME, 'cpu_ns_per_op', 'work: CPU per item, there and back, ns')
    print_values(context.results, NAME, 'p50_ns', 'work: from the call to the callback, median, ns')
