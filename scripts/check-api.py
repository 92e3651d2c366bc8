#!/usr/bin/env python3
"""Whether the admin endpoint does what its OpenAPI document says, whatever is sent to it.

Starts a Kafka and the service with a token, checks the document against OpenAPI's own schema, and lets schemathesis (PyPI; installed
into a folder of its own, once) make requests of it, right ones and wrong ones, with the token and without: none may end the process
or be answered by a 5xx that is not documented. Exit status: 0, or 1 with the requests.

    THROUGHLINE_BIN=target/debug/throughline scripts/check-api.py
"""

import json
import os
import pathlib
import subprocess
import sys

from stage import Stage, on_stage, say, until

TOOLS = pathlib.Path(os.environ.get("THROUGHLINE_TOOLS", pathlib.Path.home() / ".cache/throughline/tools"))
PACKAGES = ["schemathesis==4.32.5", "openapi-spec-validator==0.9.0"]

CONFIGURATION = """
application_id: api
instance: one
kafka: {{brokers: "127.0.0.1:{kafka}"}}
input: [{{topics: [events], time: {{field: "@timestamp"}}, id: event.id}}]
rules: {{paths: ["{work}/rules.yaml"]}}
state: {{directory: "{work}/state"}}
admin: {{listen: "127.0.0.1:{admin}"}}
"""

RULES = "id: one\nquery: sequence by user.name with maxspan=1m [any where true] [any where true]\n"

TOKEN = "0123456789abcdef-of-a-check"

# A profile takes as long as it is told to.
SETTINGS = """
[[operations]]
include-path = "/debug/pprof/profile"
parameters = { seconds = 1 }
"""

# Requests for each operation. These two states are left for the end: health answers 503 in them, as it must.
EXAMPLES = 60
STATES = ["/pipeline/pause", "/pipeline/drain"]


def tool(name):
    """A program of the packages."""
    folder = TOOLS / ("api-" + "-".join(package.split("==")[1] for package in PACKAGES))
    if not (folder / "bin" / name).exists():
        say(f"installing {' and '.join(PACKAGES)} (once)")
        subprocess.run([sys.executable, "-m", "venv", folder], check=True)
        subprocess.run([folder / "bin/pip", "install", "--quiet", "--disable-pip-version-check", *PACKAGES], check=True)
    return folder / "bin" / name


def document_is_wrong(stage):
    document = stage.work / "openapi.json"
    document.write_bytes(stage.ask("/openapi.json"))
    paths = json.loads(document.read_bytes())["paths"]
    say(f"{sum(len(methods) for methods in paths.values())} operations")
    return subprocess.run([tool("openapi-spec-validator"), document]).returncode != 0


def requests_are_wrongly_answered(stage, *words):
    (stage.work / "schemathesis.toml").write_text(SETTINGS)
    command = [tool("schemathesis"), "--config-file", stage.work / "schemathesis.toml", "run", stage.work / "openapi.json"]
    options = ["--url", f"http://127.0.0.1:{stage.ports['admin']}", "--seed", "1", "--max-examples", str(EXAMPLES)]
    return subprocess.run([*command, *options, *words], cwd=stage.work).returncode != 0


def play(stage):
    stage.start_kafka(**{"events": 2, "correlations": 1, "throughline-dlq": 1})
    stage.token = TOKEN
    stage.start_service()
    until("the service is ready", stage.ready, 120)
    without = [word for path in STATES for word in ("--exclude-path", path)]
    only = [word for path in STATES for word in ("--include-path", path)]
    shown = ["--header", f"Authorization: Bearer {TOKEN}"]
    wrong = document_is_wrong(stage) + requests_are_wrongly_answered(stage, *without)
    say("the same with the token")
    wrong += requests_are_wrongly_answered(stage, *without, *shown)
    wrong += not stage.ready()
    wrong += requests_are_wrongly_answered(stage, *only, *shown)
    if stage.service.poll() is not None:
        say(f"the process has ended with {stage.service.returncode}")
        wrong += 1
    return wrong


if __name__ == "__main__":
    on_stage(play, lambda work, program: Stage(work, program, CONFIGURATION, RULES))
