"""Results as tables in Markdown.

The sink is a program that only receives and discards, with which the daemons are compared.
"""

import math
import statistics

HEAD = (
    "| daemon | user s/M | CPU s/M | user, ratio to tallyd | CPU, ratio to the sink | dropped by the kernel | lost in the daemon | peak MiB |\n"
    "| --- | --- | --- | --- | --- | --- | --- | --- |"
)


def median(values):
    """The median of the values that are numbers."""
    numbers = [value for value in values if not math.isnan(value)]
    return statistics.median(numbers) if numbers else math.nan


def ratios(results, others, figure):
    """The ratios of a figure to that of `others`, one for each round in which both have the figure."""
    rounds = results.keys() & others.keys()
    pairs = [(getattr(results[round_], figure), getattr(others[round_], figure)) for round_ in rounds]
    return [mine / yours for mine, yours in pairs if yours]


def number(value, digits):
    return "" if math.isnan(value) else f"{value:.{digits}f}"


def share(value):
    """A share of the lines as text: `0` only if it is exactly 0."""
    if math.isnan(value):
        return "not counted"
    return f"{value:.2%}" if abs(value) > 1e-9 else "0"


def line(name, results, sink, tallyd):
    """A line of the table: medians over the rounds. `results`, `sink` and `tallyd` are results by round."""
    figures = [median(column) for column in zip(*results.values())]
    user, total, dropped, missing, peak = figures
    cells = [
        name,
        number(user, 3),
        number(total, 3),
        number(median(ratios(results, tallyd, "user")), 1) if name != "sink" else "",
        number(median(ratios(results, sink, "total")), 2),
        share(dropped),
        share(missing) if name != "sink" else "",
        number(peak, 0),
    ]
    return "| " + " | ".join(cells) + " |"


def table(title, by_daemon):
    """`by_daemon`: results by round, by the name of the daemon."""
    sink, tallyd = by_daemon.get("sink", {}), by_daemon.get("tallyd", {})
    lines = [line(name, results, sink, tallyd) for name, results in by_daemon.items() if results]
    return "\n".join([f"\n### {title}\n", HEAD, *lines])
