//! A broker in a container, through testcontainers, if a Docker daemon answers.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use testcontainers::core::IntoContainerPort;
use testcontainers::runners::SyncRunner;
use testcontainers::{GenericImage, ImageExt};

use super::client::Kafka;

/// The image that a user of the documentation would run.
const IMAGE: (&str, &str) = ("apache/kafka", "4.1.1");

/// A running container. A static is never dropped, so a watcher removes the container when our pipe to it closes.
pub struct Container {
    container: testcontainers::Container<GenericImage>,
    watcher: Child,
}

/// Starts a container, or says why not.
pub fn start() -> Result<(Kafka, Container), String> {
    ping()?;
    // The broker tells its clients where it is, so the port outside must be known before it starts.
    let port = TcpListener::bind(("127.0.0.1", 0)).and_then(|l| l.local_addr()).map_err(|e| e.to_string())?.port();
    let settings = [
        ("KAFKA_NODE_ID", "1".to_owned()),
        ("KAFKA_PROCESS_ROLES", "broker,controller".to_owned()),
        // A listener of its own for the broker itself: it calls itself to end transactions, and the port outside does not
        // exist in the container. Without it the first commit succeeds and whatever follows waits for its markers.
        ("KAFKA_LISTENERS", "PLAINTEXT://:9092,CONTROLLER://:9093,INTERNAL://:9094".to_owned()),
        ("KAFKA_ADVERTISED_LISTENERS", format!("PLAINTEXT://127.0.0.1:{port},INTERNAL://localhost:9094")),
        ("KAFKA_INTER_BROKER_LISTENER_NAME", "INTERNAL".to_owned()),
        ("KAFKA_CONTROLLER_LISTENER_NAMES", "CONTROLLER".to_owned()),
        (
            "KAFKA_LISTENER_SECURITY_PROTOCOL_MAP",
            "CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT,INTERNAL:PLAINTEXT".to_owned(),
        ),
        ("KAFKA_CONTROLLER_QUORUM_VOTERS", "1@localhost:9093".to_owned()),
        ("KAFKA_AUTO_CREATE_TOPICS_ENABLE", "false".to_owned()),
        ("KAFKA_OFFSETS_TOPIC_NUM_PARTITIONS", "4".to_owned()),
        ("KAFKA_OFFSETS_TOPIC_REPLICATION_FACTOR", "1".to_owned()),
        ("KAFKA_TRANSACTION_STATE_LOG_NUM_PARTITIONS", "4".to_owned()),
        ("KAFKA_TRANSACTION_STATE_LOG_REPLICATION_FACTOR", "1".to_owned()),
        ("KAFKA_TRANSACTION_STATE_LOG_MIN_ISR", "1".to_owned()),
        ("KAFKA_GROUP_INITIAL_REBALANCE_DELAY_MS", "0".to_owned()),
        ("KAFKA_GROUP_MIN_SESSION_TIMEOUT_MS", "1000".to_owned()),
        ("KAFKA_TRANSACTION_ABORT_TIMED_OUT_TRANSACTION_CLEANUP_INTERVAL_MS", "1000".to_owned()),
        ("KAFKA_LOG_CLEANER_BACKOFF_MS", "200".to_owned()),
        ("KAFKA_HEAP_OPTS", "-Xmx512m".to_owned()),
    ];
    let request = GenericImage::new(IMAGE.0, IMAGE.1).with_mapped_port(port, 9092.tcp());
    let request = settings.into_iter().fold(request, |request, (name, value)| request.with_env_var(name, value));
    let container = request.start().map_err(|error| format!("{}:{} did not start: {error}", IMAGE.0, IMAGE.1))?;
    let watcher = watch(container.id()).map_err(|error| format!("sh: {error}"))?;
    let container = Container { container, watcher };
    let kafka = Kafka::new(&format!("127.0.0.1:{port}"));
    kafka.wait_ready(Duration::from_secs(90), || None)?;
    Ok((kafka, container))
}

/// Removes the container when this process ends, however it ends.
fn watch(id: &str) -> std::io::Result<Child> {
    Command::new("sh")
        .args(["-c", "while read -r _; do :; done; docker rm -f \"$0\"", id])
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .process_group(0)
        .spawn()
}

/// Asks the daemon whether it is there, as `docker version` does but without needing the command.
fn ping() -> Result<(), String> {
    let host = std::env::var("DOCKER_HOST").unwrap_or_else(|_| "unix:///var/run/docker.sock".to_owned());
    let unreachable = |error: std::io::Error| format!("no daemon at {host} ({error})");
    let mut answer = [0; 12];
    let timeout = Some(Duration::from_secs(5));
    let request = b"GET /_ping HTTP/1.0\r\n\r\n";
    if let Some(path) = host.strip_prefix("unix://") {
        let mut stream = UnixStream::connect(path).map_err(unreachable)?;
        stream.set_read_timeout(timeout).map_err(unreachable)?;
        stream.write_all(request).and_then(|()| stream.read_exact(&mut answer)).map_err(unreachable)?;
    } else {
        let mut stream = TcpStream::connect(host.trim_start_matches("tcp://")).map_err(unreachable)?;
        stream.set_read_timeout(timeout).map_err(unreachable)?;
        stream.write_all(request).and_then(|()| stream.read_exact(&mut answer)).map_err(unreachable)?;
    }
    if answer.ends_with(b"200") { Ok(()) } else { Err(format!("the daemon at {host} does not answer a ping")) }
}
