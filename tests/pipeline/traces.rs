//! What reaches an OpenTelemetry collector: metrics, epochs, and correlations linked to the traces of their events.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpListener;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::trace::v1::Span;
use prost::Message;

use crate::harness::App;
use crate::support::client::NewRecord;
use crate::support::kafka;

const RULES: &str = r#"
id: pair
query: sequence by user with maxspan=1m [any where kind == "first"] [any where kind == "second"]
"#;

const FIRST: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

/// What a collector was sent.
#[derive(Default)]
struct Collected {
    spans: Vec<Span>,
    metrics: Vec<String>,
}

/// Listens as long as the test runs; its port and what it gets.
fn collector() -> (u16, Arc<Mutex<Collected>>) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = listener.local_addr().expect("bound").port();
    let collected = Arc::<Mutex<Collected>>::default();
    let into = Arc::clone(&collected);
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = BufReader::new(stream.expect("a connection"));
            let (mut traces, mut length) = (false, 0);
            loop {
                let mut line = String::new();
                stream.read_line(&mut line).expect("a line");
                traces |= line.starts_with("POST /v1/traces ");
                if let Some(number) = line.strip_prefix("Content-Length: ") {
                    length = number.trim().parse().expect("a number");
                }
                if line.trim().is_empty() {
                    break;
                }
            }
            let mut body = vec![0; length];
            stream.read_exact(&mut body).expect("the body");
            stream.get_mut().write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n").expect("answered");
            let mut collected = into.lock().expect("lock");
            if traces {
                let sent = ExportTraceServiceRequest::decode(&body[..]).expect("spans");
                let scopes = sent.resource_spans.into_iter().flat_map(|resource| resource.scope_spans);
                collected.spans.extend(scopes.flat_map(|scope| scope.spans));
            } else {
                let sent = ExportMetricsServiceRequest::decode(&body[..]).expect("metrics");
                let scopes = sent.resource_metrics.into_iter().flat_map(|resource| resource.scope_metrics);
                collected.metrics.extend(scopes.flat_map(|scope| scope.metrics).map(|metric| metric.name));
            }
        }
    });
    (port, collected)
}

fn event(id: &str, kind: &str, trace: Option<&str>) -> NewRecord {
    let value = format!(r#"{{"id":"{id}","kind":"{kind}","user":"ada"}}"#);
    let headers = trace.map(|trace| ("traceparent".to_owned(), Some(trace.as_bytes().to_vec())));
    NewRecord { headers: headers.into_iter().collect(), ..NewRecord::value(value).to(0) }
}

#[test]
fn a_correlation_is_a_span_that_links_to_the_traces_of_its_events_and_its_record_names_it() {
    let (port, collected) = collector();
    let app = App::new(kafka(), 1, RULES)
        .input("id: id\n    out_of_orderness: 200ms\n    idle_timeout: 300ms")
        .settings(&format!("telemetry: {{otlp_endpoint: 'http://127.0.0.1:{port}'}}"));
    // The second comes with a header that is no trace: it is not linked, and does no harm.
    app.kafka.produce(&app.topic, [event("a", "first", Some(FIRST)), event("b", "second", Some("00-nonsense"))]);
    let service = app.start("one", &[]);
    let found = app.kafka.read_committed_until(&app.output, 1, Duration::from_secs(60));
    let started = Instant::now();
    while !collected.lock().expect("lock").spans.iter().any(|span| span.name.starts_with("send ")) {
        assert!(started.elapsed() < Duration::from_secs(60), "no span comes:\n{}", service.log());
        std::thread::sleep(Duration::from_millis(50));
    }
    // What waits is sent at the end.
    let finished = service.interrupt();
    assert_eq!(finished.status, Some(0), "{}", finished.log);

    let collected = collected.lock().expect("lock");
    let span = collected.spans.iter().find(|span| span.name == format!("send {}", app.output)).expect("its span");
    let hex = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    let named = format!("00-{}-{}-01", hex(&span.trace_id), hex(&span.span_id));
    assert_eq!(found[0].header("traceparent"), Some(&*named), "the record names its span");
    let links: Vec<String> =
        span.links.iter().map(|link| format!("00-{}-{}-01", hex(&link.trace_id), hex(&link.span_id))).collect();
    assert_eq!(links, [FIRST]);
    assert!(span.start_time_unix_nano > 0 && span.start_time_unix_nano <= span.end_time_unix_nano);
    assert!(collected.spans.iter().any(|span| span.name == "commit epoch"));
    assert!(collected.metrics.iter().any(|name| name == "throughline_correlations_total"));
}

#[test]
fn a_collector_that_is_away_changes_nothing() {
    let port = TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr()).expect("a port").port();
    let app = App::new(kafka(), 1, RULES)
        .input("id: id\n    out_of_orderness: 200ms\n    idle_timeout: 300ms")
        .settings(&format!("telemetry: {{otlp_endpoint: 'http://127.0.0.1:{port}'}}"));
    app.kafka.produce(&app.topic, [event("a", "first", Some(FIRST)), event("b", "second", None)]);
    let finished = app.start("one", &["--until-end"]).wait();
    assert_eq!(finished.status, Some(0), "{}", finished.log);
    assert_eq!(app.correlations().len(), 1);
    assert!(finished.log.contains("the OpenTelemetry collector takes nothing"), "{}", finished.log);
}
