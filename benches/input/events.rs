//! The workload that the benches share: process events of about 300 bytes, and plans of any number of rules over them.

use throughline::decode::StreamFields;
use throughline::event::FieldId;
use throughline::rules::plan::{
    Atom, AtomId, CidrBlock, CompareOp, Cond, FieldPath, Literal, Plan, Predicate, WildcardPattern, WildcardPiece,
};

const FIELDS: [&str; 8] = [
    "",
    "event.action",
    "process.name",
    "process.command_line",
    "source.ip",
    "user.name",
    "process.exit_code",
    "host.name",
];

/// Every 50th event satisfies a rule: 2 % signals.
const SIGNAL_EVERY: usize = 50;

/// A few hundred different payloads.
pub fn payloads() -> Vec<Vec<u8>> {
    let payload = |n: usize| {
        let tool = if n.is_multiple_of(SIGNAL_EVERY) { format!("tool-{}.exe", n % 10) } else { format!("app-{n}.exe") };
        format!(
            r#"{{"@timestamp":"2026-03-01T12:{:02}:{:02}.123Z","event":{{"id":"{n:08x}","category":"process","action":"start"}},"host":{{"name":"node-{}","os":"linux"}},"user":{{"name":"user-{}"}},"process":{{"name":"{tool}","pid":{},"exit_code":0,"command_line":"/usr/bin/{tool} --config /etc/app.conf --verbose"}},"source":{{"ip":"172.16.{}.{}"}}}}"#,
            n / 60 % 60,
            n % 60,
            n % 40,
            n % 90,
            1000 + n,
            n % 200,
            n % 250,
        )
        .into_bytes()
    };
    (1..=500).map(payload).collect()
}

/// The stream that the payloads come from.
pub fn stream() -> StreamFields {
    StreamFields { time: Some("@timestamp".into()), id: vec!["event.id".into()], category: "event.category".into() }
}

/// A plan of `rules` rules, a mix of what rule sets hold: equalities, substrings, lists, ranges, address blocks.
pub fn plan(rules: usize) -> Plan {
    let mut plan = Plan { fields: FIELDS.map(|f| FieldPath(f.into())).into(), ..Plan::default() };
    let category = push(&mut plan, 0, equals("process".into()));
    let start = push(&mut plan, 1, equals("start".into()));
    for n in 0..rules {
        let own = match n % 20 {
            0..10 => push(&mut plan, 2, equals(format!("tool-{n}.exe"))),
            10..15 => push(&mut plan, 3, contains(format!("--attack-{n}"))),
            15..17 => push(&mut plan, 5, equals(format!("service-{n}"))),
            17 => push(&mut plan, 4, block(n)),
            18 => {
                let value = Literal::Int(100 + n as i64);
                push(&mut plan, 6, Predicate::Compare { op: CompareOp::Gt, value })
            }
            _ => {
                let patterns = vec![format!(r"^(?:.*/tmp/x{n}[0-9]+\.sh.*)$")];
                push(&mut plan, 3, Predicate::Regex { patterns, ignore_case: true })
            }
        };
        plan.conditions.push(Cond::And(vec![category.clone(), start.clone(), own]));
    }
    plan
}

fn push(plan: &mut Plan, field: u16, predicate: Predicate) -> Cond {
    plan.atoms.push(Atom::Field { field: FieldId(field), optional: false, predicate });
    Cond::Atom(AtomId(plan.atoms.len() as u32 - 1))
}

fn equals(text: String) -> Predicate {
    Predicate::Equals { values: vec![Literal::Str(text)], ignore_case: false }
}

fn contains(text: String) -> Predicate {
    let pattern = WildcardPattern(vec![WildcardPiece::Any, WildcardPiece::Text(text), WildcardPiece::Any]);
    Predicate::Wildcard { patterns: vec![pattern], ignore_case: true }
}

fn block(n: usize) -> Predicate {
    let address = std::net::Ipv4Addr::new(10, (n / 256) as u8, n as u8, 0).into();
    Predicate::Cidr { blocks: vec![CidrBlock { address, prefix: 24 }] }
}
