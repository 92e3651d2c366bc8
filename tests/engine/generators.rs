//! Random rules and events, small enough that matches are common and shrinking ends soon: few kinds, few keys, times on a
//! grid of half seconds with many ties.

use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use proptest::sample::select;

use crate::oracle::event::{Event, Field, Scalar, TOPICS, Value};
use crate::oracle::rule::{
    Aggregate, Body, By, Cond, Element, Extended, Measure, Op, Refire, Rule, Sequence, Suppress,
};

const KINDS: [char; 4] = ['a', 'b', 'c', 'd'];

/// Partitions of each topic.
pub const PARTITIONS: i32 = 2;

fn kind() -> impl Strategy<Value = char> {
    select(&KINDS[..])
}

fn cond() -> impl Strategy<Value = Cond> {
    prop_oneof![
        8 => kind().prop_map(Cond::Kind),
        2 => (kind(), kind()).prop_filter("two kinds", |(a, b)| a != b).prop_map(|(a, b)| Cond::KindIn(vec![a, b])),
        1 => kind().prop_map(Cond::NotKind),
        1 => Just(Cond::Any),
        1 => (kind(), 0..8i64).prop_map(|(kind, halves)| Cond::KindFrom(kind, halves)),
    ]
}

fn key_value() -> impl Strategy<Value = Scalar> {
    prop_oneof![
        8 => select(vec!["x", "y"]).prop_map(|text| Scalar::Text(text.into())),
        1 => Just(Scalar::Text("1".into())),
        1 => any::<bool>().prop_map(|decimal| Scalar::Number { halves: 2, decimal }),
        1 => Just(Scalar::Number { halves: 3, decimal: true }),
    ]
}

fn key_field() -> impl Strategy<Value = Value> {
    prop_oneof![
        16 => key_value().prop_map(Value::One),
        1 => Just(Value::Absent),
        1 => Just(Value::Null),
        1 => vec(option::weighted(0.8, key_value()), 0..3).prop_map(Value::Many),
    ]
}

fn user() -> impl Strategy<Value = Value> {
    prop_oneof![
        6 => select(vec!["p", "q", "r"]).prop_map(|text| Value::One(Scalar::Text(text.into()))),
        1 => Just(Value::Absent),
    ]
}

fn measured() -> impl Strategy<Value = Value> {
    prop_oneof![
        8 => (0..10i64, any::<bool>()).prop_map(|(halves, decimal)| Value::One(Scalar::Number { halves, decimal })),
        1 => Just(Value::Absent),
        1 => Just(Value::Null),
        1 => Just(Value::One(Scalar::Text("3".into()))),
    ]
}

/// Events in their total order, each with an id of its own: kind and number. Times rise by at most 2 s, ties are common,
/// and now and then there is a long silence.
pub fn events(most: usize) -> impl Strategy<Value = Vec<Event>> {
    let step = prop_oneof![
        5 => Just(0i64),
        4 => Just(500),
        3 => Just(1000),
        2 => Just(2000),
        1 => Just(1),
        1 => Just(9500)
    ];
    let place = (0..TOPICS.len(), 0..PARTITIONS);
    let one = (step, place, kind(), key_field(), key_field(), user(), measured());
    vec(one, 0..=most).prop_map(|raw| {
        let mut time_ms = 0;
        let mut all: Vec<Event> = Vec::new();
        for (number, (step, (topic, partition), kind, k, j, u, v)) in raw.into_iter().enumerate() {
            time_ms += step;
            let id = format!("{kind}{number}");
            all.push(Event { time_ms, topic, partition, offset: number as i64, id, kind, k, j, u, v });
        }
        all
    })
}

fn span_ms() -> impl Strategy<Value = i64> {
    prop_oneof![3 => (1..=7i64).prop_map(|s| s * 1000), 1 => (1..=9i64).prop_map(|halves| halves * 500)]
}

fn by_field(optional: bool) -> impl Strategy<Value = By> {
    let field = prop_oneof![3 => Just(Field::K), 1 => Just(Field::J)];
    let mark = if optional { prop::bool::weighted(0.2).boxed() } else { Just(false).boxed() };
    (field, mark).prop_map(|(field, optional)| By { field, optional })
}

fn sequence() -> impl Strategy<Value = Sequence> {
    let runs = prop_oneof![6 => Just(1usize), 1 => Just(2), 1 => Just(3)];
    let element = (prop::bool::weighted(0.3), cond(), runs, by_field(true));
    let shared = prop_oneof![
        1 => Just(Vec::new()),
        5 => by_field(true).prop_map(|by| vec![by]),
        1 => Just(vec![By { field: Field::K, optional: false }, By { field: Field::J, optional: true }]),
    ];
    let until = option::weighted(0.25, (cond(), by_field(true)));
    (shared, prop::bool::weighted(0.25), vec(element, 2..=4), option::weighted(0.7, span_ms()), until).prop_map(
        |(by, own_by, elements, maxspan_ms, until)| {
            let own = |by: By| if own_by { vec![by] } else { Vec::new() };
            let mut elements: Vec<Element> = elements
                .into_iter()
                .map(|(missing, cond, runs, by)| Element { missing, cond, runs, by: own(by) })
                .collect();
            if elements.iter().all(|element| element.missing) {
                elements[0].missing = false;
            }
            let needs_span = elements.iter().any(|element| element.missing);
            Sequence {
                // Shared and own together would name a field twice.
                by: if own_by { Vec::new() } else { by },
                maxspan_ms: if needs_span { Some(maxspan_ms.unwrap_or(4000)) } else { maxspan_ms },
                until: until.map(|(cond, by)| (cond, own(by))),
                elements,
            }
        },
    )
}

fn extended(references: usize) -> impl Strategy<Value = Extended> {
    let leaf = (0..references).prop_map(Extended::Reference);
    leaf.prop_recursive(3, 6, 2, |inner| {
        prop_oneof![
            2 => (inner.clone(), inner.clone()).prop_map(|(a, b)| Extended::And(Box::new(a), Box::new(b))),
            2 => (inner.clone(), inner.clone()).prop_map(|(a, b)| Extended::Or(Box::new(a), Box::new(b))),
            1 => inner.prop_map(|a| Extended::Not(Box::new(a))),
        ]
    })
}

fn measure(references: usize) -> impl Strategy<Value = Measure> {
    prop_oneof![
        3 => Just(Measure::EventCount),
        2 => select(vec![vec![Field::U], vec![Field::V], vec![Field::U, Field::V]]).prop_map(Measure::ValueCount),
        2 => Just(Measure::Sum(Field::V)),
        1 => Just(Measure::Avg(Field::V)),
        1 => Just(Measure::Median(Field::V)),
        1 => select(vec![10u8, 25, 50, 75, 90, 99]).prop_map(|percent| Measure::Percentile(Field::V, percent)),
        1 => Just(Measure::Temporal(None)),
        1 => extended(references).prop_map(|condition| Measure::Temporal(Some(condition))),
        1 => Just(Measure::TemporalOrdered),
    ]
}

/// Comparisons; fractions only where a measure could not meet them exactly, so that rounding decides nothing.
fn condition() -> impl Strategy<Value = Vec<(Op, i64)>> {
    let sliding = select(vec![Op::Gt, Op::Gte]);
    let tumbling = select(vec![Op::Lt, Op::Lte, Op::Eq, Op::Neq]);
    let value = prop_oneof![4 => (0..5i64).prop_map(|n| n * 100), 1 => (0..4i64).prop_map(|n| n * 100 + 3)];
    prop_oneof![
        4 => (sliding.clone(), value.clone()).prop_map(|one| vec![one]),
        2 => (tumbling.clone(), value.clone()).prop_map(|one| vec![one]),
        1 => (sliding, value.clone(), tumbling, value).prop_map(|(a, m, b, n)| vec![(a, m), (b, n + 200)]),
    ]
}

fn aggregate() -> impl Strategy<Value = Aggregate> {
    let group_by = select(vec![vec![Field::K], vec![Field::K], vec![], vec![Field::J], vec![Field::K, Field::J]]);
    (1..=3usize).prop_flat_map(move |references| {
        (
            vec(cond(), references),
            group_by.clone(),
            span_ms(),
            measure(references),
            condition(),
            select(vec![Refire::Edge, Refire::Edge, Refire::Every, Refire::Reset]),
        )
            .prop_map(|(references, group_by, timespan_ms, measure, mut condition, refire)| {
                match measure {
                    Measure::Temporal(_) | Measure::TemporalOrdered => condition.clear(),
                    Measure::Avg(_) | Measure::Median(_) | Measure::Percentile(..) => {
                        // Off the grid of what these measures can give.
                        condition.iter_mut().for_each(|(_, hundredths)| *hundredths = *hundredths / 100 * 100 + 3);
                    }
                    _ => {}
                }
                let mut made = Aggregate { references, group_by, timespan_ms, measure, condition, refire };
                if made.tumbles() {
                    made.refire = Refire::Edge; // a window that closes has nothing to fire again
                }
                made
            })
    })
}

fn rule() -> impl Strategy<Value = Rule> {
    let suppress = (1..=5i64, vec(Just(Field::U), 0..=1))
        // Off the grid of event times: what holds at the very end of the window is not this test's to decide.
        .prop_map(|(seconds, beyond)| Suppress { window_ms: seconds * 1000 + 250, beyond });
    let lasting = prop_oneof![5 => sequence().prop_map(Body::Sequence), 4 => aggregate().prop_map(Body::Aggregate)];
    prop_oneof![
        1 => (cond(), option::weighted(0.4, suppress.clone()))
            .prop_map(|(cond, suppress)| Rule { id: String::new(), body: Body::Event(cond), suppress }),
        9 => (lasting, option::weighted(0.2, suppress))
            .prop_map(|(body, suppress)| Rule { id: String::new(), body, suppress }),
    ]
}

/// A rule set with ids `rule-0`, `rule-1`, ….
pub fn rules(most: usize) -> impl Strategy<Value = Vec<Rule>> {
    vec(rule(), 1..=most).prop_map(|mut rules| {
        for (number, rule) in rules.iter_mut().enumerate() {
            rule.id = format!("rule-{number}");
            // Suppression of a rule without a key must name something: never per rule.
            let keyless = rule.key_fields().is_empty();
            if let Some(suppress) = rule.suppress.as_mut().filter(|_| keyless) {
                suppress.beyond = vec![Field::U];
            }
        }
        rules
    })
}
