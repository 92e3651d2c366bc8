//! A member as the pipeline would be one: a group thread, whose handler keeps the queues where a test can drain them.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use throughline::broker::kafka::{Assignment, KafkaBroker, KafkaSettings};
use throughline::broker::{
    Assigned, Broker, BrokerError, Delivery, Flow, Group, GroupEvents, GroupHandle, PartitionQueue, Position,
    Subscription, TopicPartition,
};

use crate::support::client::Kafka;
use crate::support::wait_until;

pub const SOON: Duration = Duration::from_secs(30);

pub fn settings(kafka: &Kafka, application: &str, instance: &str) -> KafkaSettings {
    KafkaSettings {
        brokers: kafka.brokers().to_owned(),
        properties: BTreeMap::new(),
        application_id: application.to_owned(),
        instance: instance.to_owned(),
        assignment: Assignment::default(),
    }
}

pub fn broker(kafka: &Kafka, application: &str, instance: &str) -> KafkaBroker {
    KafkaBroker::new(settings(kafka, application, instance)).expect("settings")
}

pub fn subscription(topics: &[&str]) -> Subscription {
    Subscription { topics: topics.iter().map(|t| (*t).to_owned()).collect(), read_committed: true }
}

pub fn at(topic: &str, partition: i32) -> TopicPartition {
    TopicPartition { topic: topic.into(), partition }
}

/// An offset to commit, with nothing noted beside it.
pub fn position(topic: &str, partition: i32, offset: i64) -> Position {
    Position { partition: at(topic, partition), offset, metadata: String::new() }
}

/// One partition as this member holds it.
pub struct Held {
    pub queue: Box<dyn PartitionQueue>,
    pub committed: Option<i64>,
    pub metadata: Option<String>,
    /// Offset and value of what was drained.
    pub records: Vec<(i64, String)>,
    /// Positions of the ends seen.
    pub ends: Vec<i64>,
    pub failed: Vec<BrokerError>,
}

impl Held {
    /// Drains what is there, at most `limit` records.
    pub fn drain(&mut self, limit: usize) -> usize {
        let (mut taken, records, ends, failed) = (0, &mut self.records, &mut self.ends, &mut self.failed);
        self.queue.drain(&mut |delivery| {
            match delivery {
                Delivery::Record(record) => {
                    let value = String::from_utf8_lossy(record.value.unwrap_or_default()).into_owned();
                    records.push((record.offset, value));
                    taken += 1;
                }
                Delivery::End { position } => ends.push(position),
                Delivery::Failed(error) => failed.push(error),
            }
            if taken == limit { Flow::Stop } else { Flow::Continue }
        });
        taken
    }

    /// The next offset after what was drained.
    pub fn next(&self) -> Option<i64> {
        let records = self.records.last().map(|(offset, _)| offset + 1);
        records.max(self.ends.last().copied()).max(self.committed)
    }
}

type OnRevoke = Box<dyn FnMut(&mut BTreeMap<TopicPartition, Held>, &[TopicPartition]) + Send>;

/// What the handler and the test share.
#[derive(Default)]
pub struct State {
    pub held: BTreeMap<TopicPartition, Held>,
    /// Number of assignments, revocations and losses seen.
    pub assignments: usize,
    pub revoked: Vec<TopicPartition>,
    pub lost: Vec<TopicPartition>,
    pub on_revoke: Option<OnRevoke>,
    /// Where to start without a committed offset, and what was asked for.
    pub fallbacks: BTreeMap<TopicPartition, i64>,
    pub asked: Vec<TopicPartition>,
}

struct Events(Arc<Mutex<State>>);

impl GroupEvents for Events {
    fn assigned(&mut self, partitions: Vec<Assigned>) {
        let mut state = self.0.lock().expect("state");
        state.assignments += 1;
        for Assigned { partition, committed, metadata, queue } in partitions {
            let held = Held { queue, committed, metadata, records: Vec::new(), ends: Vec::new(), failed: Vec::new() };
            assert!(state.held.insert(partition, held).is_none(), "assigned twice");
        }
    }

    fn revoked(&mut self, partitions: &[TopicPartition]) {
        let mut state = self.0.lock().expect("state");
        let state = &mut *state;
        if let Some(hook) = &mut state.on_revoke {
            hook(&mut state.held, partitions);
        }
        for partition in partitions {
            assert!(state.held.remove(partition).is_some(), "revoked what was not held");
        }
        state.revoked.extend_from_slice(partitions);
    }

    fn lost(&mut self, partitions: &[TopicPartition]) {
        let mut state = self.0.lock().expect("state");
        for partition in partitions {
            state.held.remove(partition);
        }
        state.lost.extend_from_slice(partitions);
    }

    fn fallback(&mut self, partition: &TopicPartition) -> Option<i64> {
        let mut state = self.0.lock().expect("state");
        state.asked.push(partition.clone());
        state.fallbacks.get(partition).copied()
    }
}

type Command = Box<dyn FnOnce(&mut Box<dyn Group>) + Send>;

/// A running member.
pub struct Member {
    pub state: Arc<Mutex<State>>,
    pub handle: Arc<dyn GroupHandle>,
    commands: Sender<Command>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<Result<(), BrokerError>>>,
}

impl Member {
    pub fn join(broker: &KafkaBroker, subscription: &Subscription) -> Member {
        Self::join_with(broker, subscription, State::default())
    }

    pub fn join_with(broker: &KafkaBroker, subscription: &Subscription, state: State) -> Member {
        let state = Arc::new(Mutex::new(state));
        let group = broker.join(subscription, Box::new(Events(Arc::clone(&state)))).expect("join");
        let (handle, stop) = (group.handle(), Arc::new(AtomicBool::new(false)));
        let (commands, received) = channel();
        let stopped = Arc::clone(&stop);
        let thread = std::thread::spawn(move || serve(group, &received, &stopped));
        Member { state, handle, commands, stop, thread: Some(thread) }
    }

    /// Runs `command` on the group's thread.
    pub fn group<R: Send + 'static>(&self, command: impl FnOnce(&mut Box<dyn Group>) -> R + Send + 'static) -> R {
        let (answer, received) = channel();
        let command: Command = Box::new(move |group| answer.send(command(group)).expect("the test waits"));
        self.commands.send(command).expect("the group's thread is gone");
        received.recv_timeout(SOON).expect("an answer from the group's thread")
    }

    pub fn held(&self) -> Vec<TopicPartition> {
        self.state.lock().expect("state").held.keys().cloned().collect()
    }

    pub fn with<R>(&self, partition: &TopicPartition, look: impl FnOnce(&mut Held) -> R) -> R {
        look(self.state.lock().expect("state").held.get_mut(partition).expect("a held partition"))
    }

    pub fn wait_held(&self, count: usize) {
        wait_until(&format!("{count} partitions held"), SOON, || self.held().len() == count);
    }

    /// Takes at most `limit` records of each partition held, `pace` after each.
    pub fn drain_slowly(&self, limit: usize, pace: Duration) {
        let mut state = self.state.lock().expect("state");
        for held in state.held.values_mut() {
            let mut taken = 0;
            let (records, ends) = (&mut held.records, &mut held.ends);
            held.queue.drain(&mut |delivery| {
                match delivery {
                    Delivery::Record(record) => {
                        let value = String::from_utf8_lossy(record.value.unwrap_or_default()).into_owned();
                        records.push((record.offset, value));
                        taken += 1;
                        std::thread::sleep(pace);
                    }
                    Delivery::End { position } => ends.push(position),
                    Delivery::Failed(error) => panic!("{error}"),
                }
                if taken == limit { Flow::Stop } else { Flow::Continue }
            });
        }
    }

    /// Drains everything held until `done`.
    pub fn drain_until(&self, what: &str, mut done: impl FnMut(&BTreeMap<TopicPartition, Held>) -> bool) {
        wait_until(what, SOON, || {
            let mut state = self.state.lock().expect("state");
            for held in state.held.values_mut() {
                held.drain(usize::MAX);
            }
            done(&state.held)
        });
    }

    /// The next offsets of everything held.
    pub fn positions(&self) -> Vec<Position> {
        let state = self.state.lock().expect("state");
        let known = state.held.iter().filter_map(|(p, h)| Some((p, h.next()?)));
        known.map(|(partition, offset)| position(&partition.topic, partition.partition, offset)).collect()
    }

    /// Ends the membership's thread without leaving: what a crash looks like to the group.
    pub fn crash(mut self) {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.take().expect("running").join().expect("the group's thread").expect("no failure so far");
    }

    pub fn leave(self) {
        self.group(|group| group.leave()).expect("leave");
        drop(self.commands);
        self.stop.store(true, Ordering::Relaxed);
    }

    /// Waits for the membership to fail.
    pub fn failure(mut self) -> BrokerError {
        let thread = self.thread.take().expect("running");
        wait_until("the membership fails", SOON, || thread.is_finished());
        thread.join().expect("the group's thread").expect_err("it ended without an error")
    }
}

fn serve(mut group: Box<dyn Group>, commands: &Receiver<Command>, stop: &AtomicBool) -> Result<(), BrokerError> {
    while !stop.load(Ordering::Relaxed) {
        while let Ok(command) = commands.try_recv() {
            command(&mut group);
        }
        if let Err(error) = group.poll(Duration::from_millis(10)) {
            // A membership that was left says so; that is no failure.
            return if error.message.contains("was left") { Ok(()) } else { Err(error) };
        }
    }
    Ok(())
}
