//! Settings back into the form in which they are typed: for `config show`, and to be fed back.

use super::properties::{REDACTED, is_printable};
use super::settings::{Admin, Delivery, Input, Locality, Pin, Settings, Token};
use super::typed;
use super::units::format_bytes;
use crate::event::{LatePolicy, Span};

impl Settings {
    /// As typed: every key present, secrets replaced by `***`.
    pub fn to_typed(&self) -> typed::Config {
        let shown = |(name, value): (&String, &String)| {
            let value = if is_printable(name) { value.clone() } else { REDACTED.into() };
            (name.clone(), value)
        };
        typed::Config {
            application_id: Some(self.application_id.clone()),
            instance: Some(self.instance.clone()),
            kafka: typed::Kafka {
                brokers: Some(self.kafka.brokers.clone()),
                properties: self.kafka.properties.iter().map(shown).collect(),
            },
            input: self.inputs.iter().map(input).collect(),
            rules: typed::Rules { paths: Some(self.rule_paths.iter().map(|p| p.display().to_string()).collect()) },
            output: typed::Output { topic: Some(self.output_topic.clone()) },
            dead_letter: typed::DeadLetter { topic: Some(self.dead_letter_topic.clone()) },
            delivery: Some(match self.delivery {
                Delivery::ExactlyOnce => typed::Delivery::ExactlyOnce,
                Delivery::AtLeastOnce => typed::Delivery::AtLeastOnce,
            }),
            epoch: duration(self.epoch),
            locality: Some(match self.locality {
                Locality::Instance => typed::Locality::Instance,
                Locality::Partition => typed::Locality::Partition,
                Locality::Repartition => typed::Locality::Repartition,
            }),
            dedup: typed::Dedup { window: duration(self.dedup_window) },
            state: typed::State {
                directory: Some(self.state.directory.display().to_string()),
                memory: Some(typed::ByteSize(format_bytes(self.state.memory_bytes as u64))),
                warm_ttl: duration(self.state.warm_ttl),
                cold_ttl: duration(self.state.cold_ttl),
            },
            workers: typed::Workers {
                shards: Some(count(self.workers.shards)),
                sources: Some(count(self.workers.sources)),
                pin: Some(match &self.workers.pin {
                    Pin::Auto => typed::Pin::Word(typed::PinWord::Auto),
                    Pin::Off => typed::Pin::Word(typed::PinWord::Off),
                    Pin::List(cores) => {
                        typed::Pin::Cores(cores.iter().map(|core| u32::try_from(*core).unwrap_or(u32::MAX)).collect())
                    }
                }),
            },
            admin: admin(&self.admin),
            telemetry: typed::Telemetry { otlp_endpoint: self.otlp_endpoint.clone() },
            drain_timeout: duration(self.drain_timeout),
        }
    }

    /// The settings as YAML that can be read again, secrets replaced by `***`.
    pub fn to_yaml(&self) -> String {
        let mut text = String::new();
        match serde_saphyr::to_fmt_writer(&mut text, &self.to_typed()) {
            Ok(()) => text,
            // Strings, numbers, lists and maps: there is nothing in it that YAML cannot hold.
            Err(error) => format!("# cannot be shown: {error}\n"),
        }
    }
}

fn admin(admin: &Admin) -> typed::Admin {
    let (token, token_file) = match &admin.token {
        None => (None, None),
        Some(Token::Value(_)) => (Some(REDACTED.into()), None),
        Some(Token::File(path)) => (None, Some(path.display().to_string())),
    };
    let listen = admin.listen.map_or_else(|| "off".into(), |address| address.to_string());
    typed::Admin { listen: Some(listen), token, token_file }
}

fn duration(span: Span) -> Option<typed::Duration> {
    Some(typed::Duration(span.to_string()))
}

fn count(count: Option<usize>) -> typed::Count {
    match count {
        None => typed::Count::Auto(typed::Auto::Auto),
        Some(n) => typed::Count::Number(u32::try_from(n).unwrap_or(u32::MAX)),
    }
}

fn input(input: &Input) -> typed::Input {
    typed::Input {
        topics: Some(typed::OneOrMany::Many(input.topics.clone())),
        time: typed::Time { field: input.time_field.clone() },
        id: match input.id_fields.as_slice() {
            [] => None,
            [one] => Some(typed::OneOrMany::One(one.clone())),
            many => Some(typed::OneOrMany::Many(many.to_vec())),
        },
        category: Some(input.category_field.clone()),
        out_of_orderness: duration(input.out_of_orderness),
        idle_timeout: duration(input.idle_timeout),
        late: Some(match input.late {
            LatePolicy::Process => typed::Late::Process,
            LatePolicy::Dlq => typed::Late::Dlq,
            LatePolicy::Drop => typed::Late::Drop,
        }),
        max_skew: duration(input.max_skew),
        max_future: duration(input.max_future),
        sigma: (!input.sigma.is_empty()).then(|| input.sigma.clone()),
    }
}
