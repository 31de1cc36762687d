"""What every bench gets: where the programs are, what was asked for, and where results go."""

from dataclasses import dataclass

from .programs import Programs
from .results import Results, number, print_table, ratio_text


@dataclass
class Context:
    programs: Programs
    results: Results
    full: bool = False
    smoke: bool = False
    runs: int | None = None         # None: each bench's own default
    contenders: list | None = None  # None: all

    def rounds(self, default):
        return 1 if self.smoke else self.runs or default

    def chosen(self, contenders):
        if self.contenders is None:
            return list(contenders)
        return [contender for contender in contenders if contender in self.contenders]


def rotated(items, round_number):
    """The items in another order each round, so that none always comes first, or always after the same one."""
    shift = round_number % len(items) if items else 0
    return items[shift:] + items[:shift]


def subject_of(contenders):
    """Whose ratios to the others are shown: ringloop's, or without it the first contender's."""
    return 'ringloop' if 'ringloop' in contenders else contenders[0] if contenders else None


def print_comparison(results, bench, metric, title):
    """A row a case: the value of each contender, then the subject's ratio to each other one."""
    contenders = results.contenders(bench, metric)
    subject = subject_of(contenders)
    peers = [contender for contender in contenders if contender != subject]
    header = [bench, *contenders, *(f'{subject}/{peer}' for peer in peers)]
    rows = []
    for case in results.cases(bench):
        values = [results.value(bench, case, contender, metric) for contender in contenders]
        if all(value is None for value in values):
            continue
        ratios = [results.ratio(bench, case, subject, peer, metric) for peer in peers]
        rows.append([case, *map(number, values), *map(ratio_text, ratios)])
    print_table(title, header, rows)


def print_values(results, bench, metric, title):
    """A row a case: the value of each contender."""
    contenders = results.contenders(bench, metric)
    rows = []
    for case in results.cases(bench):
        values = [results.value(bench, case, contender, metric) for contender in contenders]
        if any(value is not None for value in values):
            rows.append([case, *map(number, values)])
    if rows:
        print_table(title, [bench, *contenders], rows)
