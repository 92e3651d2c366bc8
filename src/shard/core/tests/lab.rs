//! A small laboratory: rules and events in shorthand, and every script run in several ways that must agree.
//!
//! Rule shorthand (sequences): `a b`, `a !b c`, `a*3 b`, `a b until z`; each letter is a step. Event shorthand: a time, the
//! letters that the event satisfies, then optionally `/key` and `=value` (an integer, a fraction, or text): `5ab/k=1.5`.

use std::sync::Arc;

use super::super::{Core, Output, Settings};
use crate::event::*;
use crate::rules::plan::*;

pub(super) const VALUE: FieldId = FieldId(1);

pub(super) struct Lab {
    pub(super) plan: Plan,
    /// The letter of each step.
    letters: Vec<char>,
    pub(super) settings: Settings,
    pub(super) topics: TopicTable,
}

impl Lab {
    pub(super) fn new() -> Lab {
        let dimension =
            |name: &str, per_event| Dimension { name: name.into(), hash: stable_hash64(0, name.as_bytes()), per_event };
        let topics = TopicTable::default();
        topics.intern_all(["a", "b"]).expect("room for two topics");
        let fields = ["category", "value"].map(|path| FieldPath(path.into())).to_vec();
        let dimensions = vec![dimension("key", false), dimension("", true)];
        Lab {
            plan: Plan { fields, dimensions, conditions: vec![Cond::Const(Some(true))], ..Plan::default() },
            letters: Vec::new(),
            settings: Settings { dedup_window: Span::ZERO, retention: Span::MAX, durable: None },
            topics,
        }
    }

    fn step(&mut self, letter: char, role: Role, dimension: u32) -> StepId {
        let rule = RuleIndex(self.plan.rules.len() as u32);
        let name = self.plan.steps.iter().filter(|step| step.rule == rule).count() as u16;
        let (condition, dimension) = (ConditionId(0), DimensionId(dimension));
        self.plan.steps.push(Step { rule, role, condition, dimension, key: Vec::new(), name });
        self.letters.push(letter);
        StepId(self.plan.steps.len() as u32 - 1)
    }

    fn rule(mut self, pattern: Pattern, dimension: u32) -> Lab {
        let index = RuleIndex(self.plan.rules.len() as u32);
        let own = self.plan.steps.iter().zip(&self.letters).filter(|(step, _)| step.rule == index);
        let step_names = own.map(|(_, letter)| letter.to_string()).collect();
        self.plan.rules.push(Rule {
            id: format!("r{}", self.plan.rules.len()),
            name: String::new(),
            version: String::new(),
            content_hash: 0,
            severity: Severity::default(),
            tags: Vec::new(),
            description: String::new(),
            pattern,
            dimension: DimensionId(dimension),
            key_names: vec!["key".into()],
            step_names,
            fields: vec![VALUE],
            suppress: None,
            summary: None,
            output_topic: None,
            output_key: None,
            backfill: false,
            place: String::new(),
        });
        self
    }

    pub(super) fn sequence(mut self, shorthand: &str, maxspan: Option<i64>) -> Lab {
        let (mut states, mut gaps, mut until) = (Vec::new(), vec![Vec::new()], None);
        let mut words = shorthand.split(' ');
        while let Some(word) = words.next() {
            if word == "until" {
                let letter = words.next().and_then(|w| w.chars().next()).expect("until a letter");
                until = Some(self.step(letter, Role::Until, 0));
                continue;
            }
            let (positive, runs) = word.split_once('*').map_or((word, 1), |(w, n)| (w, n.parse().expect("runs")));
            let gap = gaps.len() as u16 - 1;
            if let Some(letter) = positive.strip_prefix('!').and_then(|w| w.chars().next()) {
                let absents = gaps.last_mut().expect("never empty");
                let index = absents.len() as u16;
                let step = self.step(letter, Role::Absent { gap, index }, 0);
                absents.push(Absent { step, runs });
            } else {
                let letter = positive.chars().next().expect("a letter");
                let step = self.step(letter, Role::State { first: gap, count: runs }, 0);
                (0..runs).for_each(|_| {
                    states.push(step);
                    gaps.push(Vec::new());
                });
            }
        }
        self.rule(Pattern::Sequence(Sequence { states, gaps, maxspan: maxspan.map(Span), until }), 0)
    }

    /// An aggregate over the events of `letters`, sliding at `gte`.
    pub(super) fn aggregate(mut self, kind: AggregateKind, letters: &str, timespan: i64, gte: i64) -> Lab {
        for (n, letter) in letters.chars().enumerate() {
            self.step(letter, Role::Reference(n as u16), 0);
        }
        let aggregate = Aggregate {
            kind,
            references: letters.chars().map(String::from).collect(),
            timespan: Span(timespan),
            condition: vec![Threshold { op: ThresholdOp::Gte, value: Literal::Int(gte) }],
            temporal: None,
            refire: Refire::Edge,
            tumbling: false,
        };
        self.rule(Pattern::Aggregate(aggregate), 0)
    }

    pub(super) fn single(mut self, letter: char, dimension: u32) -> Lab {
        self.step(letter, Role::Event, dimension);
        self.rule(Pattern::Event, dimension)
    }

    /// Changes the last rule's aggregate.
    pub(super) fn with(mut self, change: impl FnOnce(&mut Aggregate)) -> Lab {
        match self.plan.rules.last_mut().map(|rule| &mut rule.pattern) {
            Some(Pattern::Aggregate(aggregate)) => change(aggregate),
            other => panic!("not an aggregate: {other:?}"),
        }
        self
    }

    pub(super) fn suppress(mut self, window: i64, by: Vec<FieldId>) -> Lab {
        self.plan.rules.last_mut().expect("a rule").suppress = Some(Suppress { window: Span(window), by });
        self
    }

    pub(super) fn settings(mut self, dedup_window: i64, retention: Span) -> Lab {
        self.settings = Settings { dedup_window: Span(dedup_window), retention, durable: None };
        self
    }

    pub(super) fn core(&self) -> Core {
        Core::new(Arc::new(self.plan.clone()), self.settings, self.topics.clone())
    }

    /// The signal of an event in shorthand.
    pub(super) fn signal(&self, shorthand: &str, offset: i64) -> Signal {
        let (rest, value) = shorthand.split_once('=').map_or((shorthand, None), |(rest, value)| (rest, Some(value)));
        let (rest, key) = rest.split_once('/').unwrap_or((rest, ""));
        let split = rest.find(|c: char| c.is_ascii_alphabetic()).unwrap_or(rest.len());
        let (time, letters) = (rest[..split].parse().expect("a time"), &rest[split..]);
        let of_letters = self.letters.iter().enumerate().filter(|(_, letter)| letters.contains(**letter));
        let steps: smallvec::SmallVec<[StepId; 4]> = of_letters.map(|(at, _)| StepId(at as u32)).collect();
        let dimension = steps.first().map_or(DimensionId(0), |step| self.plan.steps[step.0 as usize].dimension);
        let mut builder = KeyBuilder::default();
        builder.push(Val::Str(key));
        let origin = Origin { topic: self.topics.intern("a").expect("known"), partition: 0, offset };
        Signal {
            event: Arc::new(Evidence { time: Timestamp(time), origin, id: None, fields: fields(value), trace: None }),
            identity: stable_hash128(0, &offset.to_le_bytes()),
            key: builder.build(self.plan.dimensions[dimension.0 as usize].hash),
            dimension,
            task: 0,
            steps,
            counts: true,
            late: None,
        }
    }

    pub(super) fn signals(&self, script: &str) -> Vec<Signal> {
        script.split_whitespace().enumerate().map(|(at, word)| self.signal(word, at as i64)).collect()
    }

    /// Runs a script of events in the order of time, in several ways that must agree, and then the end of input.
    pub(super) fn run(&self, script: &str) -> Output {
        let signals = self.signals(script);
        assert!(signals.is_sorted_by_key(Signal::order), "write scripts in order");
        let (mut at_once, mut core) = (Output::default(), self.core());
        core.take(&mut signals.clone(), &mut at_once);
        core.finish(&mut at_once);
        let last = signals.last().map_or(Timestamp(0), |signal| signal.event.time);

        let (mut one_by_one, mut core) = (Output::default(), self.core());
        for signal in &signals {
            core.take(&mut vec![signal.clone()], &mut one_by_one);
            core.advance(0, signal.event.time, &mut one_by_one);
        }
        core.finish(&mut one_by_one);
        assert_eq!(at_once.correlations, one_by_one.correlations, "{script}: followed closely by the watermark");

        let (mut backwards, mut core) = (Output::default(), self.core());
        for signal in signals.iter().rev() {
            core.take(&mut vec![signal.clone()], &mut backwards);
        }
        let first = signals.first().map_or(0, |signal| signal.event.time.0);
        for time in (first..=last.0).take(2_000) {
            core.advance(0, Timestamp(time), &mut backwards);
        }
        core.finish(&mut backwards);
        assert_eq!(at_once.correlations, backwards.correlations, "{script}: arriving backwards");

        let mut after = Output::default();
        core.advance(0, Timestamp(i64::MAX - 1), &mut after);
        let stats = core.stats();
        assert_eq!((stats.waiting, stats.pending), (0, 0), "{script}: left behind after the watermark");
        if self.settings.retention != Span::MAX {
            assert_eq!(
                (stats.keys, stats.events, stats.suppressed, stats.deadlines),
                (0, 0, 0, 0),
                "{script}: {stats:?}"
            );
        }
        at_once
    }

    /// The times of the events of each correlation; `-` is a missing event.
    pub(super) fn found(&self, script: &str) -> Vec<String> {
        self.run(script).correlations.iter().map(times).collect()
    }

    /// As [`Lab::found`], with the window: `1 - 3 in 1..3`.
    pub(super) fn found_in(&self, script: &str) -> Vec<String> {
        let window = |c: &Correlation| format!("{} in {}..{}", times(c), c.window_start.0, c.window_end.0);
        self.run(script).correlations.iter().map(window).collect()
    }

    /// As [`Lab::found`], with how many were folded in: `1 2 +3`.
    pub(super) fn folded(&self, script: &str) -> Vec<String> {
        let folded = |c: &Correlation| format!("{} +{}", times(c), c.suppressed);
        self.run(script).correlations.iter().map(folded).collect()
    }

    /// The printed measures of each correlation.
    pub(super) fn values(&self, script: &str) -> Vec<Vec<(Measure, MeasuredValue)>> {
        self.run(script).correlations.into_iter().map(|c| c.values).collect()
    }
}

pub(super) fn times(correlation: &Correlation) -> String {
    let time = |event: &Option<MatchedEvent>| event.as_ref().map_or("-".to_owned(), |e| e.event.time.0.to_string());
    correlation.events.iter().map(time).collect::<Vec<_>>().join(" ")
}

/// One field `value`: an integer, a fraction, text, or `x,y` for an array of texts; `null`; absent.
fn fields(value: Option<&str>) -> FieldSet {
    let mut event = Projected::with_fields(2);
    match value {
        None => {}
        Some("null") => event.slots[1] = Slot::Null,
        Some(text) if text.contains(',') => {
            for element in text.split(',') {
                event.set_str(VALUE, element);
                event.elements.push(event.slots[1]);
            }
            event.slots[1] = Slot::Array { start: 0, len: event.elements.len() as u32 };
        }
        Some(text) => match (text.parse::<i64>(), text.parse::<f64>()) {
            (Ok(int), _) => event.slots[1] = Slot::Int(int),
            (_, Ok(float)) => event.slots[1] = Slot::Float(float),
            _ => event.set_str(VALUE, text),
        },
    }
    event.extract(&[VALUE])
}
