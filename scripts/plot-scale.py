#!/usr/bin/env python3
"""Draws what a signal costs against the number of keys and against what is held of each, from the figures of Criterion.

    cargo bench --bench state -- scale/
    python3 -m venv /tmp/plot && /tmp/plot/bin/pip install matplotlib
    /tmp/plot/bin/python scripts/plot-scale.py target/criterion docs/bench/scale.svg

Prints the figures as a table as well. Exit status 1 where one of them grew as fast as what is held, or there are none.
"""

import json
import pathlib
import sys

import matplotlib

matplotlib.use("svg")
matplotlib.rcParams["svg.hashsalt"] = "throughline"
import matplotlib.pyplot as plt  # noqa: E402

AXES = {"keys": "keys", "window": "signals of a key within the window, a million over all keys"}


def figures(group):
    """Of each case what is held, against nanoseconds a signal (median, and the interval of 95 % around it)."""
    cases = {}
    for benchmark in sorted(group.glob("*/*/new/benchmark.json")):
        told = json.loads(benchmark.read_text())
        median = json.loads((benchmark.parent / "estimates.json").read_text())["median"]
        interval = median["confidence_interval"]
        signals = told["throughput"]["Elements"]
        points = (median["point_estimate"], interval["lower_bound"], interval["upper_bound"])
        case = cases.setdefault(told["function_id"], {})
        case[int(told["value_str"])] = [ns / signals for ns in points]
    return cases


def main():
    criterion, out = map(pathlib.Path, sys.argv[1:3])
    sublinear = True
    figure, axes = plt.subplots(1, 2, figsize=(11, 4.2), sharey=True, layout="constrained")
    for axis, (name, label) in zip(axes, AXES.items()):
        cases = figures(criterion / f"scale_{name}")
        if not cases:
            sys.exit(f"nothing of scale/{name} in {criterion}: run the bench first")
        for case, points in sorted(cases.items()):
            held = sorted(points)
            medians = [points[at][0] for at in held]
            around = [[points[at][0] - points[at][1] for at in held], [points[at][2] - points[at][0] for at in held]]
            axis.errorbar(held, medians, yerr=around, marker="o", markersize=4, capsize=2, label=case)
            grown = medians[-1] / medians[0]
            sublinear &= grown < held[-1] / held[0]
            row = ", ".join(f"{at:,}: {ns:.0f} ns" for at, ns in zip(held, medians))
            print(f"{name} {case}: {row}; {grown:.2f} times for {held[-1] // held[0]} times as many")
        axis.set(xscale="log", xlabel=label)
        axis.grid(alpha=0.3)
        axis.legend()
    axes[0].set_ylabel("ns a signal, one core")
    axes[0].set_ylim(0, None)
    figure.savefig(out, metadata={"Date": None})
    sys.exit(0 if sublinear else 1)


main()
