//! The engine from rules and events to findings, without threads: compile, decode, detect, route, and one
//! `shard::core` for each shard, with the batches and watermarks that a [`Way`] asks for.

use std::ops::ControlFlow;
use std::sync::Arc;

use throughline::decode::{Decoder, StreamFields};
use throughline::detect::Detector;
use throughline::event::{
    Changes, Correlation, Hash128, HashRange, Late, MatchedEvent, MeasuredValue, Origin, Outcome, OutcomeCounts,
    Projected, Resumed, RuleIndex, Signal, Span, Timestamp, TopicId, TopicTable,
};
use throughline::rules::RuleFile;
use throughline::rules::plan::{ConditionId, Pattern, Plan};
use throughline::shard::core::{Core, Cut, Durable, Output, Settings};
use throughline::shard::fetch::carry_out;
use throughline::shard::restore::{restore, sweep, sweep_all};
use throughline::source::route::{Arrival, Router};
use throughline::store::memory::MemoryStore;
use throughline::store::{Batch, Store};

use crate::oracle::event::{Event, TOPICS, nanos};
use crate::oracle::rule::Rule;
use crate::oracle::{self, Finding, value_text, yaml};

/// How events reach the shards: everything that must not decide what is found.
#[derive(Debug, Clone)]
pub struct Way {
    /// Number of shards.
    pub shards: usize,
    /// Signals handed to a shard at once.
    pub batch: usize,
    /// Events between two watermarks; `None`: none before the end.
    pub watermark_every: Option<usize>,
    /// How far the watermark stays behind the newest event.
    pub out_of_orderness_ms: i64,
    /// After so many events: an epoch ends, and with `Some(shards)` all memory is lost and that many shards take the state
    /// up from what was stored. Empty: nothing is stored.
    pub epochs: Vec<(usize, Option<usize>)>,
    /// Bytes of memory for state of a shard; `None`: nothing leaves memory.
    pub budget: Option<usize>,
    /// After a restart keys are taken up one at a time, while events arrive.
    pub sweeps_later: bool,
}

impl Way {
    /// In order, one shard, a watermark after each event.
    pub const PLAIN: Way = Way {
        shards: 1,
        batch: 1,
        watermark_every: Some(1),
        out_of_orderness_ms: 0,
        epochs: Vec::new(),
        budget: None,
        sweeps_later: false,
    };
}

/// What the engine found: each finding with its correlation id, sorted, and what became of the routed events.
#[derive(Debug, Clone, PartialEq)]
pub struct Found {
    /// Findings and their ids.
    pub findings: Vec<(Finding, String)>,
    /// Outcomes, as the shards counted them.
    pub counts: OutcomeCounts,
}

impl Found {
    /// The findings alone.
    pub fn findings(&self) -> Vec<Finding> {
        self.findings.iter().map(|(finding, _)| finding.clone()).collect()
    }
}

/// Compiles rules as the product does; a refused rule set is a bug of this test or of the compiler.
pub fn compile(rules: &[Rule]) -> Arc<Plan> {
    compile_text(&yaml::render_all(rules))
}

/// The same for rules as text.
pub fn compile_text(text: &str) -> Arc<Plan> {
    let file = RuleFile { path: "rules.yaml".into(), text: text.to_owned() };
    match throughline::rules::compile(&[file]) {
        Ok(compiled) => Arc::new(compiled.plan),
        Err(errors) => {
            let errors: Vec<String> = errors.iter().map(ToString::to_string).collect();
            panic!("the compiler refused\n{text}\n{}", errors.join("\n"));
        }
    }
}

/// A source and its shards.
struct Engine<'a> {
    plan: Arc<Plan>,
    way: &'a Way,
    topics: Vec<TopicId>,
    decoder: Decoder,
    detector: Detector,
    router: Router,
    cores: Vec<Core>,
    pending: Vec<Vec<Signal>>,
    out: Output,
    event: Projected,
    hits: Vec<ConditionId>,
    table: TopicTable,
    reached: Timestamp,
    store: MemoryStore,
    epoch: u64,
    /// Rules that are new at the next restart.
    backfill: Arc<[RuleIndex]>,
}

fn decoder(plan: &Plan) -> Decoder {
    let fields = StreamFields { time: Some("ts".into()), id: vec!["id".into()], category: "category".into() };
    Decoder::new(plan, &fields)
}

/// One shard of `shards`, storing what it does if `durable`.
fn core(plan: &Arc<Plan>, table: &TopicTable, (index, shards): (usize, usize), way: &Way) -> Core {
    let range = HashRange::of_shard(index, shards);
    let settings = Settings {
        dedup_window: Span::from_secs(3600),
        retention: Span::from_secs(24 * 3600),
        durable: (!way.epochs.is_empty()).then_some(Durable { cut: Cut::ByHash(16), range, budget: way.budget }),
    };
    Core::new(Arc::clone(plan), settings, table.clone())
}

impl<'a> Engine<'a> {
    fn new(plan: Arc<Plan>, way: &'a Way) -> Self {
        let topics = TopicTable::default();
        // In another order than that of their names.
        let intern = |name: &&str| topics.intern(name).expect("room for two topics");
        let mut ids: Vec<TopicId> = TOPICS.iter().rev().map(intern).collect();
        ids.reverse();
        let decoder = decoder(&plan);
        Engine {
            way,
            topics: ids,
            event: decoder.new_event(),
            decoder,
            detector: Detector::new(Arc::clone(&plan)),
            router: Router::new(Arc::clone(&plan), way.shards),
            cores: (0..way.shards).map(|index| core(&plan, &topics, (index, way.shards), way)).collect(),
            pending: vec![Vec::new(); way.shards],
            out: Output::default(),
            hits: Vec::new(),
            plan,
            table: topics,
            reached: Timestamp::MIN,
            store: MemoryStore::default(),
            epoch: 0,
            backfill: [].into(),
        }
    }

    /// From the next restart on, these are the rules; those that ask for it are run over the past then.
    fn change_rules(&mut self, plan: Arc<Plan>) {
        self.backfill =
            (0..).map(RuleIndex).zip(&plan.rules).filter(|(_, rule)| rule.backfill).map(|(at, _)| at).collect();
        self.decoder = decoder(&plan);
        self.event = self.decoder.new_event();
        self.detector = Detector::new(Arc::clone(&plan));
        self.plan = plan;
    }

    /// Whatever the shards want of the store is carried out, until they want nothing.
    fn serve(&mut self) {
        loop {
            let mut served = false;
            for core in &mut self.cores {
                for request in core.take_requests() {
                    served = true;
                    if let Some(reply) = carry_out(&self.store, request).expect("memory does not fail") {
                        core.answer(reply, &mut self.out).expect("what was written can be read");
                    }
                }
            }
            if !served {
                return;
            }
        }
    }

    /// The end of an epoch: what changed is stored, and memory is brought within its budget.
    fn end_epoch(&mut self) {
        for shard in 0..self.cores.len() {
            self.hand_over(shard);
        }
        self.serve();
        self.epoch += 1;
        for core in &mut self.cores {
            let mut changes = Changes::default();
            core.store(&mut changes);
            self.store.write(&Batch { changes: vec![&changes], applied: Vec::new() }).expect("memory does not fail");
            // Once to see what was touched, once to let it go.
            core.evict(self.epoch);
            core.evict(self.epoch);
        }
    }

    /// All memory is lost; `shards` new shards take up what was stored.
    fn restart(&mut self, shards: usize) {
        self.store = MemoryStore::from_snapshot(self.store.snapshot());
        self.store.scratch_delete(&[], &[0xff; 32]).expect("memory does not fail");
        self.cores = (0..shards).map(|index| core(&self.plan, &self.table, (index, shards), self.way)).collect();
        self.router = Router::new(Arc::clone(&self.plan), shards);
        self.pending = vec![Vec::new(); shards];
        self.epoch = 0;
        for core in &mut self.cores {
            let resumed = Resumed { task: 0, watermark: self.reached, backfill: Arc::clone(&self.backfill) };
            let mut carry = |request| carry_out(&self.store, request).map(drop);
            restore(core, (&self.store, &mut carry), &resumed, 0..16).expect("what was written can be read");
            if !self.way.sweeps_later || !core.sweeps_later(0) {
                sweep_all(core, (&self.store, &mut carry), 0, 0, &mut self.out).expect("what was written can be read");
            }
        }
        self.backfill = [].into();
    }

    /// Some more keys are taken up, or all that are left. What was asked for before is answered after.
    fn sweep(&mut self, all: bool) {
        for core in &mut self.cores {
            while let Some(piece) = core.unswept(0) {
                let mut replies = Vec::new();
                let mut carry = |request| {
                    replies.extend(carry_out(&self.store, request)?);
                    Ok(())
                };
                sweep(core, (&self.store, &mut carry), (0, piece), self.epoch, &mut self.out)
                    .expect("what was written can be read");
                replies.into_iter().for_each(|reply| {
                    core.answer(reply, &mut self.out).expect("what was written can be read");
                });
                if !all {
                    break;
                }
            }
        }
    }

    /// Long after the last event nothing matters any more, and the store must be empty.
    fn assert_forgotten(&mut self, newest_ms: i64) {
        self.watermark(Timestamp(nanos(newest_ms)) + Span::from_secs(90 * 86_400));
        // What expires is forgotten in steps.
        (1..100).for_each(|n| self.watermark(Timestamp(nanos(newest_ms)) + Span::from_secs((90 + n) * 86_400)));
        self.end_epoch();
        let mut kinds: Vec<u8> = Vec::new();
        for partition in 0..16 {
            let mut see = |key: &[u8], _: &[u8]| {
                kinds.push(key[0]);
                ControlFlow::Continue(())
            };
            self.store.scan(partition, &[0], &[0xff], &mut see).expect("memory does not fail");
        }
        assert!(kinds.is_empty(), "parts that nobody will ever remove, by kind: {kinds:02x?}");
    }

    /// Takes one event; `late` marks it as behind the watermark.
    fn arrive(&mut self, event: &Event, late: bool) {
        let payload = event.to_json().to_string();
        let header = self.decoder.decode(payload.as_bytes(), &mut self.event).expect("test events are valid");
        assert_eq!(header.time, Some(Timestamp(nanos(event.time_ms))), "the decoder read another time: {payload}");
        self.detector.detect(&self.event, &mut self.hits);
        let identity: Hash128 = self.decoder.id_hash(&self.event, 1).expect("test events have ids");
        let arrival = Arrival {
            trace: &|| None,
            time: Timestamp(nanos(event.time_ms)),
            origin: Origin { topic: self.topics[event.topic], partition: event.partition, offset: event.offset },
            task: 0,
            id: &|| self.decoder.id_text(&self.event),
            identity: &|| identity,
            late: &|_| late.then_some(Late::Drop),
        };
        let pending = &mut self.pending;
        self.router.route(&self.event, &self.hits, &arrival, |shard, signal| pending[shard].push(signal));
        for shard in 0..self.cores.len() {
            if self.pending[shard].len() >= self.way.batch {
                self.hand_over(shard);
            }
        }
    }

    fn hand_over(&mut self, shard: usize) {
        if !self.pending[shard].is_empty() {
            self.cores[shard].take(&mut self.pending[shard], &mut self.out);
            self.pending[shard].clear();
        }
    }

    fn watermark(&mut self, time: Timestamp) {
        for shard in 0..self.cores.len() {
            self.hand_over(shard);
        }
        // The watermark must not pass by what is being looked up, and may go up to it; keys may come later.
        for core in &mut self.cores {
            let upto = time.min(core.looked_up_from(0));
            core.advance(0, upto, &mut self.out);
        }
        if self.cores.iter().any(Core::looks_up) {
            self.serve();
        }
        for shard in 0..self.cores.len() {
            self.cores[shard].advance(0, time, &mut self.out);
        }
        self.reached = self.reached.max(time);
    }

    fn run(self, arrivals: &[Event]) -> Found {
        self.run_and_change(arrivals, None)
    }

    /// The same; with the first restart the rules change.
    fn run_and_change(mut self, arrivals: &[Event], mut change: Option<Arc<Plan>>) -> Found {
        let forgets = change.is_none();
        let mut newest: Option<i64> = None;
        for (number, event) in arrivals.iter().enumerate() {
            let reach = newest.map(|newest| newest - self.way.out_of_orderness_ms);
            self.arrive(event, reach.is_some_and(|reach| event.time_ms < reach));
            self.sweep(false);
            newest = newest.max(Some(event.time_ms));
            if self.way.watermark_every.is_some_and(|every| (number + 1).is_multiple_of(every)) {
                let behind = |newest: i64| Timestamp(nanos(newest - self.way.out_of_orderness_ms));
                newest.map(behind).into_iter().for_each(|time| self.watermark(time));
            }
            for (_, restart) in self.way.epochs.iter().filter(|(after, _)| *after == number + 1) {
                self.end_epoch();
                if let Some(shards) = restart {
                    change.take().into_iter().for_each(|plan| self.change_rules(plan));
                    self.restart(*shards);
                }
            }
        }
        // The end of a bounded input: the clock first reaches the newest event, so that every shard knows which windows
        // have begun, whatever its own signals were.
        newest.into_iter().for_each(|time| self.watermark(Timestamp(nanos(time))));
        self.sweep(true);
        self.cores.iter_mut().for_each(|core| core.finish(&mut self.out));
        self.serve();
        while self.cores.iter().any(Core::is_undecided) {
            self.end_epoch();
            self.serve();
        }
        let correlations = std::mem::take(&mut self.out.correlations);
        let mut findings: Vec<_> = correlations.iter().map(|c| (self.finding(c), c.id.to_string())).collect();
        findings.sort();
        let mut counts = OutcomeCounts::default();
        self.out.counts.iter().for_each(|(_, of_topic)| counts.merge(of_topic));
        assert!(self.out.dead_letters.is_empty(), "nothing here asks for a dead letter");
        if let (Some(newest), true) = (newest, forgets && !self.way.epochs.is_empty()) {
            self.assert_forgotten(newest);
        }
        Found { findings, counts }
    }

    fn finding(&self, correlation: &Correlation) -> Finding {
        let rule = &self.plan.rules[correlation.rule.0 as usize];
        let id = |event: &MatchedEvent| event.event.id.as_deref().unwrap_or("?").to_owned();
        let number = |value: &MeasuredValue| match *value {
            MeasuredValue::Int(n) => value_text(n as f64),
            MeasuredValue::Float(n) => value_text(n),
        };
        let measures = matches!(rule.pattern, Pattern::Aggregate(_));
        Finding {
            rule: rule.id.clone(),
            key: correlation.key.parts().iter().map(|part| part.to_json().to_string()).collect(),
            start: correlation.window_start.0,
            end: correlation.window_end.0,
            events: correlation.events.iter().map(|event| event.as_ref().map(id)).collect(),
            values: correlation
                .values
                .iter()
                .filter(|_| measures)
                .map(|(measure, value)| (measure.name().to_owned(), number(value)))
                .collect(),
            suppressed: correlation.suppressed,
        }
    }
}

/// What the engine finds when `arrivals` come in this order and in this way.
pub fn run(rules: &[Rule], arrivals: &[Event], way: &Way) -> Found {
    Engine::new(compile(rules), way).run(arrivals)
}

/// What it finds if it first runs on `before`, and from the first restart of its way on on `after`; rules as text.
pub fn run_changed(before: &str, after: &str, arrivals: &[Event], way: &Way) -> Found {
    Engine::new(compile_text(before), way).run_and_change(arrivals, Some(compile_text(after)))
}

/// How many of the events satisfy a step of a rule with a usable key: what the shards must count.
pub fn routed(found: &Found) -> u64 {
    Outcome::ALL.iter().map(|outcome| found.counts.get(*outcome)).sum()
}

/// Engine and oracle agree on `events`, in order, with one shard and with three.
#[track_caller]
pub fn assert_agrees(rules: &[Rule], events: &[Event]) {
    let expected = oracle::evaluate(rules, events);
    for way in [Way::PLAIN, Way { shards: 3, batch: 7, watermark_every: None, out_of_orderness_ms: 1000, ..Way::PLAIN }]
    {
        let found = run(rules, events, &way).findings();
        assert!(found == expected, "{}", disagreement(rules, events, &expected, &found));
    }
}

/// What to print when two answers differ.
pub fn disagreement(rules: &[Rule], events: &[Event], expected: &[Finding], found: &[Finding]) -> String {
    let only = |these: &[Finding], those: &[Finding]| -> String {
        these.iter().filter(|one| !those.contains(one)).map(|one| format!("  {one:?}\n")).collect()
    };
    let listed: String = events.iter().map(|event| format!("{event}\n")).collect();
    format!(
        "\n{}\n{listed}expected, not found:\n{}found, not expected:\n{}",
        yaml::render_all(rules),
        only(expected, found),
        only(found, expected)
    )
}
