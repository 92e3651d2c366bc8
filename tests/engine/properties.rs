//! Engine and oracle agree, and neither shards, batches, watermarks, arrival order within `out_of_orderness` nor
//! duplicates decide what is found (INV-ORDER, INV-ONCE, INV-COUNT).

use std::collections::BTreeSet;
use std::fmt;

use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::{Config, TestRunner};

use throughline::event::Outcome;

use crate::drive::{self, Way};
use crate::generators;
use crate::oracle::event::{Event, Field, Value};
use crate::oracle::rule::{Body, By, Measure, Refire, Rule};
use crate::oracle::{self, yaml};

/// Rules and events, printed as a person would write them.
#[derive(Clone)]
struct Scene {
    rules: Vec<Rule>,
    events: Vec<Event>,
}

impl fmt::Debug for Scene {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "\n{}", yaml::render_all(&self.rules))?;
        self.events.iter().try_for_each(|event| writeln!(f, "{event}"))
    }
}

fn scene() -> impl Strategy<Value = Scene> {
    (generators::rules(3), generators::events(40)).prop_map(|(rules, events)| Scene { rules, events })
}

fn config() -> Config {
    let asked = std::env::var("THROUGHLINE_PROPTEST_CASES").ok();
    let cases = asked.map_or(CASES, |text| text.parse().expect("THROUGHLINE_PROPTEST_CASES is a number of cases"));
    // A failure becomes a test of its own in `regressions`, by hand: seeds say nothing to a reader.
    Config { cases, failure_persistence: None, max_shrink_iters: 20_000, ..Config::default() }
}

/// Cases of each property by default: the three properties together take some seconds in the dev profile.
const CASES: u32 = 1000;

fn way() -> impl Strategy<Value = Way> {
    let every = prop_oneof![3 => (1..=20usize).prop_map(Some), 1 => Just(None)];
    let late = prop_oneof![Just(0i64), Just(500), Just(2000), Just(60_000)];
    (prop_oneof![Just(1usize), Just(2), Just(8)], 1..=64usize, every, late, any::<bool>()).prop_map(
        |(shards, batch, watermark_every, out_of_orderness_ms, sweeps_later)| Way {
            shards,
            batch,
            watermark_every,
            out_of_orderness_ms,
            epochs: Vec::new(),
            budget: None,
            sweeps_later,
        },
    )
}

/// An order of arrival in which no event is late: each is held back by at most `out_of_orderness`.
fn shuffled(events: &[Event], way: &Way, delays: &[u16]) -> Vec<Event> {
    let mut arrivals: Vec<(i64, u16, &Event)> = events
        .iter()
        .zip(delays)
        .map(|(event, delay)| {
            (event.time_ms + i64::from(*delay) * way.out_of_orderness_ms / i64::from(u16::MAX), *delay, event)
        })
        .collect();
    arrivals.sort_by_key(|(at, delay, _)| (*at, *delay));
    arrivals.into_iter().map(|(_, _, event)| event.clone()).collect()
}

/// A copy of an event that comes again: elsewhere, perhaps with an older time.
fn copy(event: &Event, older_ms: i64) -> Event {
    let partition = (event.partition + 1) % generators::PARTITIONS;
    Event { partition, offset: event.offset + 1000, time_ms: event.time_ms - older_ms, ..event.clone() }
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn the_engine_finds_what_the_rules_say(scene in scene()) {
        let expected = oracle::evaluate(&scene.rules, &scene.events);
        let found = drive::run(&scene.rules, &scene.events, &Way::PLAIN);
        let report = drive::disagreement(&scene.rules, &scene.events, &expected, &found.findings());
        prop_assert!(found.findings() == expected, "{report}");
        let ids: BTreeSet<&String> = found.findings.iter().map(|(_, id)| id).collect();
        prop_assert_eq!(ids.len(), found.findings.len(), "two correlations with one id: {:#?}", found.findings);
    }

    #[test]
    fn neither_shards_batches_watermarks_nor_arrival_decide_anything(
        scene in scene(),
        way in way(),
        delays in proptest::collection::vec(any::<u16>(), 40),
    ) {
        let plain = drive::run(&scene.rules, &scene.events, &Way::PLAIN);
        let arrivals = shuffled(&scene.events, &way, &delays);
        let found = drive::run(&scene.rules, &arrivals, &way);
        let report = drive::disagreement(&scene.rules, &arrivals, &plain.findings(), &found.findings());
        prop_assert!(found.findings() == plain.findings(), "{report}");
        prop_assert_eq!(found.findings, plain.findings, "the same findings with other ids");
        prop_assert_eq!(found.counts, plain.counts);
    }

    #[test]
    fn restarts_from_what_was_stored_change_nothing(
        scene in scene(),
        way in way(),
        delays in proptest::collection::vec(any::<u16>(), 40),
        again in proptest::collection::vec((0..40usize, 0..40usize), 0..6),
        epochs in proptest::collection::vec((1..46usize, proptest::option::of(1..=5usize)), 1..12),
        budget in proptest::option::weighted(0.7, prop_oneof![Just(0usize), 0..20_000usize]),
    ) {
        let mut arrivals = shuffled(&scene.events, &way, &delays);
        for (number, (of, behind)) in again.into_iter().enumerate() {
            let Some(original) = scene.events.get(of) else { continue };
            let at = arrivals.iter().position(|event| event == original).expect("it is there");
            let mut copy = copy(original, 0);
            copy.offset += number as i64;
            arrivals.insert((at + 1 + behind).min(arrivals.len()), copy);
        }
        let uninterrupted = drive::run(&scene.rules, &arrivals, &way);
        let found = drive::run(&scene.rules, &arrivals, &Way { epochs, budget, ..way });
        let report = drive::disagreement(&scene.rules, &arrivals, &uninterrupted.findings(), &found.findings());
        prop_assert!(found.findings() == uninterrupted.findings(), "{report}");
        prop_assert_eq!(found, uninterrupted);
    }

    #[test]
    fn duplicates_change_nothing_but_the_counter(
        scene in scene(),
        way in way(),
        delays in proptest::collection::vec(any::<u16>(), 40),
        again in proptest::collection::vec((0..40usize, 0..40usize, 0..3i64), 0..12),
    ) {
        let plain = drive::run(&scene.rules, &scene.events, &Way::PLAIN);
        // Each copy comes somewhere behind its original, also with an older time, also when that makes it late.
        let mut arrivals = shuffled(&scene.events, &way, &delays);
        let mut copies = Vec::new();
        for (of, behind, older) in again {
            let Some(original) = scene.events.get(of) else { continue };
            let at = arrivals.iter().position(|event| event == original).expect("it is there");
            let mut copy = copy(original, older * 700);
            copy.offset += copies.len() as i64;
            arrivals.insert((at + 1 + behind).min(arrivals.len()), copy);
            copies.push(original.clone());
        }
        let found = drive::run(&scene.rules, &arrivals, &way);
        let report = drive::disagreement(&scene.rules, &arrivals, &plain.findings(), &found.findings());
        prop_assert!(found.findings() == plain.findings(), "{report}");
        prop_assert_eq!(&found.findings, &plain.findings, "the same findings with other ids");
        let routed_alone = |event: &Event| drive::routed(&drive::run(&scene.rules, std::slice::from_ref(event), &Way::PLAIN));
        let repeated: u64 = copies.iter().map(routed_alone).sum();
        prop_assert_eq!(found.counts.get(Outcome::Duplicate), repeated);
        prop_assert_eq!(found.counts.get(Outcome::Matched), plain.counts.get(Outcome::Matched));
        prop_assert_eq!(found.counts.get(Outcome::Late), 0, "a copy is a duplicate before it is late");
    }
}

/// Rules of plain keys that a timeline can be held for: sequences and aggregates by `k`, `j` or both.
fn plain_rules() -> impl Strategy<Value = Vec<Rule>> {
    generators::rules(3).prop_map(|mut rules| {
        rules.retain(|rule| !matches!(rule.body, Body::Event(_)));
        for rule in &mut rules {
            match &mut rule.body {
                Body::Event(_) => {}
                Body::Aggregate(aggregate) if aggregate.group_by.is_empty() => aggregate.group_by.push(Field::K),
                Body::Aggregate(_) => {}
                Body::Sequence(sequence) => {
                    if sequence.by.is_empty() {
                        sequence.by.push(By { field: Field::K, optional: false });
                    }
                    sequence.by.iter_mut().for_each(|by| by.optional = false);
                    sequence.elements.iter_mut().for_each(|element| element.by.clear());
                    sequence.until.iter_mut().for_each(|(_, by)| by.clear());
                }
            }
        }
        rules
    })
}

/// Rules that find nothing and hold everything of these kinds for ever, one for each dimension of [`plain_rules`].
fn holders(kinds: &str) -> String {
    let listed: Vec<String> = kinds.chars().map(|kind| format!("\"{kind}\"")).collect();
    let holder = |name: &str, keys: &str| {
        format!(
            "id: hold-{name}\nevents:\n  all: any where t in ({})\ncorrelation: {{type: event_count, rules: [all], \
             group-by: [{keys}], timespan: 300d, condition: {{gte: 1000000}}}}\nevidence: [t, k, j, u, v]\n",
            listed.join(", ")
        )
    };
    [holder("k", "k"), holder("j", "j"), holder("kj", "k, j")].join("---\n")
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn a_rule_that_comes_later_finds_in_what_is_held_what_it_would_have_found(
        rules in plain_rules(),
        events in generators::events(40),
        way in way(),
        delays in proptest::collection::vec(any::<u16>(), 40),
        kinds in prop_oneof![Just("abcdefgh"), Just("ac"), Just("b")],
        change in (0..=40usize, 1..=3usize),
        again in proptest::option::of((0..40usize, 1..=3usize)),
        budget in proptest::option::weighted(0.3, Just(0usize)),
    ) {
        prop_assume!(!rules.is_empty());
        let arrivals = shuffled(&events, &way, &delays);
        let (at, shards) = (change.0.min(arrivals.len()), change.1);
        // What came before and is not held moves clocks and nothing else.
        let restrict = |event: &Event| {
            let place = arrivals.iter().position(|arrived| arrived == event).expect("it arrives");
            match place >= at || kinds.contains(event.kind) {
                true => event.clone(),
                false => Event { k: Value::Absent, j: Value::Absent, ..event.clone() },
            }
        };
        let restricted: Vec<Event> = events.iter().map(restrict).collect();
        let expected = oracle::evaluate(&rules, &restricted);
        let mut epochs = vec![(at, Some(shards))];
        // A later restart finds all of it again, and runs nothing twice.
        epochs.extend(again.map(|(later, shards)| (at + 1 + later, Some(shards))));
        let asking: Vec<String> = rules.iter().map(|rule| yaml::render(rule) + "backfill: true\n").collect();
        let before = holders(kinds);
        let after = format!("{before}---\n{}", asking.join("---\n"));
        let found = drive::run_changed(&before, &after, &arrivals, &Way { epochs, budget, ..way }).findings();
        let report = drive::disagreement(&rules, &restricted, &expected, &found);
        // Before the first event nothing restarts, and so nothing changes.
        prop_assert!(at == 0 || found == expected, "changed after {at} arrivals\n{report}");
    }
}

/// What a finding shows to work; a property over rules that never fire would prove nothing.
fn features(rule: &Rule) -> Vec<String> {
    let mut seen = Vec::new();
    match &rule.body {
        Body::Event(_) => seen.push("event".to_owned()),
        Body::Sequence(sequence) => {
            let missing = |at: Option<&oracle::rule::Element>| at.is_some_and(|element| element.missing);
            let elements = &sequence.elements;
            let between = elements.iter().skip_while(|e| e.missing).collect::<Vec<_>>();
            let inner = between.iter().rev().skip_while(|e| e.missing).any(|e| e.missing);
            let flags = [
                ("sequence", true),
                ("missing at start", missing(elements.first())),
                ("missing at end", missing(elements.last())),
                ("missing at both ends", missing(elements.first()) && missing(elements.last())),
                ("missing between", inner),
                ("runs", elements.iter().any(|e| e.runs > 1 && !e.missing)),
                ("until", sequence.until.is_some()),
                ("own by", elements.iter().any(|e| !e.by.is_empty())),
                ("optional by", sequence.by.iter().any(|by| by.optional)),
                ("no by", sequence.by.is_empty() && elements.iter().all(|e| e.by.is_empty())),
            ];
            seen.extend(flags.into_iter().filter(|(_, holds)| *holds).map(|(name, _)| name.to_owned()));
        }
        Body::Aggregate(aggregate) => {
            let kind = match &aggregate.measure {
                Measure::EventCount => "event_count",
                Measure::ValueCount(_) => "value_count",
                Measure::Sum(_) => "value_sum",
                Measure::Avg(_) => "value_avg",
                Measure::Median(_) => "value_median",
                Measure::Percentile(..) => "value_percentile",
                Measure::Temporal(None) => "temporal",
                Measure::Temporal(Some(_)) => "extended",
                Measure::TemporalOrdered => "temporal_ordered",
            };
            let pace = match aggregate.refire {
                _ if aggregate.tumbles() => "tumbling",
                Refire::Edge => "edge",
                Refire::Every => "every",
                Refire::Reset => "reset",
            };
            seen.push(format!("{kind}, {pace}"));
        }
    }
    seen
}

#[test]
fn random_rules_fire_in_every_way_there_is() {
    let mut runner = TestRunner::deterministic();
    let strategy = scene();
    let (mut seen, mut suppressed, mut arrays) = (BTreeSet::new(), 0, 0);
    for _ in 0..800 {
        let scene = strategy.new_tree(&mut runner).expect("a scene").current();
        arrays += scene.events.iter().filter(|event| matches!(event.k, Value::Many(_))).count();
        for finding in oracle::evaluate(&scene.rules, &scene.events) {
            let rule = scene.rules.iter().find(|rule| rule.id == finding.rule).expect("its rule");
            suppressed += u64::from(rule.suppress.is_some()) * finding.suppressed;
            seen.extend(features(rule));
        }
    }
    let sequences =
        ["sequence", "missing at start", "missing at end", "missing at both ends", "missing between", "runs"];
    let rest = ["until", "own by", "optional by", "no by", "event", "temporal, edge", "temporal_ordered, edge"];
    let kinds = ["event_count", "value_count", "value_sum", "value_avg", "value_median", "value_percentile"];
    let paces = ["edge", "every", "reset", "tumbling"];
    let measured = kinds.iter().flat_map(|kind| paces.iter().map(move |pace| format!("{kind}, {pace}")));
    let wanted = sequences.iter().chain(&rest).map(|name| (*name).to_owned()).chain(measured);
    let missing: Vec<String> = wanted.filter(|name| !seen.contains(name)).collect();
    assert!(missing.is_empty(), "never fired: {missing:?}");
    assert!(seen.contains("extended, tumbling") && seen.contains("extended, edge"), "{seen:?}");
    assert!(suppressed > 0 && arrays > 0);
}
