//! A configuration in a directory of its own, and the binary run on it.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::support::client::{Consumed, Kafka};
use crate::support::unique;

/// Longest that any run of these tests may take before it counts as hanging.
const PATIENCE: Duration = Duration::from_secs(90);

/// One application: its topics, rules and configuration.
pub struct App {
    pub kafka: Kafka,
    pub id: String,
    pub topic: String,
    pub output: String,
    pub dead_letters: String,
    directory: tempfile::TempDir,
    kafka_section: String,
    input: String,
    settings: String,
}

impl App {
    /// An application with an input topic of `partitions`, and `rules` as one file's text.
    pub fn new(kafka: &Kafka, partitions: i32, rules: &str) -> App {
        let topic = unique("input");
        kafka.create_topic(&topic, partitions, &[("max.message.bytes", "20000000")]);
        App::on(kafka, &topic, rules)
    }

    /// An application that reads a topic that is there already.
    pub fn on(kafka: &Kafka, topic: &str, rules: &str) -> App {
        let id = unique("app");
        let app = App {
            topic: topic.to_owned(),
            output: format!("{id}-out"),
            dead_letters: format!("{id}-dlq"),
            directory: tempfile::tempdir().expect("temporary directory"),
            kafka: kafka.clone(),
            kafka_section: format!("kafka:\n  brokers: {}\n", kafka.brokers()),
            input: "time: {field: time}\n    id: id\n    out_of_orderness: 2s".into(),
            settings: String::new(),
            id,
        };
        kafka.create_topic(&app.output, 2, &[]);
        kafka.create_topic(&app.dead_letters, 2, &[("max.message.bytes", "20000000")]);
        std::fs::create_dir(app.path("rules")).expect("rules directory");
        app.rules(rules);
        app
    }

    /// Replaces the rules.
    pub fn rules(&self, text: &str) {
        std::fs::write(self.path("rules/rules.yaml"), text).expect("rules");
    }

    /// Replaces the keys of the input (YAML lines, indented by four from the second on).
    pub fn input(mut self, lines: &str) -> App {
        self.input = lines.into();
        self
    }

    /// Replaces the `kafka` section (YAML).
    pub fn kafka_section(mut self, lines: &str) -> App {
        self.kafka_section = lines.into();
        self
    }

    /// Sets properties of the client (`name: value`, separated by commas).
    pub fn properties(self, properties: &str) -> App {
        let section = format!("kafka:\n  brokers: {}\n  properties: {{{properties}}}\n", self.kafka.brokers());
        self.kafka_section(&section)
    }

    /// Adds top-level settings (YAML).
    pub fn settings(mut self, lines: &str) -> App {
        self.settings = lines.into();
        self
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn write_config(&self) -> PathBuf {
        let App { id, topic, output, dead_letters, kafka_section, input, settings, .. } = self;
        let text = format!(
            "application_id: {id}\n{kafka_section}input:\n  - topics: [{topic}]\n    {input}\n\
             rules: {{paths: [{rules}]}}\noutput: {{topic: {output}}}\ndead_letter: {{topic: {dead_letters}}}\n{settings}\n",
            rules = self.path("rules").display(),
        );
        let path = self.path("throughline.yaml");
        std::fs::write(&path, text).expect("configuration");
        path
    }

    /// Where an instance keeps its state: two on one machine have two directories.
    pub fn state(&self, instance: &str) -> PathBuf {
        self.path(&format!("state-{instance}"))
    }

    /// The command that runs an instance, for tests that add to it.
    pub fn command(&self, instance: &str) -> Command {
        self.command_in(&self.state(instance), instance)
    }

    /// The same with state in another directory.
    pub fn command_in(&self, directory: &Path, instance: &str) -> Command {
        let config = self.write_config();
        let mut command = throughline();
        let state = format!("state.directory={}", directory.display());
        command.arg("-c").arg(config).args(["--set", &format!("instance={instance}"), "--set", &state, "run"]);
        command
    }

    /// Starts the binary; `arguments` after `run`.
    pub fn start(&self, instance: &str, arguments: &[&str]) -> Service {
        let mut command = self.command(instance);
        command.args(arguments);
        Service::spawn(command)
    }

    /// `validate --broker`: its exit status and what it printed.
    pub fn validate(&self) -> (Option<i32>, String) {
        let mut command = throughline();
        command.arg("-c").arg(self.write_config()).args(["validate", "--broker"]);
        let output = command.output().expect("validate runs");
        (output.status.code(), String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned())
    }

    /// Runs to the end of the topics and checks that it succeeded.
    pub fn until_end(&self) -> Totals {
        let finished = self.start("one", &["--until-end"]).wait();
        assert_eq!(finished.status, Some(0), "{}", finished.log);
        finished.totals()
    }

    /// Offsets of the topic that are not committed yet.
    pub fn lag(&self) -> i64 {
        let committed: i64 = self.kafka.committed(&self.id, &self.topic).values().map(|(offset, _)| offset).sum();
        self.kafka.end_offsets(&self.topic).values().sum::<i64>() - committed
    }

    /// The committed correlations, as JSON, in no particular order.
    pub fn correlations(&self) -> Vec<Value> {
        let records = self.kafka.read_committed(&self.output);
        records.iter().map(|record| serde_json::from_str(record.text()).expect("a correlation is JSON")).collect()
    }

    /// The committed dead letters.
    pub fn dead_letters(&self) -> Vec<Consumed> {
        self.kafka.read_committed(&self.dead_letters)
    }
}

/// The binary, without the environment's own settings.
pub fn throughline() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_throughline"));
    for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("THROUGHLINE_")) {
        command.env_remove(name);
    }
    command.env("NO_COLOR", "1");
    // Many services run side by side; whoever wants to ask one gives it a port.
    command.env("THROUGHLINE_ADMIN__LISTEN", "off");
    command
}

/// A running binary; killed when dropped.
pub struct Service {
    child: Child,
    log: Arc<Mutex<String>>,
    reader: Option<std::thread::JoinHandle<()>>,
}

/// A binary that ended.
pub struct Finished {
    pub status: Option<i32>,
    pub log: String,
}

/// Outcomes by topic, as printed at the end.
pub type Totals = BTreeMap<String, BTreeMap<String, u64>>;

impl Service {
    /// Starts a command and keeps what it says.
    pub fn spawn(mut command: Command) -> Service {
        let mut child = command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().expect("the binary starts");
        let stderr = child.stderr.take().expect("piped");
        let log = Arc::new(Mutex::new(String::new()));
        let sink = Arc::clone(&log);
        let reader = std::thread::spawn(move || {
            for line in BufReader::new(stderr).lines().map_while(Result::ok) {
                let mut log = sink.lock().expect("log");
                log.push_str(&line);
                log.push('\n');
            }
        });
        Service { child, log, reader: Some(reader) }
    }

    pub fn log(&self) -> String {
        self.log.lock().expect("log").clone()
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// kill -9.
    pub fn kill(mut self) {
        self.child.kill().expect("kill");
        self.child.wait().expect("wait");
    }

    /// Ctrl-C, then waits for the drain.
    pub fn interrupt(self) -> Finished {
        self.signal("INT");
        self.wait()
    }

    /// Sends a signal, e.g. `CONT`.
    pub fn signal(&self, name: &str) {
        let status = Command::new("kill").args(["-s", name, &self.pid().to_string()]).status().expect("kill");
        assert!(status.success(), "signal {name}");
    }

    /// Whether the process was stopped by a signal.
    pub fn is_stopped(&self) -> bool {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.pid())).expect("proc");
        status.lines().any(|line| line.starts_with("State:") && line.contains("T (stopped)"))
    }

    /// Waits until the log holds `text`.
    pub fn wait_for(&mut self, text: &str) {
        let started = Instant::now();
        while !self.log().contains(text) {
            let ended = self.child.try_wait().expect("wait");
            assert!(ended.is_none(), "ended with {ended:?} before it said {text:?}:\n{}", self.log());
            assert!(started.elapsed() < PATIENCE, "did not say {text:?}:\n{}", self.log());
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    pub fn wait(mut self) -> Finished {
        let started = Instant::now();
        let status = loop {
            if let Some(status) = self.child.try_wait().expect("wait") {
                break status.code();
            }
            if started.elapsed() > PATIENCE {
                let log = self.log();
                self.child.kill().expect("kill");
                panic!("hangs:\n{log}");
            }
            std::thread::sleep(Duration::from_millis(10));
        };
        if let Some(reader) = self.reader.take() {
            reader.join().expect("log reader");
        }
        Finished { status, log: self.log() }
    }

    /// Calls `feed` again and again until the process has ended.
    pub fn feed_until_ended(&mut self, mut feed: impl FnMut()) -> ExitStatus {
        let started = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait().expect("wait") {
                return status;
            }
            assert!(started.elapsed() < PATIENCE, "does not end:\n{}", self.log());
            feed();
        }
    }

    pub fn is_running(&mut self) -> bool {
        self.child.try_wait().expect("wait").is_none()
    }

    /// Resident memory in MiB, and its peak so far.
    pub fn memory_mib(&self) -> (u64, u64) {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.pid())).expect("proc");
        let field = |name: &str| {
            let line = status.lines().find(|line| line.starts_with(name)).expect("field");
            let kib: u64 = line.split_whitespace().nth(1).expect("number").parse().expect("number");
            kib / 1024
        };
        (field("VmRSS:"), field("VmHWM:"))
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        // Already gone in most cases.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Finished {
    /// The lines `TOPIC: N records: a tombstone, b dead_letter, ...`; checks that the printed parts add up to
    /// the printed sum. That the sum is the number of records sent is for each test to say.
    pub fn totals(&self) -> Totals {
        let mut totals = Totals::new();
        for line in self.log.lines() {
            let Some((head, outcomes)) = line.split_once(" records: ") else { continue };
            let Some((topic, all)) = head.rsplit_once(": ") else { continue };
            let counts: BTreeMap<String, u64> = outcomes
                .split(", ")
                .map(|part| part.split_once(' ').expect("count and name"))
                .map(|(count, name)| (name.to_owned(), count.parse().expect("count")))
                .collect();
            assert_eq!(counts.values().sum::<u64>(), all.parse::<u64>().expect("total"), "INV-COUNT: {line}");
            totals.insert(topic.to_owned(), counts);
        }
        totals
    }
}

/// Seeded pseudo-random numbers: SplitMix64 (Steele, Lea, Flood 2014).
pub struct Random(pub u64);

impl Random {
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    pub fn below(&mut self, n: usize) -> usize {
        (self.next() % n as u64) as usize
    }

    pub fn shuffle<T>(&mut self, items: &mut [T]) {
        for at in (1..items.len()).rev() {
            items.swap(at, self.below(at + 1));
        }
    }
}

/// A file of the shared test data.
pub fn data(name: &str) -> PathBuf {
    let default = Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/data");
    let folder = std::env::var("THROUGHLINE_TEST_DATA").map_or(default, PathBuf::from);
    let path = folder.join(name);
    assert!(path.exists(), "{} is missing: set THROUGHLINE_TEST_DATA to the folder that holds {name}", path.display());
    path
}

/// A rule file of the repository.
pub fn repository(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(name)
}
