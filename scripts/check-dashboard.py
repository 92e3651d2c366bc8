#!/usr/bin/env python3
"""Whether every panel of the dashboard and every alert has something to show.

Starts a Kafka, the service and a Prometheus (Debian: apt-get install prometheus), puts load on the service and lets happen to it
what panels and alerts are there for: bad and late records, keys that do not fit in memory, a pause, rules that change, a broker that hangs,
a kill -9 that loses the disk. Then each query is put to Prometheus, over that time. Exit status: 0, or 1 with what was empty, refused, or counted
nothing.

    THROUGHLINE_BIN=target/debug/throughline scripts/check-dashboard.py
"""

import datetime
import json
import re
import shutil
import signal
import sys
import time
import urllib.error
import urllib.parse

from stage import ROOT, Stage, on_stage, say, until

DASHBOARD = ROOT / "docker/grafana/dashboards/throughline.json"
ALERTS = ROOT / "docker/prometheus/alerts.yml"

# In place of Grafana's variables: all instances, and four scrapes.
VARIABLES = {"$instance": ".*", "$__rate_interval": "10s"}

CONFIGURATION = """
application_id: dashboard
instance: one
kafka: {{brokers: "127.0.0.1:{kafka}"}}
input:
  - {{topics: [events], time: {{field: "@timestamp"}}, id: event.id}}
  - {{topics: [late-events], time: {{field: "@timestamp"}}, id: event.id, late: process}}
rules: {{paths: ["{root}/rules/authentication", "{work}/rules.yaml"]}}
state: {{directory: "{work}/state", memory: 16MiB}}
admin: {{listen: "127.0.0.1:{admin}"}}
"""

# A key for each event, which leaves memory; keys that not every event has; values that not every event has; windows that are decided
# when a late event comes; findings that are held back.
RULES = """
id: every-event-begins
query: sequence by event.id with maxspan=1h [any where true] [any where event.action == "never"]
---
id: few-events-of-a-destination
events: {sent: any where true}
correlation: {type: event_count, rules: [sent], group-by: [destination.ip], timespan: 1s, condition: {lt: 1}}
---
id: slow-networks
events: {any: any where true}
correlation: {type: value_percentile, rules: [any], group-by: [event.category], timespan: 5s, condition: {field: network.bytes, percentile: 50, gt: 1}}
suppress: {for: 1h}
---
id: hardly-anything
events: {any: any where true}
correlation: {type: event_count, rules: [any], group-by: [event.category], timespan: 1s, condition: {lt: 2}}
"""

PROMETHEUS = """
global: {{scrape_interval: 1s, evaluation_interval: 1s}}
rule_files: ["{alerts}"]
scrape_configs:
  - {{job_name: throughline, static_configs: [{{targets: ["127.0.0.1:{admin}"]}}]}}
"""


class Observed(Stage):
    """With a Prometheus that looks on."""

    def start_prometheus(self):
        (self.work / "prometheus.yml").write_text(PROMETHEUS.format(alerts=ALERTS, **self.ports))
        self.start("prometheus", [
            "prometheus", f"--config.file={self.work}/prometheus.yml", f"--storage.tsdb.path={self.work}/tsdb",
            f"--web.listen-address=127.0.0.1:{self.ports['prometheus']}", "--log.level=warn",
        ])  # fmt: skip
        until("Prometheus answers", lambda: self.ask("/-/ready", port="prometheus"), 60)

    def prometheus(self, path, **words):
        query = "?" + urllib.parse.urlencode(words) if words else ""
        return json.loads(self.ask(f"/api/v1/{path}{query}", port="prometheus"))["data"]

    def values(self, query, begun):
        """All numbers that a query gives over the run."""
        series = self.prometheus("query_range", query=query, start=begun, end=time.time(), step="1s")["result"]
        numbers = [float(value) for one in series for _, value in one["values"]]
        return [number for number in numbers if number == number]  # NaN is drawn as nothing


def happen(stage):
    """What the panels and alerts are there for."""
    past = datetime.datetime.now(datetime.timezone.utc) - datetime.timedelta(minutes=2)
    say("a backlog, then live events")
    stage.generate("events", "--count", "60000", "--start", past.strftime("%Y-%m-%dT%H:%M:%SZ"), "--keys", "1000000").wait()
    stage.start_prometheus()
    stage.start_service()
    until("the service is ready", stage.ready, 120)
    stage.generate("events", "--rate", "300", "--start", "now", "--seed", "2", "--keys", "1000", "--duplicates", "20")
    stage.generate("late-events", "--rate", "50", "--start", "now", "--seed", "3", "--keys", "1000")
    time.sleep(20)
    say("records that cannot be processed, and late ones")
    for topic in ("events", "late-events"):
        keyless = json.dumps({"@timestamp": datetime.datetime.now(datetime.timezone.utc).isoformat()})
        late = [json.dumps({
            "@timestamp": "2026-01-01T00:00:00Z", "event": {"id": f"late-{number}", "category": "network"},
            "destination": {"ip": "192.0.2.1"}, "network": {"bytes": 1},
        }) for number in range(50)]  # fmt: skip
        stage.kafka_tool("ConsoleProducer", "--topic", topic, lines=["not JSON", '{"event":{"id":"timeless"}}', keyless, *late])
    time.sleep(5)
    say("a pause")
    stage.ask("/pipeline/pause", "POST")
    time.sleep(8)
    stage.ask("/pipeline/resume", "POST")
    time.sleep(5)
    say("wrong rules, the same rules, other rules")
    for rules in (RULES + "---\nid: wrong\n", RULES, RULES + "---\nid: other\nquery: any where false\n"):
        (stage.work / "rules.yaml").write_text(rules)
        try:
            stage.ask("/rules/reload", "POST")
        except urllib.error.HTTPError as refused:
            say(f"refused: {json.loads(refused.read())['mistakes'][0]['message']}")
        time.sleep(3)
    until("the service is ready with other rules", stage.ready, 60)
    say("a broker that hangs")
    stage.tell_kafka("freeze")
    time.sleep(25)
    stage.tell_kafka("thaw")
    until("the service goes on", stage.ready, 120)
    say("kill -9, and the disk lost")
    stage.service.send_signal(signal.SIGKILL)
    stage.service.wait()
    shutil.rmtree(stage.work / "state")
    stage.start_service()
    until("the service is ready again", stage.ready, 120)
    time.sleep(15)


def check_panels(stage, begun):
    wrong = 0
    for panel in json.loads(DASHBOARD.read_text())["panels"]:
        for target in panel.get("targets", []):
            query = target["expr"]
            for name, value in VARIABLES.items():
                query = query.replace(name, value)
            numbers = stage.values(query, begun)
            # A gauge may have moved between two scrapes only; what is counted must have happened.
            counted = re.search(r"\b(rate|increase)\(", query)
            good = any(numbers) or bool(numbers) and not counted
            state = "ok   " if any(numbers) else "flat " if good else "FLAT " if numbers else "EMPTY"
            print(f"{state} {panel['title']}: {target.get('legendFormat') or target['refId']}" + ("" if good else f"\n      {query}"))
            wrong += not good
    return wrong


def check_alerts(stage, begun):
    wrong = 0
    for rule in stage.prometheus("rules")["groups"][0]["rules"]:
        names = set(re.findall(r'\b(?:throughline_\w+|up)\b(?:\{[^}]*\})?', rule["query"]))
        empty = [name for name in sorted(names) if not stage.values(name, begun)]
        good = rule["health"] == "ok" and names and not empty
        print(f"{'ok   ' if good else 'WRONG'} alert {rule['name']} ({rule['state']})" + ("" if good else f": {rule.get('lastError')} {empty}"))
        wrong += not good
    return wrong


def play(stage):
    begun = time.time()
    stage.start_kafka(**{"events": 3, "late-events": 1, "correlations": 1, "throughline-dlq": 1})
    happen(stage)
    return check_panels(stage, begun) + check_alerts(stage, begun)


if __name__ == "__main__":
    if not shutil.which("prometheus"):
        sys.exit("check-dashboard: prometheus is not installed: apt-get install --no-install-recommends prometheus")
    on_stage(play, lambda work, program: Observed(work, program, CONFIGURATION, RULES))
