//! The thread that sends.

use std::io::{self, Read as _, Write};
use std::net::{Shutdown, TcpStream, ToSocketAddrs};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender};
use prost::Message;

use super::{Read, Resource, Span, Tracer, WAITING_MAX, encode};
use crate::telemetry::RateLimit;
use crate::telemetry::metrics::OtlpMetrics;

/// Time between two sendings of spans, and of metrics.
const SPANS_EVERY: Duration = Duration::from_secs(1);
const METRICS_EVERY: Duration = Duration::from_secs(10);

/// Spans in one request.
const SPANS_AT_ONCE: usize = 512;

/// How long connecting, and each part of a request, may take.
const ANSWER_WAIT: Duration = Duration::from_secs(5);

/// Bytes of an answer that are read, its status line apart.
const ANSWER_MAX: u64 = 64 * 1024;

/// A collector that is away is said at most so often.
const SAY_EVERY: Duration = Duration::from_secs(300);

/// Why nothing can be exported.
#[derive(Debug, thiserror::Error)]
#[error("cannot start the thread that sends to OpenTelemetry: {0}")]
pub struct StartError(#[from] io::Error);

/// A thread that sends; it sends what waits and ends when dropped.
pub struct Exporter {
    tracer: Tracer,
    stop: Option<Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Exporter {
    /// Sends to the collector at `endpoint` (`http://host:port`, perhaps with a path) from now on.
    pub fn start(endpoint: &str, of: Resource, metrics: Arc<OtlpMetrics>, read: Read) -> Result<Exporter, StartError> {
        let (spans, waiting) = crossbeam_channel::bounded(WAITING_MAX);
        let (stop, stopped) = crossbeam_channel::bounded(0);
        let tracer = Tracer { spans, metrics: Arc::clone(&metrics) };
        let sender = Sending {
            collector: Collector::of(endpoint),
            of,
            metrics,
            read,
            started: now(),
            limit: RateLimit::new(SAY_EVERY),
        };
        let body = move || sender.run(&waiting, &stopped);
        let thread = std::thread::Builder::new().name("otlp".into()).spawn(body)?;
        Ok(Exporter { tracer, stop: Some(stop), thread: Some(thread) })
    }

    /// For whoever has spans.
    pub fn tracer(&self) -> Tracer {
        self.tracer.clone()
    }
}

impl Drop for Exporter {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            drop(thread.join());
        }
    }
}

fn now() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_nanos()).unwrap_or(i64::MAX)
}

/// What the thread holds.
struct Sending {
    collector: Collector,
    of: Resource,
    metrics: Arc<OtlpMetrics>,
    read: Read,
    started: i64,
    limit: RateLimit,
}

impl Sending {
    fn run(self, waiting: &Receiver<Span>, stopped: &Receiver<()>) {
        let mut metrics_at = Instant::now() + METRICS_EVERY;
        while stopped.recv_timeout(SPANS_EVERY) == Err(RecvTimeoutError::Timeout) {
            self.send_spans(waiting);
            if Instant::now() >= metrics_at {
                metrics_at = Instant::now() + METRICS_EVERY;
                self.send_metrics();
            }
        }
        // The last words.
        if self.send_spans(waiting) {
            self.send_metrics();
        }
    }

    /// Whether all that waited was taken.
    fn send_spans(&self, waiting: &Receiver<Span>) -> bool {
        // What comes meanwhile waits for the next time: a stream of spans must not keep the thread here.
        let mut left = waiting.len();
        while left > 0 {
            let batch: Vec<Span> = waiting.try_iter().take(SPANS_AT_ONCE.min(left)).collect();
            let spans = batch.len();
            if spans == 0 {
                return true;
            }
            left -= spans;
            let body = encode::spans(&self.of, batch).encode_to_vec();
            if !self.post("/v1/traces", &body) {
                self.metrics.traces_failed.add(1);
                return false;
            }
        }
        true
    }

    fn send_metrics(&self) {
        let body = encode::metrics(&self.of, &(self.read)(), self.started, now()).encode_to_vec();
        if !self.post("/v1/metrics", &body) {
            self.metrics.metrics_failed.add(1);
        }
    }

    fn post(&self, path: &str, body: &[u8]) -> bool {
        let Err(error) = self.collector.post(path, body) else { return true };
        if let Some(times) = self.limit.permit() {
            let collector = &self.collector.host;
            tracing::warn!(%error, collector, times, "the OpenTelemetry collector takes nothing; what it misses is counted");
        }
        false
    }
}

/// Where to send.
struct Collector {
    /// Host and port.
    host: String,
    /// In front of every path.
    prefix: String,
}

impl Collector {
    fn of(endpoint: &str) -> Collector {
        let rest = endpoint.strip_prefix("http://").unwrap_or(endpoint).trim_end_matches('/');
        let (host, prefix) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
        let has_port = host.rsplit_once(':').is_some_and(|(_, port)| port.parse::<u16>().is_ok());
        Collector { host: if has_port { host.to_owned() } else { format!("{host}:80") }, prefix: prefix.to_owned() }
    }

    fn post(&self, path: &str, body: &[u8]) -> io::Result<()> {
        let nowhere = || io::Error::new(io::ErrorKind::NotFound, "the name has no address");
        let address = self.host.to_socket_addrs()?.next().ok_or_else(nowhere)?;
        let mut stream = TcpStream::connect_timeout(&address, ANSWER_WAIT)?;
        stream.set_read_timeout(Some(ANSWER_WAIT))?;
        stream.set_write_timeout(Some(ANSWER_WAIT))?;
        let Collector { host, prefix } = self;
        let length = body.len();
        write!(
            stream,
            "POST {prefix}{path} HTTP/1.1\r\nHost: {host}\r\nContent-Type: application/x-protobuf\r\n\
             Content-Length: {length}\r\nConnection: close\r\n\r\n"
        )?;
        stream.write_all(body)?;
        let mut status = [0; 12];
        stream.read_exact(&mut status)?;
        // What is left of the answer is read: closing before that resets the connection under the collector's hands.
        drop(stream.shutdown(Shutdown::Write));
        drop(io::copy(&mut (&stream).take(ANSWER_MAX), &mut io::sink()));
        match &status[9..] {
            [b'2', ..] => Ok(()),
            code => Err(io::Error::other(format!("it answers with status {}", String::from_utf8_lossy(code)))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::telemetry::metrics::{Snapshot, table};
    use crate::telemetry::otlp::SpanKind;
    use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
    use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
    use std::io::{BufRead, BufReader};
    use std::net::TcpListener;

    fn span(number: u64) -> Span {
        let name = "commit epoch".into();
        Span {
            trace: 1,
            span: number,
            name,
            kind: SpanKind::Internal,
            start: 1,
            end: 2,
            attributes: vec![],
            links: vec![],
        }
    }

    fn of() -> Resource {
        Resource { application: "a".into(), instance: "b".into() }
    }

    fn read() -> Read {
        Box::new(|| {
            let mut all = Snapshot::default();
            all.number(table::RULES, &[], 4.0);
            all
        })
    }

    /// Takes one request and answers it: its path and body.
    fn take(listener: &TcpListener, status: &str) -> (String, Vec<u8>) {
        let mut stream = BufReader::new(listener.accept().expect("a connection").0);
        let (mut path, mut length) = (String::new(), 0);
        loop {
            let mut line = String::new();
            stream.read_line(&mut line).expect("a line");
            if let Some(rest) = line.strip_prefix("POST ") {
                path = rest.split(' ').next().expect("a path").to_owned();
            } else if let Some(rest) = line.strip_prefix("Content-Length: ") {
                length = rest.trim().parse().expect("a length");
            } else if line.trim().is_empty() {
                break;
            }
        }
        let mut body = vec![0; length];
        stream.read_exact(&mut body).expect("the body");
        write!(stream.get_mut(), "HTTP/1.1 {status}\r\nContent-Length: 0\r\n\r\n").expect("answered");
        (path, body)
    }

    #[test]
    fn spans_and_metrics_arrive_and_nothing_is_lost_at_the_end() {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let endpoint = format!("http://{}/otlp", listener.local_addr().expect("bound"));
        let exporter = Exporter::start(&endpoint, of(), Arc::default(), read()).expect("started");
        exporter.tracer().give(span(7));
        let collector = std::thread::spawn(move || [take(&listener, "200 OK"), take(&listener, "202 Accepted")]);
        drop(exporter);
        let [(traces, spans), (metrics, numbers)] = collector.join().expect("collected");
        assert_eq!((&*traces, &*metrics), ("/otlp/v1/traces", "/otlp/v1/metrics"));
        let spans = ExportTraceServiceRequest::decode(&spans[..]).expect("a message");
        assert_eq!(spans.resource_spans[0].scope_spans[0].spans[0].span_id, 7u64.to_be_bytes());
        let numbers = ExportMetricsServiceRequest::decode(&numbers[..]).expect("a message");
        assert_eq!(numbers.resource_metrics[0].scope_metrics[0].metrics[0].name, "throughline_rules");
    }

    #[test]
    fn a_collector_that_is_away_costs_a_count() {
        // Bound and dropped: nobody listens there.
        let port = TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr()).expect("a port");
        let metrics = Arc::<OtlpMetrics>::default();
        let exporter = Exporter::start(&format!("http://{port}"), of(), Arc::clone(&metrics), read()).expect("started");
        let tracer = exporter.tracer();
        (0..WAITING_MAX as u64 * 2).for_each(|number| tracer.give(span(number)));
        assert!(metrics.dropped.get() > 0, "who gives spans never waits");
        drop(exporter);
        assert!(metrics.traces_failed.get() > 0);
    }

    #[test]
    fn endpoints_are_read_as_they_are_written() {
        let read = |endpoint| {
            let Collector { host, prefix } = Collector::of(endpoint);
            (host, prefix)
        };
        assert_eq!(read("http://localhost:4318"), ("localhost:4318".into(), String::new()));
        assert_eq!(read("http://otel/a/b/"), ("otel:80".into(), "/a/b".into()));
        assert_eq!(read("http://[::1]:4318/x"), ("[::1]:4318".into(), "/x".into()));
    }
}
