//! Topic names and regular expressions as one set: what a subscription or a look-up asks for.
//!
//! An entry that starts with `^` is a regular expression, as in librdkafka; any other is a name and matches only itself.

use regex::Regex;

use super::{BrokerError, ErrorKind};

/// Names and regular expressions.
#[derive(Debug, Clone, Default)]
pub(super) struct TopicPatterns {
    names: Vec<String>,
    expressions: Vec<Regex>,
}

impl TopicPatterns {
    /// Reads the entries; `Setting` names the expression that cannot be read.
    pub(super) fn parse(entries: &[String]) -> Result<Self, BrokerError> {
        let mut patterns = TopicPatterns::default();
        for entry in entries {
            if entry.starts_with('^') {
                let expression = Regex::new(entry).map_err(|error| {
                    BrokerError::new(
                        ErrorKind::Setting,
                        format!("topic pattern `{entry}` is not a regular expression: {error}"),
                    )
                })?;
                patterns.expressions.push(expression);
            } else {
                patterns.names.push(entry.clone());
            }
        }
        Ok(patterns)
    }

    /// Whether `topic` is asked for.
    pub(super) fn matches(&self, topic: &str) -> bool {
        self.names.iter().any(|name| name == topic) || self.expressions.iter().any(|e| e.is_match(topic))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_matches_itself_and_an_expression_what_it_describes() {
        let patterns = TopicPatterns::parse(&["a.b".into(), "^logs\\..*".into()]).expect("valid");
        let hits: Vec<_> = ["a.b", "axb", "logs.x", "my.logs.x"].into_iter().filter(|t| patterns.matches(t)).collect();
        assert_eq!(hits, ["a.b", "logs.x"]);
        let error = TopicPatterns::parse(&["^(".into()]).expect_err("invalid");
        assert_eq!(error.kind, ErrorKind::Setting);
        assert!(error.message.contains("`^(`"), "{error}");
    }
}
