//! What the generator promises: determinism, the bound on disorder, and scripts that keep to themselves.

use std::collections::{BTreeMap, HashSet};

use super::*;

fn all(options: Options) -> (Vec<(Meta, String)>, Vec<Expected>) {
    let mut generator = Generator::new(options);
    let (mut buf, mut events) = (Vec::new(), Vec::new());
    while let Some(meta) = generator.next(&mut buf) {
        events.push((meta, String::from_utf8(buf.clone()).expect("UTF-8")));
    }
    (events, generator.take_expected())
}

fn options(kind: Kind) -> Options {
    Options { kind, count: Some(20_000), ..Options::default() }
}

#[test]
fn the_first_lines_are_the_golden_ones() {
    for kind in Kind::ALL {
        let (events, expected) = all(Options { count: Some(3000), ..options(kind) });
        let mut text: String = events.iter().take(12).map(|(_, line)| format!("{line}\n")).collect();
        expected.iter().take(3).for_each(|e| text.push_str(&format!("{}\n", e.to_json())));
        let path = format!("{}/tests/content/golden/generate-{}.jsonl", env!("CARGO_MANIFEST_DIR"), kind.name());
        if std::env::var_os("THROUGHLINE_UPDATE_GOLDEN").is_some() {
            std::fs::write(&path, &text).expect("golden file");
        }
        assert_eq!(std::fs::read_to_string(&path).expect("golden file"), text, "{path}");
    }
}

#[test]
fn the_same_seed_gives_the_same_bytes_and_another_seed_others() {
    for kind in Kind::ALL {
        let wild = Options { disorder: Span::from_secs(2), duplicates_per_mille: 50, ..options(kind) };
        assert_eq!(all(wild.clone()), all(wild.clone()));
        assert_ne!(all(wild.clone()).0, all(Options { seed: 2, ..wild }).0);
    }
}

#[test]
fn every_line_is_json_with_its_time_id_and_key() {
    for kind in Kind::ALL {
        let (events, _) = all(options(kind));
        let mut bytes = 0;
        for (meta, line) in &events {
            let json: serde_json::Value = serde_json::from_str(line).unwrap_or_else(|e| panic!("{e}: {line}"));
            let text = json["@timestamp"].as_str().expect("time");
            assert_eq!(crate::event::parse_time_text(text), Ok(meta.time), "{line}");
            assert_eq!(json["event"]["id"].as_str().map(str::len), Some(16), "{line}");
            assert!(json["event"]["category"].is_string(), "{line}");
            assert!(line.contains(&format!("\"{}\"", &line[meta.key.clone()])) && !meta.key.is_empty(), "{line}");
            bytes += line.len();
        }
        let mean = bytes / events.len();
        assert!((250..450).contains(&mean), "{}: {mean} bytes an event", kind.name());
    }
}

#[test]
fn events_are_late_by_at_most_the_disorder_and_duplicates_are_copies() {
    let disorder = Span::from_secs(3);
    for kind in Kind::ALL {
        let (events, _) = all(Options { disorder, duplicates_per_mille: 100, ..options(kind) });
        let (mut newest, mut behind, mut copies) = (Timestamp::MIN, 0, 0);
        let mut seen = HashSet::new();
        for (meta, line) in &events {
            assert_eq!(seen.insert(line), !meta.duplicate, "{line}");
            copies += usize::from(meta.duplicate);
            if !meta.duplicate {
                assert!(newest == Timestamp::MIN || meta.time >= newest - disorder, "{line}");
                behind += usize::from(meta.time < newest);
                newest = newest.max(meta.time);
            }
        }
        assert!(behind > events.len() / 2, "{behind} of {} out of order", events.len());
        assert!((1_500..2_200).contains(&copies), "{copies} duplicates");
    }
}

#[test]
fn in_order_without_disorder() {
    let (events, _) = all(options(Kind::Payments));
    assert!(events.is_sorted_by_key(|(meta, _)| meta.time));
}

#[test]
fn every_script_is_played_and_its_events_are_there_in_order() {
    for kind in Kind::ALL {
        let disordered = Options { disorder: Span::from_secs(1), count: Some(60_000), ..options(kind) };
        let (events, expected) = all(disordered);
        let ids: BTreeMap<String, Timestamp> = events
            .iter()
            .map(|(meta, line)| {
                let json: serde_json::Value = serde_json::from_str(line).expect("JSON");
                (json["event"]["id"].as_str().unwrap_or_default().to_owned(), meta.time)
            })
            .collect();
        let rules: HashSet<_> = expected.iter().map(|e| e.rule).collect();
        let scripted: HashSet<_> = kind.scripts().iter().map(|s| s.rule).collect();
        assert_eq!(rules, scripted, "every rule with a script is expected at least once");
        for e in &expected {
            let times: Vec<_> = e.events.iter().flatten().map(|id| ids[id]).collect();
            assert!(times.is_sorted_by(|a, b| a < b), "{e:?}");
        }
        let keys: HashSet<_> = expected.iter().map(|e| (e.rule, &e.key)).collect();
        assert_eq!(keys.len(), expected.len(), "an entity is in one incident only");
    }
}

#[test]
fn small_streams_have_incidents_too() {
    for kind in Kind::ALL {
        assert!(!all(Options { count: Some(1000), ..options(kind) }).1.is_empty(), "{}", kind.name());
        assert!(all(Options { count: Some(0), ..options(kind) }).0.is_empty());
    }
}

#[test]
fn no_incident_is_cut_off_by_the_end() {
    for kind in Kind::ALL {
        for count in [1_000, 5_000, 60_000] {
            for rate in [None, Some(10), Some(500_000)] {
                let mut generator = Generator::new(Options { count: Some(count), rate, ..options(kind) });
                let mut buf = Vec::new();
                while generator.next(&mut buf).is_some() {}
                assert_eq!(generator.agenda.len(), 0, "{} of {count} at {rate:?}", kind.name());
            }
        }
    }
}

#[test]
fn scripts_fit_their_bounds() {
    for script in Kind::ALL.into_iter().flat_map(Kind::scripts) {
        assert!((1..=script::STEPS_MAX).contains(&script.steps.len()), "{}", script.rule);
        assert!(script.reported.iter().flatten().all(|step| *step < script.steps.len()), "{}", script.rule);
    }
}
