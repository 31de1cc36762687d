"""write: CPU time of one write to a file whose pages are cached, by one writer and by many."""

from .bench import print_comparison, rotated
from .programs import say
from .results import case_keys, case_name, geometric_mean, print_table, ratio_text

NAME = 'write'
RUNS = 9
# Contender: its program, and whether that knows --deadline. One that does not runs as it is in the cases with one.
# Programs that were not built are left out. ringloop-writer is the file writer that merges.
PROGRAMS = {
    'ringloop': ('write_ringloop', True),
    'ringloop-writer': ('write_ringloop_writer', True),
    'liburing': ('write_liburing', False),
    'syscalls': ('write_syscalls', False),
}
SIZES = [128, 256, 512, 1024, 2048, 4096]
SIZES_SHORT = [128, 1024, 4096]
SIZES_SMOKE = [128, 4096]
WRITERS = [1, 64]
DEADLINES = {'none': 0, '1ms': 1_000_000, '100us': 100_000, '10us': 10_000, '1us': 1_000}  # ns
DEADLINES_SMOKE = {'none': 0, '1us': 1_000}
OPS = {1: 20_000, 64: 64_000}
OPS_SMOKE = {1: 200, 64: 640}
WAITING_NS = 500_000_000  # the merging writer waits for its deadline in each round of all writers: at most so long


def cases(context):
    """Keys of each case, and its deadline in ns."""
    sizes = SIZES_SMOKE if context.smoke else SIZES if context.full else SIZES_SHORT
    deadlines = DEADLINES_SMOKE if context.smoke else DEADLINES
    return [({'size': size, 'writers': writers, 'deadline': deadline}, deadline_ns)
            for size in sizes for writers in WRITERS for deadline, deadline_ns in deadlines.items()]


def command(context, contender, keys, deadline_ns, file):
    program, has_deadline = PROGRAMS[contender]
    ops = (OPS_SMOKE if context.smoke else OPS)[keys['writers']]
    if contender == 'ringloop-writer' and deadline_ns > 0:
        ops = min(ops, WAITING_NS // deadline_ns * keys['writers'])
    words = [context.programs.path(program), '--file', file, '--size', keys['size'], '--writers', keys['writers'],
             '--ops', ops]
    return words + (['--deadline', deadline_ns] if has_deadline else [])


def run(context):
    contenders = [contender for contender in context.chosen(PROGRAMS) if context.programs.has(PROGRAMS[contender][0])]
    file = context.programs.path('write.data')
    try:
        for keys, deadline_ns in cases(context):
            name = case_name(**keys)
            say(f'write: {name}')
            for round_number in range(context.rounds(RUNS)):
                for contender in rotated(contenders, round_number):
                    result = context.programs.run_json(command(context, contender, keys, deadline_ns, file),
                                                       context.programs.cpus[0])
                    for metric in ('cpu_ns_per_op', 'ops_per_s'):
                        context.results.add(NAME, name, contender, metric, result[metric])
    finally:
        file.unlink(missing_ok=True)


def ratio(results, writers, deadline, peer='liburing', contender='ringloop'):
    """A contender's CPU time by a peer's: the geometric mean of the sizes measured, or None."""
    named = [case for case in results.cases(NAME)
             if case_keys(case)['writers'] == writers and case_keys(case)['deadline'] == deadline]
    ratios = [results.ratio(NAME, case, contender, peer, 'cpu_ns_per_op') for case in named]
    return geometric_mean(ratios) if ratios and None not in ratios else None


def report(context):
    print_comparison(context.results, NAME, 'cpu_ns_per_op', 'write: CPU per write, kernel and its workers included, ns')
    print_comparison(context.results, NAME, 'ops_per_s', 'write: writes per second')
    for contender in ('ringloop', 'ringloop-writer'):
        rows = [[f'writers={writers},deadline={deadline}',
                 *(ratio_text(ratio(context.results, writers, deadline, peer, contender))
                   for peer in ('liburing', 'syscalls'))]
                for writers in WRITERS for deadline in DEADLINES]
        print_table(f'write: CPU per write of {contender}, geometric mean of the sizes',
                    ['write', '/liburing', '/syscalls'], rows)
