//! Which librdkafka properties may be set, and which may be shown.
//!
//! Refused are those that run code or load libraries (whoever may write the configuration is not thereby allowed to run
//! programs) and those that the promises of this program rest on.

/// Why a property is refused and what to do instead; `None`: it may be set.
pub(super) fn refusal(name: &str) -> Option<(&'static str, Option<&'static str>)> {
    const CODE: &str = "runs code or loads a library";
    const OWN: &str = "is set by Throughline; its guarantees rest on it";
    Some(match name {
        "plugin.library.paths" | "ssl.engine.location" | "ssl.engine.id" | "ssl.providers" => (CODE, None),
        // All of them are pasted into a command that a shell runs.
        _ if name.starts_with("sasl.kerberos.") => (CODE, Some("use another `sasl.mechanism`, e.g. SCRAM-SHA-512")),
        "opaque" | "default_topic_conf" | "ssl_engine_callback_data" => (CODE, None),
        _ if name.ends_with("_cb") || name.ends_with(".cb") => (CODE, None),
        "sasl.jaas.config" => (
            "is a property of the Java client",
            Some("set `sasl.username` and `sasl.password` (better: THROUGHLINE_KAFKA__PROPERTIES__SASL__PASSWORD)"),
        ),
        "bootstrap.servers" | "metadata.broker.list" => (OWN, Some("set `kafka.brokers`")),
        "group.id" | "transactional.id" => (OWN, Some("set `application_id`")),
        "group.instance.id" => (OWN, Some("set `instance`")),
        "isolation.level" | "enable.idempotence" => (OWN, Some("set `delivery`")),
        "enable.auto.commit" | "enable.auto.offset.store" | "auto.commit.interval.ms" => (OWN, None),
        "partition.assignment.strategy" | "group.protocol" | "group.remote.assignor" => (OWN, None),
        "enable.partition.eof" | "acks" | "request.required.acks" => (OWN, None),
        _ => return None,
    })
}

/// What `config show` prints for the value of a property that is not known to be harmless.
pub(super) const REDACTED: &str = "***";

/// Whether the value may be printed. A list of what is harmless, not of what is secret: a property that is forgotten here is
/// hidden, not leaked.
pub(super) fn is_printable(name: &str) -> bool {
    const NAMES: [&str; 14] = [
        "security.protocol",
        "sasl.mechanism",
        "sasl.mechanisms",
        "sasl.username",
        "ssl.ca.location",
        "ssl.certificate.location",
        "ssl.key.location",
        "ssl.cipher.suites",
        "ssl.endpoint.identification.algorithm",
        "enable.ssl.certificate.verification",
        "client.id",
        "client.rack",
        "auto.offset.reset",
        "check.crcs",
    ];
    const FAMILIES: [&str; 24] = [
        "api.version.",
        "batch.",
        "broker.address.",
        "compression.",
        "connections.",
        "debug",
        "delivery.timeout.",
        "fetch.",
        "heartbeat.",
        "linger.",
        "log.",
        "max.",
        "message.",
        "metadata.max.",
        "queue.buffering.",
        "queued.",
        "reconnect.",
        "request.timeout.",
        "retry.",
        "session.timeout.",
        "socket.",
        "statistics.",
        "topic.metadata.",
        "transaction.timeout.",
    ];
    NAMES.contains(&name) || FAMILIES.iter().any(|family| name.starts_with(family))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_runs_code_or_breaks_the_guarantees_is_refused() {
        for name in [
            "plugin.library.paths",
            "ssl.engine.location",
            "ssl.providers",
            "sasl.kerberos.kinit.cmd",
            "sasl.kerberos.keytab",
            "oauthbearer_token_refresh_cb",
            "enable.auto.commit",
            "group.id",
        ] {
            assert!(refusal(name).is_some(), "{name}");
        }
        for name in ["security.protocol", "sasl.password", "fetch.min.bytes", "sasl.oauthbearer.client.id"] {
            assert!(refusal(name).is_none(), "{name}");
        }
    }

    #[test]
    fn only_what_is_known_to_be_harmless_is_printed() {
        for name in ["sasl.password", "ssl.key.password", "ssl.key.pem", "sasl.oauthbearer.client.secret", "unheard.of"]
        {
            assert!(!is_printable(name), "{name}");
        }
        assert!(is_printable("security.protocol"));
        assert!(is_printable("fetch.min.bytes"));
    }
}
