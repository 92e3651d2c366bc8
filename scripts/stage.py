"""A Kafka and a service on it, for the scripts that check what a running service shows."""

import os
import pathlib
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request

ROOT = pathlib.Path(__file__).resolve().parent.parent
KAFKA = ROOT / "tests/kafka/kafka.sh"
NAME = pathlib.Path(sys.argv[0]).stem


def free_port():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def say(text):
    print(f"{NAME}: {text}", file=sys.stderr, flush=True)


def until(what, holds, seconds):
    """Waits for something that must come."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        try:
            if holds():
                return
        except (urllib.error.URLError, OSError):
            pass
        time.sleep(0.3)
    sys.exit(f"{NAME}: {what}: not within {seconds} s")


class Stage:
    """What runs, and how it is reached. Ports and folders are put into the configuration by name."""

    def __init__(self, work, program, configuration, rules):
        self.work, self.program = work, program
        self.ports = {name: free_port() for name in ("kafka", "controller", "sasl", "admin", "prometheus")}
        self.running = []
        self.token = None
        (work / "throughline.yaml").write_text(configuration.format(work=work, root=ROOT, **self.ports))
        (work / "rules.yaml").write_text(rules)

    def start(self, name, command, **options):
        log = open(self.work / f"{name}.log", "ab")
        process = subprocess.Popen([str(word) for word in command], stdout=log, stderr=log, **options)
        self.running.append(process)
        return process

    def stop(self):
        for process in reversed(self.running):
            if process.stdin:
                process.stdin.close()  # Kafka's script ends with its input.
            else:
                process.kill()
            process.wait()

    def start_kafka(self, **topics):
        ports = [self.ports[name] for name in ("kafka", "controller", "sasl")]
        self.kafka = self.start("kafka", ["sh", KAFKA, "run", self.work / "kafka", *ports], stdin=subprocess.PIPE)
        until("Kafka answers", lambda: socket.create_connection(("127.0.0.1", self.ports["kafka"])).close() is None, 120)
        for topic, partitions in topics.items():
            self.kafka_tool("TopicCommand", "--create", "--topic", topic, "--partitions", str(partitions))

    def tell_kafka(self, line):
        self.kafka.stdin.write(line.encode() + b"\n")
        self.kafka.stdin.flush()

    def kafka_tool(self, name, *words, lines=()):
        tool = ["sh", str(KAFKA), "tool", f"org.apache.kafka.tools.{name}"]
        command = [*tool, "--bootstrap-server", f"127.0.0.1:{self.ports['kafka']}", *words]
        subprocess.run(command, input="\n".join(lines).encode(), stdout=subprocess.DEVNULL, check=True)

    def throughline(self, *words):
        return [self.program, "-c", self.work / "throughline.yaml", *words]

    def generate(self, topic, *words):
        kind = ["generate", "--kind", "security", "--topic", topic]
        return self.start("generate", self.throughline(*kind, *words))

    def start_service(self):
        token = {"THROUGHLINE_ADMIN__TOKEN": self.token} if self.token else {}
        self.service = self.start("throughline", self.throughline("run"), env={**os.environ, **token})

    def ask(self, path, method="GET", port="admin"):
        request = urllib.request.Request(f"http://127.0.0.1:{self.ports[port]}{path}", method=method)
        if self.token and port == "admin":
            request.add_header("Authorization", f"Bearer {self.token}")
        with urllib.request.urlopen(request, timeout=30) as answer:
            return answer.read()

    def ready(self):
        return b'"ready":true' in self.ask("/readyz")


def on_stage(play, stage_of):
    """Runs a play on a stage of its own; ends with what it finds wrong, and keeps the logs then."""
    program = pathlib.Path(os.environ.get("THROUGHLINE_BIN", "")).resolve()
    if not program.is_file():
        sys.exit(f"{NAME}: THROUGHLINE_BIN names no program: cargo build, then THROUGHLINE_BIN=target/debug/throughline")
    work = pathlib.Path(tempfile.mkdtemp(prefix=f"throughline-{NAME}-"))
    stage, wrong = stage_of(work, program), 1
    try:
        wrong = play(stage)
    finally:
        stage.stop()
        if wrong:
            say(f"the logs are in {work}")
        else:
            shutil.rmtree(work, ignore_errors=True)
    if wrong:
        sys.exit(f"{NAME}: {wrong} mistakes")
