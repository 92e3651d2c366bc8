//! Every predicate and function on examples, most of them from Elastic's EQL reference.

use super::atom::CompiledAtom;
use super::glob::tests::pattern;
use super::tests::{Value, event};
use crate::event::{FieldId, Slot};
use crate::rules::plan::*;

fn text(text: &str) -> Literal {
    Literal::Str(text.to_owned())
}

fn test(predicate: Predicate, optional: bool, value: Value) -> Option<bool> {
    let atom = Atom::Field { field: FieldId(0), optional, predicate };
    CompiledAtom::new(&atom, &mut Vec::new()).test(&event(&[value]), &mut String::new())
}

fn int(i: i64) -> Value {
    Value::Slot(Slot::Int(i))
}

const NULL: Value = Value::Slot(Slot::Null);
const ABSENT: Value = Value::Slot(Slot::Absent);
const OBJECT: Value = Value::Slot(Slot::Object { start: 0, len: 0 });

#[test]
fn predicates_on_single_values() {
    let equal = |values: &[Literal], ignore_case| Predicate::Equals { values: values.to_vec(), ignore_case };
    let like = |p: &str, ignore_case| Predicate::Wildcard { patterns: vec![pattern(p)], ignore_case };
    let regex = |p: &str, ignore_case| Predicate::Regex { patterns: vec![format!("^(?:{p})$")], ignore_case };
    let order = |op, value| Predicate::Compare { op, value };
    let block = |address: &str, prefix| Predicate::Cidr {
        blocks: vec![CidrBlock { address: address.parse().expect("address"), prefix }],
    };
    let cases = [
        (equal(&[text("a")], false), Value::Text("a"), true),
        (equal(&[text("a")], false), Value::Text("A"), false),
        (equal(&[text("Ä")], true), Value::Text("ä"), true),
        (equal(&[text("a"), text("b")], false), Value::Text("b"), true),
        (equal(&[text("1")], false), int(1), false),
        (equal(&[Literal::Int(1)], false), Value::Text("1"), false),
        (equal(&[Literal::Float(1.0)], false), int(1), true),
        (equal(&[Literal::Bool(true)], false), Value::Slot(Slot::Bool(true)), true),
        (equal(&[text("{}")], false), OBJECT, false),
        (equal(&[text("a*")], false), Value::Text("abc"), false),
        (like("a*", false), Value::Text("abc"), true),
        (like("A*", false), Value::Text("abc"), false),
        (like("A*", true), Value::Text("abc"), true),
        (like("a?c", false), Value::Text("aüc"), true),
        (like("*", false), int(1), false),
        (regex("b", false), Value::Text("abc"), false),
        (regex("a.c", false), Value::Text("abc"), true),
        (regex("A.C", true), Value::Text("abc"), true),
        (order(CompareOp::Lt, Literal::Int(2)), int(1), true),
        (order(CompareOp::Le, Literal::Float(1.5)), int(2), false),
        (order(CompareOp::Gt, Literal::Int(9_007_199_254_740_992)), int(9_007_199_254_740_993), true),
        (order(CompareOp::Lt, text("a")), Value::Text("Z"), true),
        (order(CompareOp::Ge, text("a")), Value::Text("a"), true),
        (order(CompareOp::Ge, text("1")), int(2), false),
        (order(CompareOp::Ge, Literal::Bool(true)), Value::Slot(Slot::Bool(true)), false),
        (block("10.0.0.0", 8), Value::Text("10.255.0.1"), true),
        (block("10.0.0.0", 8), Value::Text("11.0.0.1"), false),
        (block("::", 0), Value::Text("10.0.0.1"), false),
        (block("2001:db8::", 32), Value::Text("2001:db8:ffff::1"), true),
        (block("10.0.0.0", 8), Value::Text("not an address"), false),
        (Predicate::IsTrue, Value::Slot(Slot::Bool(true)), true),
        (Predicate::IsTrue, Value::Text("true"), false),
        (Predicate::IsNull, Value::Text(""), false),
        (Predicate::Exists, Value::Text(""), true),
    ];
    for (predicate, value, expected) in cases {
        let case = format!("{predicate:?} on {value:?}");
        assert_eq!(test(predicate.clone(), false, value.clone()), Some(expected), "{case}");
        // Any element of an array will do, and a null element changes nothing.
        let array = Value::Array(vec![NULL, value, NULL]);
        assert_eq!(test(predicate, false, array), Some(expected), "{case}, in an array");
    }
}

#[test]
fn null_stays_null_unless_the_field_is_optional() {
    let equal = || Predicate::Equals { values: vec![text("a")], ignore_case: false };
    for null in [NULL, ABSENT] {
        assert_eq!(test(equal(), false, null.clone()), None);
        assert_eq!(test(equal(), true, null.clone()), Some(false));
        assert_eq!(test(Predicate::IsTrue, false, null.clone()), None);
        assert_eq!(test(Predicate::IsNull, false, null), Some(true));
    }
    assert_eq!(test(Predicate::Exists, false, NULL), Some(true));
    assert_eq!(test(Predicate::Exists, false, ABSENT), Some(false));
}

fn field(at: u16) -> Expr {
    Expr::Field { field: FieldId(at), optional: false }
}

fn optional(at: u16) -> Expr {
    Expr::Field { field: FieldId(at), optional: true }
}

fn lit(literal: impl Into<Arg>) -> Expr {
    Expr::Literal(literal.into().0)
}

struct Arg(Literal);

impl From<&str> for Arg {
    fn from(s: &str) -> Self {
        Arg(text(s))
    }
}
impl From<i64> for Arg {
    fn from(i: i64) -> Self {
        Arg(Literal::Int(i))
    }
}
impl From<f64> for Arg {
    fn from(f: f64) -> Self {
        Arg(Literal::Float(f))
    }
}
impl From<bool> for Arg {
    fn from(b: bool) -> Self {
        Arg(Literal::Bool(b))
    }
}
impl From<Literal> for Arg {
    fn from(literal: Literal) -> Self {
        Arg(literal)
    }
}

fn equal(left: Expr, right: Expr) -> Expr {
    Expr::Equals { left: left.into(), right: right.into(), ignore_case: false }
}

fn truth(expr: Expr, values: &[Value]) -> Option<bool> {
    CompiledAtom::new(&Atom::Expr(expr), &mut Vec::new()).test(&event(values), &mut String::new())
}

macro_rules! call {
    ($function:ident $(~ $fold:tt)? ; $($argument:expr),*) => {
        Expr::Call {
            function: Function::$function,
            arguments: vec![$(lit($argument)),*],
            ignore_case: <[&str]>::len(&[$(stringify!($fold))?]) == 1,
        }
    };
}

#[test]
fn functions_give_what_the_reference_says() {
    let path = r"C:\Windows\System32\cmd.exe";
    let cases = [
        (call!(Add; 4, 0.5), lit(4.5)),
        (call!(Subtract; 10, 2.0), lit(8)),
        (call!(Multiply; 2, 2), lit(4)),
        (call!(Divide; 4, 2.0), lit(2)),
        (call!(Divide; 7, 2), lit(3)),
        (call!(Divide; -7, 2), lit(-3)),
        (call!(Divide; 7, 2.0), lit(3.5)),
        (call!(Divide; 3.0, 2), lit(1.5)),
        (call!(Modulo; 10, 6), lit(4)),
        (call!(Modulo; -10, 6), lit(-4)),
        (call!(Add; i64::MAX, 1), lit(Literal::Uint(1 << 63))),
        (call!(Between; "welcome event_id=1234 to", "event_id=", " "), lit("1234")),
        (call!(Between; "System Idle Process", "s", "e"), lit("t")),
        (call!(Between; "xaYbZbc", "a", "b", true), lit("YbZ")),
        (call!(Between; "xAYbc", "a", "B"), lit("")),
        (call!(Between ~ i; "xAYbc", "a", "B"), lit("Y")),
        (call!(Between; "abc", "x", "c"), lit("")),
        (call!(CidrMatch; "192.168.152.12", "10.0.0.0/8", "192.168.0.7/16"), lit(true)),
        (call!(CidrMatch; "192.168.152.12", "10.0.0.0/8"), lit(false)),
        (call!(CidrMatch; "nowhere", "10.0.0.0/8"), lit(false)),
        (call!(Concat; "process is ", "regsvr32.exe"), lit("process is regsvr32.exe")),
        (call!(Concat; "n", 5, true, 0.5), lit("n5true0.5")),
        (call!(StartsWith; path, r"C:\"), lit(true)),
        (call!(StartsWith; path, r"c:\"), lit(false)),
        (call!(StartsWith ~ i; path, r"c:\"), lit(true)),
        (call!(EndsWith; path, ".exe"), lit(true)),
        (call!(EndsWith; path, ".EXE"), lit(false)),
        (call!(EndsWith ~ i; path, ".EXE"), lit(true)),
        (call!(StringContains; path, "System32"), lit(true)),
        (call!(StringContains ~ i; path, "system32"), lit(true)),
        (call!(StringContains; path, "system32"), lit(false)),
        (call!(IndexOf; "subdomain.example.com", "."), lit(9)),
        (call!(IndexOf; "subdomain.example.com", ".", 10), lit(17)),
        (call!(IndexOf; "ünïx", "x"), lit(3)),
        (call!(IndexOf ~ i; "ABC", "b"), lit(1)),
        (call!(IndexOf; "abc", ""), lit(0)),
        (call!(Length; "explorer.exe"), lit(12)),
        (call!(Length; "ünïx"), lit(4)),
        (call!(Length; ""), lit(0)),
        (call!(Number; "1337"), lit(1337)),
        (call!(Number; "42.5"), lit(42.5)),
        (call!(Number; "-1e3"), lit(-1000)),
        (call!(Number; "deadbeef", 16), lit(3_735_928_559)),
        (call!(Number; "0xdeadbeef"), lit(3_735_928_559)),
        (call!(Number; "0xdeadbeef", 16), lit(3_735_928_559)),
        (call!(Number; "-777", 8), lit(-511)),
        (call!(String; 42), lit("42")),
        (call!(String; 42.5), lit("42.5")),
        (call!(String; true), lit("true")),
        (call!(Substring; "start regsvr32.exe", 6), lit("regsvr32.exe")),
        (call!(Substring; "start regsvr32.exe", 0, 5), lit("start")),
        (call!(Substring; "start regsvr32.exe", 6, 14), lit("regsvr32")),
        (call!(Substring; "start regsvr32.exe", -4), lit(".exe")),
        (call!(Substring; "start regsvr32.exe", -4, -1), lit(".ex")),
        (call!(Substring; "ünïx", 1, 3), lit("nï")),
        (call!(Substring; "abc", 2, 1), lit("")),
        (call!(Substring; "abc", -99, 99), lit("abc")),
    ];
    for (expr, expected) in cases {
        assert_eq!(truth(equal(expr.clone(), expected.clone()), &[]), Some(true), "{expr:?} == {expected:?}");
    }
}

#[test]
fn a_function_of_null_or_of_the_wrong_type_is_null() {
    let nulls = [
        call!(Divide; 1, 0),
        call!(Modulo; 1.5, 0.0),
        call!(Add; 1, Literal::Null),
        call!(Multiply; 1e300, 1e300),
        call!(Length; 5),
        call!(Length; Literal::Null),
        call!(Concat; "a", Literal::Null),
        call!(IndexOf; "abc", "x"),
        call!(IndexOf; "abc", "a", 1),
        call!(Number; "twelve"),
        call!(Number; "inf"),
        call!(Number; "12", 99),
        call!(Number; "+-1"),
        call!(StartsWith; 5, "5"),
        call!(Substring; "abc", "1"),
        Expr::Neg(Box::new(lit("x"))),
    ];
    for expr in nulls {
        assert_eq!(truth(equal(expr.clone(), lit(1)), &[]), None, "{expr:?}");
        assert_eq!(truth(Expr::Not(Box::new(equal(expr.clone(), lit(1)))), &[]), None, "not {expr:?}");
        let is_null = Expr::Equals { left: expr.clone().into(), right: lit(Literal::Null).into(), ignore_case: false };
        assert_eq!(truth(is_null, &[]), Some(true), "{expr:?}");
    }
    // Null for an optional argument is its default.
    assert_eq!(truth(equal(call!(Substring; "abc", 1, Literal::Null), lit("bc")), &[]), Some(true));
    assert_eq!(truth(equal(call!(Number; "10", Literal::Null), lit(10)), &[]), Some(true));
}

#[test]
fn fields_compare_with_fields_and_optional_ones_as_null_itself() {
    let (a, b) = (Value::Text("a"), Value::Text("b"));
    assert_eq!(truth(equal(field(0), field(1)), &[a.clone(), a.clone()]), Some(true));
    assert_eq!(truth(equal(field(0), field(1)), &[a.clone(), b.clone()]), Some(false));
    assert_eq!(truth(equal(field(0), field(1)), &[ABSENT, ABSENT]), None);
    assert_eq!(truth(equal(optional(0), optional(1)), &[ABSENT, ABSENT]), Some(true));
    assert_eq!(truth(equal(optional(0), field(1)), &[ABSENT, a.clone()]), Some(false));
    let ordered = Expr::Compare { op: CompareOp::Lt, left: optional(0).into(), right: field(1).into() };
    assert_eq!(truth(ordered.clone(), &[ABSENT, a.clone()]), None);
    assert_eq!(truth(ordered, &[a.clone(), b.clone()]), Some(true));
    // Any element with any element.
    let array = |values: &[&Value]| Value::Array(values.iter().map(|v| (*v).clone()).collect());
    assert_eq!(truth(equal(field(0), field(1)), &[array(&[&a, &b]), array(&[&int(1), &b])]), Some(true));
    assert_eq!(truth(equal(field(0), field(1)), &[array(&[&a, &NULL]), b.clone()]), Some(false));
    assert_eq!(truth(equal(field(0), field(1)), &[OBJECT, OBJECT]), Some(false));
}

#[test]
fn functions_of_arrays_are_called_for_each_element_but_not_without_bound() {
    let length = Expr::Call { function: Function::Length, arguments: vec![field(0)], ignore_case: false };
    let array = Value::Array(vec![NULL, int(4), Value::Text("a"), Value::Text("abc")]);
    assert_eq!(truth(equal(length.clone(), lit(3)), std::slice::from_ref(&array)), Some(true));
    assert_eq!(truth(equal(length.clone(), lit(2)), std::slice::from_ref(&array)), Some(false));
    let predicate = Predicate::Compare { op: CompareOp::Gt, value: Literal::Int(2) };
    assert_eq!(truth(Expr::Test { value: length.into(), predicate }, &[array]), Some(true));
    let arguments = vec![field(0), field(0), field(0), field(0), field(0)];
    let concat = Expr::Call { function: Function::Concat, arguments, ignore_case: false };
    let long = Value::Array(vec![Value::Text("x"); 1000]);
    assert_eq!(truth(equal(concat, lit("xxxxx")), &[long]), Some(true));
}

#[test]
fn junctions_of_expressions_follow_kleene() {
    let (yes, no, null) = (|| lit(true), || lit(false), || lit(Literal::Null));
    assert_eq!(truth(Expr::And(vec![null(), no()]), &[]), Some(false));
    assert_eq!(truth(Expr::And(vec![null(), yes()]), &[]), None);
    assert_eq!(truth(Expr::Or(vec![null(), yes()]), &[]), Some(true));
    assert_eq!(truth(Expr::Or(vec![null(), no()]), &[]), None);
    assert_eq!(truth(Expr::Not(null().into()), &[]), None);
    assert_eq!(truth(lit("true"), &[]), Some(false));
}
