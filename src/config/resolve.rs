//! From what was typed to [`Settings`]: defaults, interpretation, bounds, and whether the parts agree. A bad value is
//! reported at its place and its default taken meanwhile, so that one mistake does not hide the next.

use std::collections::BTreeMap;
use std::path::PathBuf;

use super::places::{Places, display};
use super::problem::{Problem, ProblemCode};
use super::properties::{REDACTED, refusal};
use super::settings::{
    Admin, Delivery, Input, Kafka, Locality, Pin, Settings, State, Token, Workers, topic_matches, topic_pattern_regex,
};
use super::typed;
use super::units::parse_bytes;
use crate::event::{LatePolicy, Span};
use crate::limits;

/// Resolves; what is wrong is added to `problems`, and the result is then of no use but to find more of it.
pub(super) fn resolve(typed: &typed::Config, places: &Places, problems: &mut Vec<Problem>) -> Settings {
    let mut r = Resolver { places, problems };
    let application_id = r.name(&typed.application_id, &["application_id"], limits::APPLICATION_ID_BYTES_MAX);
    let kafka = r.kafka(&typed.kafka);
    let inputs: Vec<Input> = typed.input.iter().enumerate().map(|(at, input)| r.input(at, input)).collect();
    let settings = Settings {
        application_id: application_id.unwrap_or_else(|| "throughline".into()),
        instance: r.instance(&typed.instance),
        kafka,
        inputs,
        rule_paths: r.rule_paths(&typed.rules),
        output_topic: r.topic(&typed.output.topic, &["output", "topic"], "correlations"),
        dead_letter_topic: r.topic(&typed.dead_letter.topic, &["dead_letter", "topic"], "throughline-dlq"),
        delivery: match typed.delivery {
            None | Some(typed::Delivery::ExactlyOnce) => Delivery::ExactlyOnce,
            Some(typed::Delivery::AtLeastOnce) => Delivery::AtLeastOnce,
        },
        epoch: r.epoch(&typed.epoch),
        locality: r.locality(typed.locality),
        dedup_window: r.span(&typed.dedup.window, &["dedup", "window"], Span::from_secs(3600)),
        state: r.state(&typed.state),
        workers: r.workers(&typed.workers),
        admin: r.admin(&typed.admin),
        otlp_endpoint: r.endpoint(&typed.telemetry),
        drain_timeout: r.span(&typed.drain_timeout, &["drain_timeout"], Span::from_secs(30)),
    };
    r.no_topic_twice(&settings);
    r.no_loop(&settings);
    settings
}

struct Resolver<'a> {
    places: &'a Places,
    problems: &'a mut Vec<Problem>,
}

impl Resolver<'_> {
    fn report(&mut self, path: &[&str], code: ProblemCode, message: String, help: Option<&str>) {
        self.problems.push(Problem::at(self.places.find(path), code, message, help.map(str::to_owned)));
    }

    fn bad(&mut self, path: &[&str], message: String, help: Option<&str>) {
        self.report(path, ProblemCode::BadValue, message, help);
    }

    fn span(&mut self, typed: &Option<typed::Duration>, path: &[&str], default: Span) -> Span {
        match typed.as_ref().map(|text| Span::parse(&text.0)) {
            None => default,
            Some(Ok(span)) => span,
            Some(Err(error)) => {
                self.bad(path, format!("`{}`: {error}", display(path)), None);
                default
            }
        }
    }

    fn epoch(&mut self, typed: &Option<typed::Duration>) -> Span {
        let default = Span::from_millis(200);
        let epoch = self.span(typed, &["epoch"], default);
        if epoch < limits::EPOCH_MIN || epoch > limits::EPOCH_MAX {
            let (min, max) = (limits::EPOCH_MIN, limits::EPOCH_MAX);
            self.bad(&["epoch"], format!("`epoch` must be from {min} to {max}, not {epoch}"), None);
            return default;
        }
        epoch
    }

    /// A name that Kafka takes as (part of) a topic name, group id or instance id.
    fn name(&mut self, typed: &Option<String>, path: &[&str], bytes_max: usize) -> Option<String> {
        let name = typed.clone()?;
        match name_fault(&name, bytes_max) {
            None => Some(name),
            Some(fault) => {
                self.bad(path, format!("`{}`: `{name}` {fault}", path.join(".")), None);
                None
            }
        }
    }

    fn instance(&mut self, typed: &Option<String>) -> String {
        if typed.is_some() {
            return self.name(typed, &["instance"], limits::APPLICATION_ID_BYTES_MAX).unwrap_or_default();
        }
        let host = hostname::get().ok().and_then(|name| name.into_string().ok()).unwrap_or_default();
        if let Some(fault) = name_fault(&host, limits::APPLICATION_ID_BYTES_MAX) {
            let message = format!("`instance` is not set, and the host name `{host}` {fault}");
            self.bad(&["instance"], message, Some("set `instance` to a name that only this process has"));
        }
        host
    }

    fn topic(&mut self, typed: &Option<String>, path: &[&str], default: &str) -> String {
        self.name(typed, path, limits::TOPIC_BYTES_MAX).unwrap_or_else(|| default.to_owned())
    }

    fn kafka(&mut self, typed: &typed::Kafka) -> Kafka {
        let brokers = typed.brokers.clone().unwrap_or_else(|| "localhost:9092".into());
        for broker in brokers.split(',').map(str::trim) {
            let (host, port) = broker.rsplit_once(':').unwrap_or((broker, ""));
            if host.is_empty() || !port.parse::<u16>().is_ok_and(|port| port > 0) {
                let message = format!("`kafka.brokers`: `{broker}` is not `host:port`");
                self.bad(&["kafka", "brokers"], message, Some("e.g. broker-1:9092,broker-2:9092"));
            }
        }
        let mut properties = BTreeMap::new();
        for (name, value) in &typed.properties {
            let path = ["kafka", "properties", name];
            if let Some((reason, help)) = refusal(name) {
                self.report(&path, ProblemCode::RefusedProperty, format!("`{name}` may not be set: it {reason}"), help);
            } else if value == REDACTED {
                let message = format!("`{name}` is `{REDACTED}`, which stands for a hidden value");
                self.bad(&path, message, Some("`config show` hides secrets; put the value in again"));
            } else {
                properties.insert(name.clone(), value.clone());
            }
        }
        Kafka { brokers, properties }
    }

    fn input(&mut self, at: usize, typed: &typed::Input) -> Input {
        let number = at.to_string();
        let path = |key: &'static str| ["input".to_owned(), number.clone(), key.to_owned()];
        let mut span = |typed: &Option<typed::Duration>, key: &'static str, default: Span| {
            let path = path(key);
            self.span(typed, &[&path[0], &path[1], &path[2]], default)
        };
        let mut input = Input::of_topics(Vec::new());
        input.out_of_orderness = span(&typed.out_of_orderness, "out_of_orderness", input.out_of_orderness);
        input.idle_timeout = span(&typed.idle_timeout, "idle_timeout", input.idle_timeout);
        input.max_skew = span(&typed.max_skew, "max_skew", input.max_skew);
        input.max_future = span(&typed.max_future, "max_future", input.max_future);
        input.topics = self.input_topics(&number, typed.topics.as_ref());
        input.late = match typed.late {
            None | Some(typed::Late::Dlq) => LatePolicy::Dlq,
            Some(typed::Late::Process) => LatePolicy::Process,
            Some(typed::Late::Drop) => LatePolicy::Drop,
        };
        input.time_field = self.fields(&number, &["time", "field"], typed.time.field.as_slice()).pop();
        if let Some(ids) = &typed.id {
            input.id_fields = self.fields(&number, &["id"], ids.as_slice());
        }
        if let Some(category) = self.fields(&number, &["category"], typed.category.as_slice()).pop() {
            input.category_field = category;
        }
        input.sigma = typed.sigma.clone().unwrap_or_default();
        input
    }

    fn input_topics(&mut self, number: &str, typed: Option<&typed::OneOrMany>) -> Vec<String> {
        let topics = typed.map(|topics| topics.as_slice().to_vec()).unwrap_or_default();
        if topics.is_empty() {
            // If the key is there but its value was bad, that has been said already.
            let known = self.problems.iter().any(|p| p.message.contains(&format!("`input[{number}].topics")));
            if !known {
                let help = Some("write e.g. topics: [security-events] or topics: [\"^logs\\\\..*\"]");
                self.bad(&["input", number, "topics"], format!("`input[{number}]` names no topics"), help);
            }
        }
        for (at, topic) in topics.iter().enumerate() {
            let fault = match topic_pattern_regex(topic) {
                Some(Ok(_)) => None,
                Some(Err(error)) => {
                    // The library's message spans lines to draw a caret; its last line says what is wrong.
                    let text = error.to_string();
                    let last = text.lines().last().unwrap_or_default().trim_start_matches("error: ").to_owned();
                    Some(format!("is no regular expression: {last}"))
                }
                None => name_fault(topic, limits::TOPIC_BYTES_MAX),
            };
            if let Some(fault) = fault {
                let at = at.to_string();
                let message = format!("`input[{number}].topics`: `{topic}` {fault}");
                self.bad(&["input", number, "topics", &at], message, None);
            }
        }
        topics
    }

    /// Paths of fields: not empty, no empty segment.
    fn fields(&mut self, number: &str, key: &[&str], fields: &[String]) -> Vec<String> {
        for field in fields {
            if field.split('.').any(|part| part.trim().is_empty()) {
                let path: Vec<&str> = ["input", number].into_iter().chain(key.iter().copied()).collect();
                let message = format!("`input[{number}].{}`: `{field}` is no field path", key.join("."));
                self.bad(&path, message, Some("e.g. event.id"));
            }
        }
        fields.to_vec()
    }

    fn rule_paths(&mut self, typed: &typed::Rules) -> Vec<PathBuf> {
        let paths = typed.paths.clone().unwrap_or_else(|| vec!["rules/".into()]);
        if paths.is_empty() || paths.iter().any(|path| path.trim().is_empty()) {
            let help = Some("name rule files or directories, e.g. paths: [rules/]");
            self.bad(&["rules", "paths"], "`rules.paths` names nothing".into(), help);
        }
        paths.into_iter().map(PathBuf::from).collect()
    }

    fn locality(&mut self, typed: Option<typed::Locality>) -> Locality {
        match typed {
            None | Some(typed::Locality::Instance) => Locality::Instance,
            Some(typed::Locality::Partition) => Locality::Partition,
            Some(typed::Locality::Repartition) => {
                let message = "`locality: repartition` is not available in this version".into();
                let help = "use `instance`, or `partition` if the inputs are partitioned by the correlation key";
                self.report(&["locality"], ProblemCode::NotAvailable, message, Some(help));
                Locality::Repartition
            }
        }
    }

    fn state(&mut self, typed: &typed::State) -> State {
        let day = Span::from_secs(24 * 3600);
        let (warm, cold) = (["state", "warm_ttl"], ["state", "cold_ttl"]);
        let warm_ttl = self.span(&typed.warm_ttl, &warm, day);
        let cold_ttl = self.span(&typed.cold_ttl, &cold, Span(day.0 * 7));
        if cold_ttl < warm_ttl {
            let message = format!("`state.cold_ttl` ({cold_ttl}) is shorter than `state.warm_ttl` ({warm_ttl})");
            self.report(&cold, ProblemCode::Conflict, message, Some("state on disk is warm first, then cold"));
        }
        let memory_path = ["state", "memory"];
        let mut memory_bytes = limits::STATE_MEMORY_BYTES_DEFAULT;
        if let Some(text) = &typed.memory {
            let min = super::units::format_bytes(limits::STATE_MEMORY_BYTES_MIN as u64);
            match parse_bytes(&text.0).and_then(|bytes| usize::try_from(bytes).ok()) {
                Some(bytes) if bytes >= limits::STATE_MEMORY_BYTES_MIN => memory_bytes = bytes,
                Some(_) => self.bad(&memory_path, format!("`state.memory` must be at least {min}"), None),
                None => {
                    let message = format!("`state.memory`: `{}` is not a size", text.0);
                    self.bad(&memory_path, message, Some("write a whole number and a unit, e.g. 256MiB, 2GiB"));
                }
            }
        }
        let directory = typed.directory.clone().unwrap_or_else(|| "./state".into());
        if directory.trim().is_empty() {
            self.bad(&["state", "directory"], "`state.directory` is empty".into(), None);
        }
        State { directory: directory.into(), memory_bytes, warm_ttl, cold_ttl }
    }

    fn workers(&mut self, typed: &typed::Workers) -> Workers {
        let shards = self.count(typed.shards, &["workers", "shards"]);
        let sources = self.count(typed.sources, &["workers", "sources"]);
        let pin = match &typed.pin {
            None | Some(typed::Pin::Word(typed::PinWord::Auto)) => Pin::Auto,
            Some(typed::Pin::Word(typed::PinWord::Off)) => Pin::Off,
            Some(typed::Pin::Cores(cores)) => {
                let mut sorted = cores.clone();
                sorted.sort_unstable();
                sorted.dedup();
                if cores.is_empty() || sorted.len() < cores.len() {
                    let help = Some("name each core once, e.g. pin: [2, 3], or write pin: off");
                    self.bad(&["workers", "pin"], "`workers.pin` is empty or names a core twice".into(), help);
                }
                Pin::List(cores.iter().filter_map(|core| usize::try_from(*core).ok()).collect())
            }
        };
        Workers { shards, sources, pin }
    }

    fn count(&mut self, typed: Option<typed::Count>, path: &[&str]) -> Option<usize> {
        let Some(typed::Count::Number(number)) = typed else { return None };
        let number = usize::try_from(number).unwrap_or(usize::MAX);
        if number == 0 || number > limits::WORKERS_MAX {
            let message = format!("`{}` must be `auto` or from 1 to {}", path.join("."), limits::WORKERS_MAX);
            self.bad(path, message, None);
            return None;
        }
        Some(number)
    }

    fn admin(&mut self, typed: &typed::Admin) -> Admin {
        let mut admin = Admin::default();
        match typed.listen.as_deref() {
            None => {}
            Some("off") => admin.listen = None,
            Some(text) => match text.parse() {
                Ok(address) => admin.listen = Some(address),
                Err(_) => {
                    let message = format!("`admin.listen`: `{text}` is not an address and a port");
                    self.bad(&["admin", "listen"], message, Some("e.g. 127.0.0.1:9470 or [::]:9470, or off"));
                }
            },
        }
        admin.token = match (&typed.token, &typed.token_file) {
            (Some(_), Some(_)) => {
                let message = "`admin.token` and `admin.token_file` are both set".into();
                self.report(&["admin", "token_file"], ProblemCode::Conflict, message, Some("set one of them"));
                None
            }
            // The message does not repeat it: it goes to logs.
            (Some(token), None) if token.len() < limits::ADMIN_TOKEN_BYTES_MIN || !token.bytes().all(visible) => {
                let message =
                    format!("`admin.token` must have at least {} visible characters", limits::ADMIN_TOKEN_BYTES_MIN);
                self.bad(&["admin", "token"], message, Some("e.g. from: openssl rand -hex 32"));
                None
            }
            (Some(token), None) => Some(Token::Value(token.clone())),
            (None, file) => file.clone().map(|path| Token::File(path.into())),
        };
        let named = typed.token.is_some() || typed.token_file.is_some();
        if let Some(address) = admin.listen.filter(|address| !address.ip().is_loopback() && !named) {
            let message =
                format!("`admin.listen`: {address} can be reached from other machines, and there is no token");
            let help = "set `admin.token_file` or THROUGHLINE_ADMIN__TOKEN, or listen on 127.0.0.1";
            self.report(&["admin", "listen"], ProblemCode::Conflict, message, Some(help));
        }
        admin
    }

    fn endpoint(&mut self, typed: &typed::Telemetry) -> Option<String> {
        let text = typed.otlp_endpoint.as_deref()?;
        let host = text.strip_prefix("http://").map(|rest| rest.trim_end_matches('/'));
        if host.is_none_or(|host| host.is_empty() || host.contains(['@', '?', '#', ' '])) {
            let message = format!("`telemetry.otlp_endpoint`: `{text}` is not a URL that begins with http://");
            let help = "e.g. http://localhost:4318; for TLS run a collector beside this process";
            self.bad(&["telemetry", "otlp_endpoint"], message, Some(help));
            return None;
        }
        Some(text.trim_end_matches('/').to_owned())
    }

    fn no_topic_twice(&mut self, settings: &Settings) {
        let all: Vec<(usize, usize, &str)> = settings
            .inputs
            .iter()
            .enumerate()
            .flat_map(|(i, input)| input.topics.iter().enumerate().map(move |(t, topic)| (i, t, topic.as_str())))
            .collect();
        for (later, &(input, at, topic)) in all.iter().enumerate() {
            let clash = all[..later]
                .iter()
                .find(|(_, _, other)| *other == topic || topic_matches(other, topic) || topic_matches(topic, other));
            let Some((first, _, other)) = clash else { continue };
            let (number, at) = (input.to_string(), at.to_string());
            let message = match *other == topic {
                true => format!("topic `{topic}` is named twice: in `input[{first}]` and in `input[{input}]`"),
                false => format!("`{topic}` in `input[{input}]` and `{other}` in `input[{first}]` name the same topic"),
            };
            let help = Some("a topic is read in one way: name it in one input");
            self.report(&["input", &number, "topics", &at], ProblemCode::Conflict, message, help);
        }
    }

    /// Reading what we write would feed a correlation back for ever.
    fn no_loop(&mut self, settings: &Settings) {
        let outputs = [
            (&["output", "topic"], &settings.output_topic, "correlations"),
            (&["dead_letter", "topic"], &settings.dead_letter_topic, "dead letters"),
        ];
        for (path, topic, what) in outputs {
            if let Some(at) = settings.inputs.iter().position(|input| input.reads(topic)) {
                let message =
                    format!("{what} go to `{topic}`, which `input[{at}]` reads: they would come back for ever");
                self.report(path.as_slice(), ProblemCode::Conflict, message, Some("use another topic"));
            }
        }
        if settings.output_topic == settings.dead_letter_topic {
            let message = format!("correlations and dead letters both go to `{}`", settings.output_topic);
            self.report(&["dead_letter", "topic"], ProblemCode::Conflict, message, Some("use two topics"));
        }
    }
}

/// What may stand in a header as it is.
fn visible(byte: u8) -> bool {
    byte.is_ascii_graphic()
}

/// What keeps Kafka from taking this as a name.
fn name_fault(name: &str, bytes_max: usize) -> Option<String> {
    let legal = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
    if name.is_empty() || name == "." || name == ".." {
        Some("is no name".into())
    } else if let Some(odd) = name.chars().find(|c| !legal(*c)) {
        Some(format!("contains `{odd}`: Kafka allows letters, digits, `.`, `_` and `-`"))
    } else if name.len() > bytes_max {
        Some(format!("is longer than {bytes_max} characters"))
    } else {
        None
    }
}
