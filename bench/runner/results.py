"""What was measured: samples by bench, case, contender and metric; medians, paired ratios, JSON lines."""

import json
import math
import statistics
from collections import defaultdict


class Results:
    def __init__(self):
        self._samples = defaultdict(list)

    def add(self, bench, case, contender, metric, value):
        """One sample. The samples of a metric are in the order of the rounds, for every contender alike."""
        self._samples[bench, case, contender, metric].append(value)

    def value(self, bench, case, contender, metric):
        """The median, or None."""
        samples = self._samples.get((bench, case, contender, metric))
        return statistics.median(samples) if samples else None

    def ratio(self, bench, case, contender, peer, metric):
        """The median of the rounds' ratios: what slows a whole round down cancels out."""
        ours = self._samples.get((bench, case, contender, metric), [])
        theirs = self._samples.get((bench, case, peer, metric), [])
        ratios = [a / b for a, b in zip(ours, theirs) if b > 0]
        return statistics.median(ratios) if ratios else None

    def difference(self, bench, case, contender, peer, metric):
        """The median of the rounds' differences."""
        ours = self._samples.get((bench, case, contender, metric), [])
        theirs = self._samples.get((bench, case, peer, metric), [])
        differences = [a - b for a, b in zip(ours, theirs)]
        return statistics.median(differences) if differences else None

    def cases(self, bench):
        return list(dict.fromkeys(case for b, case, _, _ in self._samples if b == bench))

    def contenders(self, bench, metric=None):
        return list(dict.fromkeys(c for b, _, c, m in self._samples if b == bench and metric in (None, m)))

    def write_json(self, path):
        with open(path, 'w', encoding='utf-8') as file:
            for (bench, case, contender, metric), samples in self._samples.items():
                row = {'bench': bench, 'case': case, 'contender': contender, 'metric': metric,
                       'value': round(statistics.median(samples), 5), 'runs': len(samples)}
                file.write(json.dumps(row) + '\n')


def case_name(**keys):
    return ','.join(f'{key}={value}' for key, value in keys.items())


def case_keys(case):
    return {key: int(value) if value.isdigit() else value
            for key, value in (part.split('=') for part in case.split(','))}


def geometric_mean(values):
    return math.exp(sum(math.log(value) for value in values) / len(values)) if values else None


def number(value):
    """Four significant digits or all before the point; '-' for None."""
    if value is None:
        return '-'
    if value >= 1000:
        return f'{value:,.0f}'
    if value == int(value):
        return f'{value:.0f}'
    return f'{value:.4g}'


def ratio_text(value):
    return '-' if value is None else f'{value:.3f}'


def print_table(title, header, rows):
    """Left-aligned first column, right-aligned others."""
    print(f'\n{title}')
    if not rows:
        print('  nothing measured')
        return
    lines = [header, *rows]
    widths = [max(len(line[i]) for line in lines) for i in range(len(header))]
    for line in lines:
        cells = [line[0].ljust(widths[0])] + [cell.rjust(width) for cell, width in zip(line[1:], widths[1:])]
        print('  ' + '  '.join(cells).rstrip())
