//! Spans and metrics to an OpenTelemetry collector: OTLP over HTTP, binary.
//!
//! Whoever makes a span hands it to a [`Tracer`] and never waits: what the collector does not take is given up and counted, a
//! collector that is down costs nothing else. A thread of its own sends; metrics are the same [`Snapshot`] that is exposed.
//! Few things are spans: correlations and epochs, nothing per event.

mod encode;
mod export;

pub use export::{Exporter, StartError};

use std::borrow::Cow;
use std::sync::Arc;

use crossbeam_channel::Sender;

use super::metrics::{OtlpMetrics, Snapshot};

/// Spans that may wait to be sent: some seconds of thousands a second.
const WAITING_MAX: usize = 8192;

/// A span of somebody's trace, to be linked to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Link {
    /// The trace.
    pub trace: u128,
    /// The span in it.
    pub span: u64,
    /// Its trace flags.
    pub flags: u8,
}

/// Which side of a message a span is on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SpanKind {
    /// Neither.
    Internal,
    /// It creates a message.
    Producer,
}

/// A value of an attribute.
#[derive(Debug, Clone, PartialEq)]
pub enum Attribute {
    /// A text.
    Text(Cow<'static, str>),
    /// A whole number.
    Int(i64),
}

/// Something that took time.
#[derive(Debug, Clone, PartialEq)]
pub struct Span {
    /// The trace.
    pub trace: u128,
    /// Its own id.
    pub span: u64,
    /// Of a low number of different ones.
    pub name: Cow<'static, str>,
    /// Which side of a message.
    pub kind: SpanKind,
    /// Begin, nanoseconds since the epoch.
    pub start: i64,
    /// End, nanoseconds since the epoch.
    pub end: i64,
    /// What is known of it.
    pub attributes: Vec<(&'static str, Attribute)>,
    /// What led to it.
    pub links: Vec<Link>,
}

/// Takes spans. One thread at a time gives them.
#[derive(Debug, Clone)]
pub struct Tracer {
    spans: Sender<Span>,
    metrics: Arc<OtlpMetrics>,
}

impl Tracer {
    /// Hands a span over, or gives it up.
    pub fn give(&self, span: Span) {
        if self.spans.try_send(span).is_err() {
            self.give_up();
        }
    }

    /// A span is not even made.
    pub fn give_up(&self) {
        self.metrics.dropped.add(1);
    }
}

/// What is told of the sender with everything that is sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Resource {
    /// `service.namespace`: the application.
    pub application: String,
    /// `service.instance.id`.
    pub instance: String,
}

/// Gives the metrics as they stand.
pub type Read = Box<dyn Fn() -> Snapshot + Send>;
