//! Files as the pipeline sees them: every container, every failure.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use super::*;
use crate::broker::{Delivery, Flow, PartitionQueue};
use crate::limits::PAYLOAD_BYTES_MAX;
use crate::ring::Bell;

const LINES: &str = "{\"n\":0}\n\n{\"n\":1}\n{\"n\":2}\n";

#[derive(Clone, Default)]
struct Events(Arc<Mutex<(Vec<Assigned>, Vec<TopicPartition>)>>);

impl GroupEvents for Events {
    fn assigned(&mut self, partitions: Vec<Assigned>) {
        self.0.lock().expect("lock").0.extend(partitions);
    }

    fn revoked(&mut self, partitions: &[TopicPartition]) {
        self.0.lock().expect("lock").1.extend_from_slice(partitions);
    }

    fn lost(&mut self, _: &[TopicPartition]) {
        panic!("files are never lost");
    }
}

fn file(folder: &Path, name: &str, bytes: &[u8]) -> String {
    let path: PathBuf = folder.join(name);
    std::fs::write(&path, bytes).expect("write");
    path.to_str().expect("text").to_owned()
}

fn broker(paths: &[String]) -> FileBroker {
    FileBroker::new(paths.to_vec(), crossbeam_channel::unbounded().0).expect("readable")
}

fn join(broker: &FileBroker, topics: &[String]) -> (Box<dyn Group>, Events) {
    let events = Events::default();
    let subscription = Subscription { topics: topics.to_vec(), read_committed: true };
    let mut group = broker.join(&subscription, Box::new(events.clone())).expect("join");
    group.poll(Duration::ZERO).expect("poll");
    (group, events)
}

/// One queue of one file.
fn queue(path: &str) -> (Box<dyn Group>, Box<dyn PartitionQueue>) {
    let paths = [path.to_owned()];
    let (group, events) = join(&broker(&paths), &paths);
    let assigned = events.0.lock().expect("lock").0.pop().expect("assigned");
    assert_eq!((assigned.committed, assigned.partition.partition), (None, 0));
    (group, assigned.queue)
}

/// What one drain gives: `offset@line value`, `end position`, `failed message`.
fn drain(queue: &mut dyn PartitionQueue) -> Vec<String> {
    let mut seen = Vec::new();
    let count = queue.drain(&mut |delivery| {
        seen.push(match delivery {
            Delivery::Record(record) => {
                let raw = record.to_raw();
                let line =
                    raw.headers.iter().find(|(name, _)| name == LINE_HEADER).and_then(|(_, value)| value.as_deref());
                let text = |bytes: Option<&[u8]>| String::from_utf8_lossy(bytes.expect("bytes")).into_owned();
                format!("{}@{} {}", record.offset, text(line), text(record.value))
            }
            Delivery::End { position } => format!("end {position}"),
            Delivery::Failed(error) => format!("failed {:?} {error}", error.kind),
        });
        Flow::Continue
    });
    assert_eq!(count, seen.len());
    seen
}

fn gzip(text: &str) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(text.as_bytes()).expect("compress");
    encoder.finish().expect("compress")
}

#[test]
fn every_container_gives_the_same_records() {
    let folder = tempfile::tempdir().expect("folder");
    let expected = ["0@1 {\"n\":0}", "1@3 {\"n\":1}", "2@4 {\"n\":2}", "end 3"];
    let (head, tail) = LINES.split_at(10);
    let zstd = |text: &str| zstd::encode_all(text.as_bytes(), 1).expect("compress");
    let contents = [
        LINES.as_bytes().to_vec(),
        [b"\xef\xbb\xbf", LINES.as_bytes()].concat(),
        b"[{\"n\":0},\n\n{\"n\":1},\n{\"n\":2}]".to_vec(),
        gzip(LINES),
        [gzip(head), gzip(tail)].concat(),
        zstd(LINES),
        [zstd(head), zstd(tail)].concat(),
    ];
    for (at, bytes) in contents.iter().enumerate() {
        let path = file(folder.path(), &format!("input{at}"), bytes);
        let broker = broker(std::slice::from_ref(&path));
        let (_group, events) = join(&broker, &[path]);
        let mut queue = events.0.lock().expect("lock").0.pop().expect("assigned").queue;
        assert_eq!(drain(&mut *queue), expected, "content {at}");
        assert_eq!(drain(&mut *queue), ["end 3"], "the end can be asked for again");
        let progress = broker.progress();
        assert_eq!((progress.bytes_read(), progress.bytes_total()), (bytes.len() as u64, Some(bytes.len() as u64)));
    }
}

#[test]
fn a_stopped_drain_goes_on_with_the_next_record() {
    let folder = tempfile::tempdir().expect("folder");
    let (_group, mut queue) = queue(&file(folder.path(), "a", LINES.as_bytes()));
    for expected in 0..3 {
        let mut offset = -1;
        let count = queue.drain(&mut |delivery| {
            if let Delivery::Record(record) = delivery {
                offset = record.offset;
            }
            Flow::Stop
        });
        assert_eq!((count, offset), (1, expected));
    }
    assert_eq!(drain(&mut *queue), ["end 3"]);
}

#[test]
fn a_large_file_is_read_through_a_small_buffer_and_an_overlong_line_does_not_hide_the_next() {
    let folder = tempfile::tempdir().expect("folder");
    let mut text = "{\"pad\":\"0123456789\"}\n".repeat(50_000);
    text.push_str(&"x".repeat(PAYLOAD_BYTES_MAX + 500_000));
    text.push_str("\n{}");
    let (_group, mut queue) = queue(&file(folder.path(), "large", text.as_bytes()));
    let mut sizes = Vec::new();
    queue.drain(&mut |delivery| {
        if let Delivery::Record(record) = delivery {
            sizes.push(record.value.expect("value").len());
        }
        Flow::Continue
    });
    assert_eq!(sizes.len(), 50_002);
    assert!(sizes[..50_000].iter().all(|size| *size == 20));
    assert_eq!(sizes[50_000..], [PAYLOAD_BYTES_MAX + 1, 2]);
}

#[test]
fn a_pipe_is_read_by_its_own_thread_and_never_blocks_the_drain() {
    let folder = tempfile::tempdir().expect("folder");
    let path = folder.path().join("fifo");
    let made = std::process::Command::new("mkfifo").arg(&path).status().expect("mkfifo");
    assert!(made.success());
    let (_group, mut queue) = queue(path.to_str().expect("text"));
    let bell = Bell::default();
    queue.ring_on_data(bell.clone());
    assert_eq!(drain(&mut *queue), Vec::<String>::new(), "nobody writes yet");
    let writer = std::thread::spawn(move || {
        let mut pipe = std::fs::OpenOptions::new().write(true).open(path).expect("open");
        for line in LINES.split_inclusive('\n') {
            pipe.write_all(line.as_bytes()).expect("write");
        }
    });
    let mut seen = Vec::new();
    while seen.last().map(String::as_str) != Some("end 3") {
        bell.wait(|| false, Some(Duration::from_millis(20)));
        seen.extend(drain(&mut *queue));
    }
    writer.join().expect("writer");
    assert_eq!(seen, ["0@1 {\"n\":0}", "1@3 {\"n\":1}", "2@4 {\"n\":2}", "end 3"]);
}

#[test]
fn what_cannot_be_read_is_refused_at_once_by_name() {
    let folder = tempfile::tempdir().expect("folder");
    let there = file(folder.path(), "there", b"{}");
    let refused = |paths: &[&str]| {
        let paths = paths.iter().map(|path| (*path).to_owned()).collect();
        let error = FileBroker::new(paths, crossbeam_channel::unbounded().0).err().expect("refused");
        assert_eq!(error.kind, ErrorKind::File);
        error.message
    };
    let missing = folder.path().join("missing");
    let missing = missing.to_str().expect("text");
    assert!(refused(&[&there, missing]).starts_with(&format!("{missing}: cannot be read: No such file")));
    let directory = folder.path().to_str().expect("text");
    assert_eq!(refused(&[directory]), format!("{directory}: is a directory; name the files in it"));
    assert_eq!(refused(&[&there, &there]), format!("{there}: given twice; name each input once"));
}

#[test]
fn compressed_data_that_is_cut_off_fails_after_what_was_readable() {
    let folder = tempfile::tempdir().expect("folder");
    let mut bytes = gzip(LINES);
    bytes.truncate(bytes.len() - 9);
    let path = file(folder.path(), "cut.gz", &bytes);
    let (_group, mut queue) = queue(&path);
    let seen = drain(&mut *queue);
    let last = seen.last().expect("failed");
    assert!(last.starts_with(&format!("failed File {path}: cannot be read")), "{seen:?}");
    assert_eq!(drain(&mut *queue), Vec::<String>::new(), "told once");
}

#[test]
fn membership_is_one_assignment_and_a_paused_or_revoked_file_gives_nothing() {
    let folder = tempfile::tempdir().expect("folder");
    let paths = [file(folder.path(), "a", b"{}"), file(folder.path(), "b", b"{}\n{}")];
    let broker = broker(&paths);
    assert_eq!(broker.topics(&paths, Duration::ZERO).expect("topics").len(), 2);
    assert_eq!(broker.topics(&["^.*/b$".to_owned()], Duration::ZERO).expect("topics")[0].topic.as_ref(), paths[1]);
    let (mut group, events) = join(&broker, &paths);
    let mut assigned = std::mem::take(&mut events.0.lock().expect("lock").0);
    assert_eq!(assigned.len(), 2);
    let partitions: Vec<_> = assigned.iter().map(|a| a.partition.clone()).collect();
    assert_eq!(group.end_offsets(&partitions, Duration::ZERO).expect("ends"), [i64::MAX; 2]);
    group.pause(&partitions[..1]).expect("pause");
    assert_eq!(drain(&mut *assigned[0].queue), Vec::<String>::new());
    group.resume(&partitions[..1]).expect("resume");
    assert_eq!(drain(&mut *assigned[0].queue), ["0@1 {}", "end 1"]);
    group.leave().expect("leave");
    assert_eq!(events.0.lock().expect("lock").1, partitions);
    assert_eq!(drain(&mut *assigned[1].queue), Vec::<String>::new());
    assert!(group.poll(Duration::ZERO).is_err());
}

#[test]
fn outputs_of_an_aborted_transaction_are_dropped_and_a_closed_outlet_is_an_error() {
    let folder = tempfile::tempdir().expect("folder");
    let (sender, outputs) = crossbeam_channel::unbounded();
    let paths = vec![file(folder.path(), "a", b"{}")];
    let broker = FileBroker::new(paths.clone(), sender).expect("broker");
    let (group, _events) = join(&broker, &paths);
    let record = |value: &str| OutRecord {
        topic: "out".into(),
        partition: None,
        key: None,
        value: Some(value.as_bytes().to_vec()),
        headers: Vec::new(),
        order: None,
    };
    let mut producer = broker.producer(true, None).expect("producer");
    producer.begin().expect("begin");
    producer.send(record("aborted")).expect("send");
    producer.abort().expect("abort");
    producer.begin().expect("begin");
    producer.send(record("kept")).expect("send");
    assert!(outputs.is_empty());
    producer.commit(&[], &*group.handle()).expect("commit");
    assert_eq!(outputs.try_iter().collect::<Vec<_>>(), [record("kept")]);
    let mut direct = broker.producer(false, None).expect("producer");
    direct.send(record("direct")).expect("send");
    assert_eq!(outputs.try_iter().collect::<Vec<_>>(), [record("direct")]);
    drop(outputs);
    assert_eq!(direct.send(record("nobody")).expect_err("closed").kind, ErrorKind::Fatal);
}
