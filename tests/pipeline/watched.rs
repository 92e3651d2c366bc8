//! A running service that is asked over its admin endpoint.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::harness::{App, Service};

/// Longest wait for something that must come.
const PATIENCE: Duration = Duration::from_secs(60);

/// An answer: status, head and body.
pub struct Answer {
    pub status: u16,
    pub head: String,
    pub body: Vec<u8>,
}

impl Answer {
    pub fn text(&self) -> &str {
        std::str::from_utf8(&self.body).expect("text")
    }

    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{error}: {}", self.text()))
    }
}

/// A service and where it answers.
pub struct Watched {
    pub service: Service,
    pub address: String,
}

impl Watched {
    /// Starts it, on a port of its own.
    pub fn start(app: &App, environment: &[(&str, &str)]) -> Watched {
        let mut command = app.command("one");
        command.env("THROUGHLINE_ADMIN__LISTEN", "127.0.0.1:0").envs(environment.iter().copied());
        let mut service = Service::spawn(command);
        let says = "health and metrics at http://";
        service.wait_for(says);
        let log = service.log();
        let line = log.split_once(says).expect("said").1.lines().next().expect("a line");
        let port = line.rsplit_once(':').expect("a port").1;
        Watched { address: format!("127.0.0.1:{port}"), service }
    }

    /// Sends what is given and reads to the end of the connection.
    pub fn send(&self, request: &[u8]) -> Answer {
        let mut stream = TcpStream::connect(&self.address).expect("it listens");
        stream.set_read_timeout(Some(PATIENCE)).expect("a timeout");
        stream.write_all(request).expect("it reads");
        let mut all = Vec::new();
        // What was refused half way may be a closed connection; what it said before counts.
        let _ = stream.read_to_end(&mut all);
        let end = all.windows(4).position(|four| four == b"\r\n\r\n").expect("a head") + 4;
        let head = String::from_utf8(all[..end].to_vec()).expect("text");
        let status = head.split(' ').nth(1).expect("a status").parse().expect("a number");
        Answer { status, head, body: all[end..].to_vec() }
    }

    pub fn ask(&self, method: &str, path: &str, headers: &str) -> Answer {
        let host = &self.address;
        // HTTP/1.0: the body comes whole, and the connection ends with it.
        self.send(format!("{method} {path} HTTP/1.0\r\nHost: {host}\r\n{headers}\r\n").as_bytes())
    }

    pub fn get(&self, path: &str) -> Answer {
        self.ask("GET", path, "")
    }

    /// Asks for the status until `done` says so.
    pub fn until(&self, what: &str, done: impl Fn(&Value) -> bool) -> Value {
        let started = Instant::now();
        loop {
            let status = self.get("/status").json();
            if done(&status) {
                return status;
            }
            assert!(started.elapsed() < PATIENCE, "{what} does not come: {status:#}\n{}", self.service.log());
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    pub fn metric(&self, series: &str) -> Option<f64> {
        let metrics = self.get("/metrics");
        metrics.text().lines().find_map(|line| line.strip_prefix(series)?.trim().parse().ok())
    }
}
