//! The generator's promise: the starter rules find each planted incident, as it was foretold, and nothing else.

use throughline::event::Span;
use throughline::generate::{Generator, Kind, Options};

use crate::support::{Found, Stream, rules, run_rules};

/// Runs all starter rules over a stream and compares with what the generator foretells.
fn check(options: Options) {
    let kind = options.kind.name();
    let stream = Stream { out_of_orderness: options.disorder, ..Stream::ECS };
    let mut generator = Generator::new(options);
    let (mut buf, mut lines) = (Vec::new(), Vec::new());
    while generator.next(&mut buf).is_some() {
        lines.push(buf.clone());
    }
    let mut expected: Vec<Found> = generator
        .expected()
        .iter()
        .map(|e| Found {
            rule: e.rule.to_owned(),
            key: e.key.iter().map(|(name, value)| ((*name).to_owned(), value.clone())).collect(),
            events: e.events.clone(),
        })
        .collect();
    let mut found: Vec<Found> = run_rules(&[rules("")], &lines, &stream).iter().map(Found::of).collect();
    expected.sort();
    found.sort();
    assert!(expected.len() > 10, "{kind}: only {} incidents", expected.len());
    for (found, expected) in found.iter().zip(&expected) {
        assert_eq!(found, expected, "{kind}");
    }
    assert_eq!(found.len(), expected.len(), "{kind}: {:?}", found.last());
}

#[test]
fn planted_incidents_are_found_and_near_misses_are_not() {
    for kind in Kind::ALL {
        check(Options { kind, count: Some(50_000), ..Options::default() });
    }
}

#[test]
fn disorder_and_duplicates_change_nothing() {
    for kind in Kind::ALL {
        let disorder = Span::from_secs(2);
        let rate = Some(500);
        check(Options {
            kind,
            count: Some(50_000),
            rate,
            disorder,
            duplicates_per_mille: 50,
            seed: 7,
            ..Options::default()
        });
    }
}

#[test]
fn few_keys_do_not_make_background_events_an_incident() {
    for kind in Kind::ALL {
        check(Options { kind, count: Some(30_000), keys: 3, rate: Some(20_000), seed: 3, ..Options::default() });
    }
}
