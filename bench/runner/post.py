"""post: what it costs to reach a loop from another thread."""

from .bench import print_comparison, print_values, rotated
from .programs import say
from .results import case_name

NAME = 'post'
RUNS = 7
PROGRAMS = {
    'ringloop': 'post_ringloop',
    'ringloop-async': 'post_async',
    'libuv': 'post_libuv',
    'libev': 'post_libev',
}
OPS = {'wake': 1_000_000, 'flood': 1_000_000, 'pingpong': 30_000}
SMOKE_OPS = 2000


def cpus_of(context, mode):
    """The loop's and the sender's; to and fro on one CPU, where no wake of a halted CPU hides the rest."""
    cpus = context.programs.cpus
    return [cpus[0], cpus[0] if mode == 'pingpong' else cpus[-1]]


def run(context):
    contenders = [contender for contender in context.chosen(PROGRAMS) if context.programs.has(PROGRAMS[contender])]
    for mode, ops in OPS.items():
        name = case_name(mode=mode)
        cpus = cpus_of(context, mode)
        there = [contender for contender in contenders if mode != 'flood' or contender != 'ringloop-async']
        say(f'post: {name}')
        for round_number in range(context.rounds(RUNS)):
            for contender in rotated(there, round_number):
                words = [context.programs.path(PROGRAMS[contender]), '--mode', mode, '--cpus', ','.join(map(str, cpus)),
                         '--ops', SMOKE_OPS if context.smoke else ops]
                result = context.programs.run_json(words, set(cpus))
                for metric in ('cpu_ns_per_op', 'p50_ns'):
                    if metric in result:
                        context.results.add(NAME, name, contender, metric, result[metric])


def report(context):
    print_comparison(context.results, NAME, 'cpu_ns_per_op',
                     "post: CPU per send (wake: the sender's alone), per delivered post, per round; ns")
    print_values(context.results, NAME, 'p50_ns', 'post: duration of a round, median, ns')
