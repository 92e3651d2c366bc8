//! A broker on the local JVM, through `tests/kafka/kafka.sh`, which kills it when our end of its standard input closes.

use std::fs;
use std::io::Write;
use std::net::TcpListener;
use std::ops::Deref;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use super::client::Kafka;

/// A cold JVM on a busy two-core machine; a warm start takes 3 s.
const START_TIMEOUT: Duration = Duration::from_secs(90);

#[derive(Clone, Copy)]
struct Ports {
    clients: u16,
    controller: u16,
    sasl: u16,
    /// With TLS: for passwords, for certificates.
    tls: Option<[u16; 2]>,
}

impl Ports {
    /// Ports free right now. Held together while they are chosen, so that they differ.
    fn free(with_tls: bool) -> Ports {
        let held: [TcpListener; 5] =
            std::array::from_fn(|_| TcpListener::bind(("127.0.0.1", 0)).expect("a free local port"));
        let [clients, controller, sasl, tls, mutual] =
            held.each_ref().map(|l| l.local_addr().expect("its address").port());
        Ports { clients, controller, sasl, tls: with_tls.then_some([tls, mutual]) }
    }
}

fn script() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/kafka/kafka.sh")
}

/// A running broker process.
pub struct Process {
    child: Child,
    directory: PathBuf,
}

impl Process {
    fn start(directory: &Path, ports: Ports) -> Result<Process, String> {
        let child = Command::new("sh")
            .arg(script())
            .arg("run")
            .arg(directory)
            .args([ports.clients, ports.controller, ports.sasl].map(|p| p.to_string()))
            .args(ports.tls.iter().flatten().map(|p| p.to_string()))
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(fs::File::create(directory.join("script.log")).map_err(|e| format!("{directory:?}: {e}"))?)
            // A group of its own: Ctrl-C ends the tests, and the closed pipe then ends the broker, directory and all.
            .process_group(0)
            .spawn()
            .map_err(|error| format!("{}: {error}", script().display()))?;
        Ok(Process { child, directory: directory.to_owned() })
    }

    fn say(&mut self, line: &str) {
        let stdin = self.child.stdin.as_mut().expect("the broker was stopped before");
        writeln!(stdin, "{line}").expect("the broker's script is gone");
    }

    /// Why it ended, if it did.
    fn ended(&mut self) -> Option<String> {
        let dead = matches!(self.child.try_wait(), Ok(Some(_)) | Err(_));
        let log =
            || ["script.log", "log"].map(|file| fs::read_to_string(self.directory.join(file)).unwrap_or_default());
        let failed = || log().iter().any(|text| text.contains("Exiting Kafka") || text.contains("FATAL"));
        (dead || failed()).then(|| {
            let text = log().concat();
            let lines: Vec<&str> = text.lines().collect();
            format!("the broker ended:\n{}", lines[lines.len().saturating_sub(15)..].join("\n"))
        })
    }

    /// Closes the pipe and waits until the broker is gone.
    fn end(&mut self) {
        drop(self.child.stdin.take());
        // Nothing to do about a failure: the process is gone either way.
        let _ = self.child.wait();
    }
}

fn start(directory: &Path, ports: Ports) -> Result<(Kafka, Process), String> {
    fs::create_dir_all(directory).map_err(|e| format!("{}: {e}", directory.display()))?;
    let mut process = Process::start(directory, ports)?;
    let kafka = Kafka::new(&format!("127.0.0.1:{}", ports.clients));
    match kafka.wait_ready(START_TIMEOUT, || process.ended()) {
        Ok(()) => Ok((kafka, process)),
        Err(error) => {
            process.end();
            Err(error)
        }
    }
}

/// Fetches the jars if needed (said once, it takes a while), then starts a broker.
fn start_anywhere(with_tls: bool) -> Result<(Kafka, Process, Ports), String> {
    let jars = Command::new("sh").arg(script()).arg("jars").output().map_err(|e| format!("sh: {e}"))?;
    if !jars.status.success() {
        return Err(String::from_utf8_lossy(&jars.stderr).trim().to_owned());
    }
    let mut error = String::new();
    // Between choosing a free port and using it another process may take it; then other ports will do.
    for _ in 0..3 {
        let ports = Ports::free(with_tls);
        let directory = std::env::temp_dir().join(super::unique("throughline-kafka"));
        match start(&directory, ports) {
            Ok((kafka, process)) => return Ok((kafka, process, ports)),
            Err(reason) => error = reason,
        }
    }
    Err(error)
}

/// The broker that all tests of the binary share.
pub fn start_shared() -> Result<(Kafka, Process), String> {
    start_anywhere(false).map(|(kafka, process, _)| (kafka, process))
}

/// A broker of one test, which may do with it as it likes. Always on the JVM: a container's ports and users would be
/// another thing to get right for no other result.
pub struct PrivateBroker {
    kafka: Kafka,
    process: Process,
    ports: Ports,
}

impl PrivateBroker {
    /// Starts one.
    pub fn start() -> PrivateBroker {
        PrivateBroker::start_with(false)
    }

    /// Starts one that also listens with TLS (it needs openssl too).
    pub fn start_secure() -> PrivateBroker {
        PrivateBroker::start_with(true)
    }

    fn start_with(tls: bool) -> PrivateBroker {
        let (kafka, process, ports) =
            start_anywhere(tls).unwrap_or_else(|error| panic!("no private Kafka (it needs java and maven): {error}"));
        PrivateBroker { kafka, process, ports }
    }

    /// Address of the listener that asks for a password or a token over TLS, and of the one that asks for a certificate
    /// (`kafka.sh` says who is known there).
    pub fn tls_brokers(&self) -> [String; 2] {
        self.ports.tls.expect("started with TLS").map(|port| format!("127.0.0.1:{port}"))
    }

    /// A certificate or key of [`start_secure`](Self::start_secure), e.g. `ca.crt`.
    pub fn tls_file(&self, name: &str) -> PathBuf {
        self.process.directory.join("tls").join(name)
    }

    /// Kills it at once, as a power cut would; its data stays.
    pub fn kill(&mut self) {
        self.process.say("keep");
        self.process.end();
    }

    /// Shuts it down in order; its data stays.
    pub fn stop(&mut self) {
        self.process.say("keep");
        self.process.say("stop");
        self.process.end();
    }

    /// Starts it again, on the same ports and data, after `kill` or `stop`.
    pub fn restart(&mut self) {
        let directory = self.process.directory.clone();
        let (_, process) = start(&directory, self.ports).unwrap_or_else(|error| panic!("restart: {error}"));
        self.process = process;
    }

    /// Stops it in its tracks: connections stay open and nothing answers.
    pub fn freeze(&mut self) {
        self.process.say("freeze");
    }

    /// Lets it go on after `freeze`.
    pub fn thaw(&mut self) {
        self.process.say("thaw");
    }

    /// Address of the listener that asks for a password (SASL_PLAINTEXT, PLAIN; users `alice` and `bob`, password
    /// `<name>-secret`) and lets them do only what [`allow`](Self::allow) allowed. The plain listener allows everything.
    pub fn sasl_brokers(&self) -> String {
        format!("127.0.0.1:{}", self.ports.sasl)
    }

    /// librdkafka properties for a user of [`sasl_brokers`](Self::sasl_brokers).
    pub fn sasl_properties(user: &str) -> [(&'static str, String); 4] {
        [
            ("security.protocol", "sasl_plaintext".to_owned()),
            ("sasl.mechanisms", "PLAIN".to_owned()),
            ("sasl.username", user.to_owned()),
            ("sasl.password", format!("{user}-secret")),
        ]
    }

    /// Adds an ACL, in the words of Kafka's own command, e.g. `["--operation", "Read", "--topic", "orders"]`.
    pub fn allow(&self, user: &str, what: &[&str]) {
        let output = Command::new("sh")
            .arg(script())
            .args(["tool", "org.apache.kafka.tools.AclCommand", "--bootstrap-server", self.kafka.brokers(), "--add"])
            .args(["--allow-principal", &format!("User:{user}")])
            .args(what)
            .output()
            .expect("sh");
        assert!(output.status.success(), "ACL {what:?}: {}", String::from_utf8_lossy(&output.stderr));
    }
}

impl Deref for PrivateBroker {
    type Target = Kafka;

    fn deref(&self) -> &Kafka {
        &self.kafka
    }
}

impl Drop for PrivateBroker {
    fn drop(&mut self) {
        // Killed before and never restarted: the script is gone, so the data is ours to remove.
        self.process.end();
        let _ = fs::remove_dir_all(&self.process.directory);
    }
}
