#!/usr/bin/env python3
"""What it costs that somebody scrapes the metrics: the same topic is drained with a scrape every second and without, in turn.

Starts a Kafka, fills a topic, and lets the service with 1,000 rules (a series each) read it to its end, again and again under a new
application id. Prints the rates, the processor's time, and the ratio of each pair; then, as drains scatter by more than a scrape can cost, what
one scrape takes of the processor. For a release build, on a machine that does nothing else.

    THROUGHLINE_BIN=target/release/throughline scripts/scrape-cost.py [PAIRS] [EVENTS]
"""

import os
import pathlib
import re
import shutil
import statistics
import sys
import threading
import time
import urllib.error

from stage import Stage, on_stage, say, until

CONFIGURATION = """
instance: one
kafka: {{brokers: "127.0.0.1:{kafka}"}}
input: [{{topics: [events], time: {{field: "@timestamp"}}, id: event.id}}]
rules: {{paths: ["{work}/rules.yaml"]}}
admin: {{listen: "127.0.0.1:{admin}"}}
"""

RULES = "---\n".join(
    f'id: rule-{n}\nquery: sequence by user.name with maxspan=1m [any where event.action == "a{n}"] [any where event.action == "b{n}"]\n'
    for n in range(1_000)
)

SCRAPES = 1_000

PAIRS, EVENTS = (int(word) for word in (sys.argv[1:] + ["6", "3000000"][len(sys.argv) - 1 :]))


def scrape(stage, done, taken):
    while not done.wait(1):
        try:
            taken.append(len(stage.ask("/metrics")))
        except (urllib.error.URLError, OSError):
            pass  # It starts, or ends.


def drain(stage, name, scraped):
    """Reads the topic once. Gives events a second, seconds of the processor, and the scrapes."""
    done, taken = threading.Event(), []
    thread = threading.Thread(target=scrape, args=(stage, done, taken))
    log = stage.work / f"{name}.log"
    state = stage.work / name
    words = ["--set", f"application_id={name}", "--set", f"state.directory={state}", "run", "--until-end"]
    before = os.times()
    run = stage.start(name, stage.throughline(*words))
    if scraped:
        thread.start()
    status = run.wait()
    after = os.times()
    done.set()
    if scraped:
        thread.join()
    found = re.search(r"(\d+) events in ([\d.]+) s", log.read_text())
    if status != 0 or not found or int(found[1]) != EVENTS:
        sys.exit(f"scrape-cost: {name} ended with {status}:\n{log.read_text()}")
    shutil.rmtree(state, ignore_errors=True)
    cpu = after.children_user + after.children_system - before.children_user - before.children_system
    return EVENTS / float(found[2]), cpu, taken


def processor_time(process):
    """Seconds that all threads of a process have had."""
    fields = pathlib.Path(f"/proc/{process.pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def one_scrape(stage):
    """Seconds of the processor that the service has for a scrape, over those that it has anyway."""
    run = stage.start("idle", stage.throughline("--set", "application_id=idle", "--set", f"state.directory={stage.work}/idle", "run"))
    until("the service has read all", lambda: f" {EVENTS} events in all" in (stage.work / "idle.log").read_text(), 120)
    until("the service is ready", stage.ready, 60)
    time.sleep(10)
    before, begun = processor_time(run), time.monotonic()
    for _ in range(SCRAPES):
        stage.ask("/metrics")
    with_scrapes, lasted = processor_time(run) - before, time.monotonic() - begun
    time.sleep(lasted)
    without = processor_time(run) - before - with_scrapes
    return (with_scrapes - without) / SCRAPES


def play(stage):
    stage.start_kafka(events=4, correlations=1, **{"throughline-dlq": 1})
    say(f"{EVENTS} events")
    if stage.generate("events", "--count", str(EVENTS), "--seed", "1").wait() != 0:
        sys.exit("scrape-cost: the topic could not be filled")
    drain(stage, "warm-up", False)
    rates, times = [], []
    for pair in range(PAIRS):
        # Each is the first in every other pair.
        order = (True, False) if pair % 2 else (False, True)
        results = {scraped: drain(stage, f"pair-{pair}-{'with' if scraped else 'without'}", scraped) for scraped in order}
        (with_rate, with_cpu, taken), (rate, cpu, _) = results[True], results[False]
        rates.append(with_rate / rate)
        times.append(with_cpu / cpu)
        print(f"with {with_rate:9.0f}/s {with_cpu:5.2f} s CPU, {len(taken)} scrapes of {max(taken, default=0)} bytes; "
              f"without {rate:9.0f}/s {cpu:5.2f} s CPU; ratios {rates[-1]:.3f} and {times[-1]:.3f}", flush=True)  # fmt: skip
    for what, ratios in (("events/s", rates), ("CPU", times)):
        print(f"{what}, with : without: median {statistics.median(ratios):.3f}, from {min(ratios):.3f} to {max(ratios):.3f}")
    cost = one_scrape(stage)
    print(f"a scrape: {1_000 * cost:.2f} ms of one processor; every second: {cost / os.cpu_count():.3%} of this machine's {os.cpu_count()}")
    return 0


if __name__ == "__main__":
    on_stage(play, lambda work, program: Stage(work, program, CONFIGURATION, RULES))
