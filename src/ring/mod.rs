//! Bounded hand-off of batches between two threads, and the bell that wakes a sleeping consumer.
//!
//! A ring has one producer and one consumer (the ends cannot be cloned). A refused push returns the batch, so
//! backpressure cannot lose data. Spent buffers travel back through [`Consumer::recycle`] and [`Producer::spare`], so a
//! steady flow allocates nothing. The queue itself is `crossbeam_queue::ArrayQueue`: a hand-off is a batch of some
//! hundred signals, so the cost of its sequence counters does not show (see `benches/`).
//!
//! Knows nothing of what it carries.

mod barrier;
mod bell;
mod level;
mod step;

pub use barrier::BarrierLine;
pub use bell::Bell;
pub use level::Level;
pub use step::Step;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crossbeam_queue::ArrayQueue;

struct Shared<T> {
    forward: ArrayQueue<T>,
    back: ArrayQueue<T>,
    /// Set when either end is dropped. Synchronises with nothing: the queue orders what it carries, and whoever sees the
    /// flag late looks again on its next turn.
    closed: AtomicBool,
    consumer: Bell,
    producer: Bell,
}

/// The sending end.
pub struct Producer<T> {
    shared: Arc<Shared<T>>,
}

/// The receiving end.
pub struct Consumer<T> {
    shared: Arc<Shared<T>>,
}

/// A ring of `capacity` batches. `consumer` is rung when a batch arrives; `producer` when room is made in a full ring.
pub fn ring<T>(capacity: usize, producer: Bell, consumer: Bell) -> (Producer<T>, Consumer<T>) {
    let capacity = capacity.max(1);
    let shared = Arc::new(Shared {
        forward: ArrayQueue::new(capacity),
        back: ArrayQueue::new(capacity),
        closed: AtomicBool::new(false),
        consumer,
        producer,
    });
    (Producer { shared: Arc::clone(&shared) }, Consumer { shared })
}

impl<T> Producer<T> {
    /// Hands a batch over. A full ring returns it: keep it and stop producing.
    pub fn push(&mut self, batch: T) -> Result<(), T> {
        self.shared.forward.push(batch)?;
        self.shared.consumer.ring();
        Ok(())
    }

    /// A spent buffer that came back, if any.
    pub fn spare(&mut self) -> Option<T> {
        self.shared.back.pop()
    }

    /// Batches waiting.
    pub fn len(&self) -> usize {
        self.shared.forward.len()
    }

    /// Whether nothing waits.
    pub fn is_empty(&self) -> bool {
        self.shared.forward.is_empty()
    }

    /// Whether the next push would be refused. Only this end pushes, so `false` stays true until it does.
    pub fn is_full(&self) -> bool {
        self.shared.forward.is_full()
    }

    /// Whether the consumer is gone.
    pub fn is_closed(&self) -> bool {
        self.shared.closed.load(Ordering::Relaxed)
    }
}

impl<T> Consumer<T> {
    /// The oldest batch, if any.
    pub fn pop(&mut self) -> Option<T> {
        let batch = self.shared.forward.pop();
        // Looked at after the pop: the producer may have filled the ring since any look before it. Whoever was refused sees
        // either this room or this ring of the bell.
        if batch.is_some() && self.shared.forward.len() + 1 >= self.shared.forward.capacity() {
            self.shared.producer.ring();
        }
        batch
    }

    /// Gives a spent buffer back to the producer; dropped if enough are on their way.
    pub fn recycle(&mut self, batch: T) {
        drop(self.shared.back.push(batch));
    }

    /// Batches waiting.
    pub fn len(&self) -> usize {
        self.shared.forward.len()
    }

    /// Whether nothing waits.
    pub fn is_empty(&self) -> bool {
        self.shared.forward.is_empty()
    }

    /// Whether the producer is gone. Batches may still wait.
    pub fn is_closed(&self) -> bool {
        self.shared.closed.load(Ordering::Relaxed)
    }
}

impl<T> Drop for Producer<T> {
    fn drop(&mut self) {
        self.shared.closed.store(true, Ordering::Relaxed);
        self.shared.consumer.ring();
    }
}

impl<T> Drop for Consumer<T> {
    fn drop(&mut self) {
        self.shared.closed.store(true, Ordering::Relaxed);
        self.shared.producer.ring();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Enough for the two to meet at the brim at every point of a push and a pop; they wait without a timeout, so that room
    /// or a batch which nobody announced would hang here.
    const BATCHES: u64 = 300_000;

    #[test]
    fn a_full_ring_returns_the_batch_and_keeps_order_across_threads() {
        let (bell_p, bell_c) = (Bell::default(), Bell::default());
        let (mut producer, mut consumer) = ring::<Vec<u64>>(4, bell_p.clone(), bell_c.clone());
        let sender = std::thread::spawn(move || {
            for n in 0..BATCHES {
                let mut batch = producer.spare().unwrap_or_default();
                batch.clear();
                batch.push(n);
                while let Err(refused) = producer.push(batch) {
                    batch = refused;
                    bell_p.wait(|| !producer.is_full(), None);
                }
            }
        });
        for expected in 0..BATCHES {
            let batch = loop {
                match consumer.pop() {
                    Some(batch) => break batch,
                    None => {
                        bell_c.wait(|| !consumer.is_empty(), None);
                    }
                }
            };
            assert_eq!(batch, [expected]);
            consumer.recycle(batch);
        }
        sender.join().expect("sender");
        assert!(consumer.is_closed());
    }
}
