//! The index against the plain evaluator, over random plans and events.

use proptest::prelude::*;
use proptest::sample::select;

use super::*;
use crate::event::Slot;
use crate::rules::plan::*;

const FIELDS: u16 = 4;
const TEXTS: [&str; 18] = [
    "",
    "a",
    "b",
    "ab",
    "aab",
    "abc",
    "ABC",
    "cmd.exe",
    "CMD.exe",
    "Äb",
    "äB",
    "\u{212a}",
    "k",
    "10.1.2.3",
    "10.200.0.9",
    "::1",
    "2001:db8::5",
    "7",
];

/// A value of an event under construction.
#[derive(Debug, Clone)]
pub(super) enum Value {
    Slot(Slot),
    Text(&'static str),
    Array(Vec<Value>),
}

pub(super) fn event(values: &[Value]) -> Projected {
    fn slot(value: &Value, event: &mut Projected) -> Slot {
        match value {
            Value::Slot(slot) => *slot,
            Value::Text(text) => {
                let start = event.text.len() as u32;
                event.text.push_str(text);
                Slot::Str { start, len: text.len() as u32 }
            }
            Value::Array(values) => {
                let slots: Vec<_> = values.iter().map(|v| slot(v, event)).collect();
                let start = event.elements.len() as u32;
                event.elements.extend(slots);
                Slot::Array { start, len: values.len() as u32 }
            }
        }
    }
    let mut event = Projected::with_fields(values.len());
    for (at, value) in values.iter().enumerate() {
        event.slots[at] = slot(value, &mut event);
    }
    event
}

fn scalar() -> impl Strategy<Value = Value> {
    prop_oneof![
        6 => select(&TEXTS[..]).prop_map(Value::Text),
        2 => (-2i64..4).prop_map(|i| Value::Slot(Slot::Int(i))),
        1 => select(vec![0.5, 1.0, -2.0, 9.007199254740992e15, 1e300]).prop_map(|f| Value::Slot(Slot::Float(f))),
        1 => select(vec![Slot::Null, Slot::Uint(u64::MAX), Slot::Int(9_007_199_254_740_993)]).prop_map(Value::Slot),
        1 => any::<bool>().prop_map(|b| Value::Slot(Slot::Bool(b))),
    ]
}

fn value() -> impl Strategy<Value = Value> {
    // Decode gives no array of nothing but nulls.
    let array = proptest::collection::vec(scalar(), 0..4).prop_map(|mut values| {
        values.push(Value::Text("ab"));
        Value::Array(values)
    });
    prop_oneof![6 => scalar(), 1 => array, 2 => Just(Value::Slot(Slot::Absent))]
}

fn literal() -> impl Strategy<Value = Literal> {
    prop_oneof![
        5 => select(&TEXTS[..]).prop_map(|t| Literal::Str(t.to_owned())),
        2 => (-2i64..4).prop_map(Literal::Int),
        1 => select(vec![
            Literal::Float(0.5), Literal::Float(1.0), Literal::Float(9.007199254740992e15), Literal::Null,
            Literal::Bool(true), Literal::Bool(false), Literal::Uint(u64::MAX), Literal::Int(9_007_199_254_740_993),
        ]),
    ]
}

fn op() -> impl Strategy<Value = CompareOp> {
    select(vec![CompareOp::Lt, CompareOp::Le, CompareOp::Gt, CompareOp::Ge])
}

fn pattern() -> impl Strategy<Value = WildcardPattern> {
    "[abkÄ.*?]{0,5}|cmd\\*|\\*\\.exe".prop_map(|text| glob::tests::pattern(&text))
}

fn predicate() -> impl Strategy<Value = Predicate> {
    let regexes = [
        "^(?:.*ab.*)$",
        "^(?:a|b.*)$",
        r"^(?:cmd\.exe)$",
        "^(?:[a-z]+)$",
        "^(?:(ÄB|k)?)$",
        "^(?:(?i)CMD.*)$",
        "(",
        "^(?:(aa|ab)c?)$",
    ];
    let blocks = ["10.0.0.0/8", "10.1.0.0/16", "0.0.0.0/0", "2001:db8::/32", "::1/128"].map(|text| {
        let (address, prefix) = text.split_once('/').expect("a block");
        CidrBlock { address: address.parse().expect("address"), prefix: prefix.parse().expect("prefix") }
    });
    let many = |n: usize| proptest::collection::vec(literal(), 1..n);
    prop_oneof![
        6 => (many(4), any::<bool>()).prop_map(|(values, ignore_case)| Predicate::Equals { values, ignore_case }),
        1 => (many(30), any::<bool>()).prop_map(|(values, ignore_case)| Predicate::Equals { values, ignore_case }),
        4 => (proptest::collection::vec(pattern(), 1..3), any::<bool>())
            .prop_map(|(patterns, ignore_case)| Predicate::Wildcard { patterns, ignore_case }),
        3 => (proptest::collection::vec(select(regexes.to_vec()).prop_map(str::to_owned), 1..3), any::<bool>())
            .prop_map(|(patterns, ignore_case)| Predicate::Regex { patterns, ignore_case }),
        3 => (op(), literal()).prop_map(|(op, value)| Predicate::Compare { op, value }),
        2 => proptest::collection::vec(select(blocks.to_vec()), 1..3).prop_map(|blocks| Predicate::Cidr { blocks }),
        2 => select(vec![Predicate::IsNull, Predicate::Exists, Predicate::IsTrue]),
    ]
}

fn expr() -> impl Strategy<Value = Expr> {
    use Function::*;
    let functions = vec![
        Add,
        Between,
        CidrMatch,
        Concat,
        Divide,
        EndsWith,
        IndexOf,
        Length,
        Modulo,
        Multiply,
        Number,
        StartsWith,
        String,
        StringContains,
        Substring,
        Subtract,
    ];
    let leaf = prop_oneof![
        (0..FIELDS, any::<bool>()).prop_map(|(field, optional)| Expr::Field { field: FieldId(field), optional }),
        literal().prop_map(Expr::Literal),
    ];
    leaf.prop_recursive(3, 12, 3, move |inner| {
        let pair = (inner.clone(), inner.clone()).prop_map(|(a, b)| (Box::new(a), Box::new(b)));
        let some = proptest::collection::vec(inner.clone(), 1..4);
        prop_oneof![
            3 => (select(functions.clone()), some.clone(), any::<bool>())
                .prop_map(|(function, arguments, ignore_case)| Expr::Call { function, arguments, ignore_case }),
            2 => (pair.clone(), any::<bool>())
                .prop_map(|((left, right), ignore_case)| Expr::Equals { left, right, ignore_case }),
            1 => (op(), pair).prop_map(|(op, (left, right))| Expr::Compare { op, left, right }),
            1 => (inner.clone(), predicate()).prop_map(|(v, predicate)| Expr::Test { value: Box::new(v), predicate }),
            1 => some.clone().prop_map(Expr::And),
            1 => some.prop_map(Expr::Or),
            1 => inner.clone().prop_map(|e| Expr::Not(Box::new(e))),
            1 => inner.prop_map(|e| Expr::Neg(Box::new(e))),
        ]
    })
}

fn atom() -> impl Strategy<Value = Atom> {
    prop_oneof![
        5 => (0..FIELDS, any::<bool>(), predicate())
            .prop_map(|(field, optional, predicate)| Atom::Field { field: FieldId(field), optional, predicate }),
        1 => expr().prop_map(Atom::Expr),
    ]
}

fn condition(atoms: usize) -> impl Strategy<Value = Cond> {
    let leaf = prop_oneof![
        10 => (0..atoms as u32).prop_map(|a| Cond::Atom(AtomId(a))),
        1 => select(vec![None, Some(true), Some(false)]).prop_map(Cond::Const),
    ];
    leaf.prop_recursive(4, 12, 3, |inner| {
        prop_oneof![
            3 => proptest::collection::vec(inner.clone(), 0..4).prop_map(Cond::And),
            2 => proptest::collection::vec(inner.clone(), 0..4).prop_map(Cond::Or),
            1 => inner.prop_map(|c| Cond::Not(Box::new(c))),
        ]
    })
}

fn plan() -> impl Strategy<Value = Plan> {
    proptest::collection::vec(atom(), 1..12).prop_flat_map(|atoms| {
        let conditions = proptest::collection::vec(condition(atoms.len()), 1..10);
        conditions.prop_map(move |conditions| Plan { atoms: atoms.clone(), conditions, ..Plan::default() })
    })
}

proptest! {
    #[test]
    fn the_index_finds_what_the_plain_evaluator_finds(
        plan in plan(),
        events in proptest::collection::vec(proptest::collection::vec(value(), FIELDS as usize), 1..6),
    ) {
        let plan = Arc::new(plan);
        let mut detector = Detector::new(Arc::clone(&plan));
        let mut hits = vec![ConditionId(77)];
        for values in events {
            let event = event(&values);
            detector.detect(&event, &mut hits);
            let expected: Vec<_> = (0u32..)
                .zip(&plan.conditions)
                .filter(|(_, condition)| naive::holds(&plan, condition, &event) == Some(true))
                .map(|(at, _)| ConditionId(at))
                .collect();
            prop_assert_eq!(&hits, &expected, "{:?}", values);
        }
    }
}

fn equals(field: u16, text: &str) -> Atom {
    let predicate = Predicate::Equals { values: vec![Literal::Str(text.to_owned())], ignore_case: false };
    Atom::Field { field: FieldId(field), optional: false, predicate }
}

fn both(a: u32, b: u32) -> Cond {
    Cond::And(vec![Cond::Atom(AtomId(a)), Cond::Atom(AtomId(b))])
}

#[test]
fn of_a_thousand_rules_only_those_of_the_rare_value_are_candidates() {
    // All ask for the same category and action, each for a user of its own.
    let mut plan = Plan { atoms: vec![equals(0, "process"), equals(1, "login")], ..Plan::default() };
    for user in 0..1000 {
        plan.atoms.push(equals(2, &format!("user-{user}")));
        let parts = [0, 1, user + 2].map(|a| Cond::Atom(AtomId(a)));
        plan.conditions.push(Cond::And(parts.into()));
    }
    let mut detector = Detector::new(Arc::new(plan));
    let event = event(&[Value::Text("process"), Value::Text("login"), Value::Text("user-7")]);
    let mut hits = Vec::new();
    detector.detect(&event, &mut hits);
    assert_eq!(hits, [ConditionId(7)]);
    assert_eq!(detector.fired.triggers.len(), 1);
    assert_eq!(detector.without_witness(), 0);
}

#[test]
fn negations_hide_behind_what_stands_beside_them() {
    let mut plan = Plan { atoms: vec![equals(0, "process"), equals(1, "x")], ..Plan::default() };
    plan.conditions.push(Cond::And(vec![Cond::Atom(AtomId(0)), Cond::Not(Box::new(Cond::Atom(AtomId(1))))]));
    plan.conditions.push(Cond::Not(Box::new(Cond::Or(vec![Cond::Atom(AtomId(1)), both(0, 1)]))));
    let mut detector = Detector::new(Arc::new(plan));
    assert_eq!(detector.without_witness(), 0);
    let mut hits = Vec::new();
    detector.detect(&event(&[Value::Text("process"), Value::Text("y")]), &mut hits);
    assert_eq!(hits, [ConditionId(0), ConditionId(1)]);
    // Null is not "not x".
    detector.detect(&event(&[Value::Text("process"), Value::Slot(Slot::Null)]), &mut hits);
    assert_eq!(hits, []);
}

#[test]
fn a_null_that_equals_an_optional_field_that_is_absent_is_found() {
    let side = |field, optional| Box::new(Expr::Field { field: FieldId(field), optional });
    let expr = Expr::Equals { left: side(0, false), right: side(1, true), ignore_case: false };
    let atoms = vec![Atom::Expr(expr)];
    let plan = Plan { atoms, conditions: vec![Cond::Atom(AtomId(0))], ..Plan::default() };
    let mut detector = Detector::new(Arc::new(plan));
    let mut hits = Vec::new();
    detector.detect(&event(&[Value::Slot(Slot::Null), Value::Slot(Slot::Absent)]), &mut hits);
    assert_eq!(hits, [ConditionId(0)]);
}

#[test]
fn a_wrong_regular_expression_never_matches_and_is_reported() {
    let predicate = Predicate::Regex { patterns: vec!["(".into()], ignore_case: false };
    let atom = Atom::Field { field: FieldId(0), optional: false, predicate };
    let conditions = vec![Cond::Atom(AtomId(0))];
    let mut detector = Detector::new(Arc::new(Plan { atoms: vec![atom], conditions, ..Plan::default() }));
    assert!(detector.problems()[0].starts_with("regular expression `(`"), "{:?}", detector.problems());
    let mut hits = Vec::new();
    detector.detect(&event(&[Value::Text("(")]), &mut hits);
    assert_eq!(hits, []);
}

#[test]
fn the_event_counter_starts_over_without_a_stale_answer() {
    let plan = Plan { atoms: vec![equals(0, "a")], conditions: vec![Cond::Atom(AtomId(0))], ..Plan::default() };
    let mut detector = Detector::new(Arc::new(plan));
    detector.verifier.set_event(u32::MAX / 4 - 2);
    let mut hits = Vec::new();
    for turn in 0..6 {
        let text = if turn % 2 == 0 { "a" } else { "b" };
        detector.detect(&event(&[Value::Text(text)]), &mut hits);
        assert_eq!(hits.len(), 1 - turn % 2);
    }
}
