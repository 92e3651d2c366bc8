//! Members that come, go and die.

use super::*;

#[test]
fn a_second_member_gets_its_share_only_after_the_first_gave_it_up() {
    let broker = broker(&[("t", 4)]);
    let (mut first, first_log) = join(&broker.client(APP, "a"), &["t"]);
    poll(&mut *first);
    assert_eq!(first_log.happened(), ["+t/0", "+t/1", "+t/2", "+t/3"]);
    let (mut second, second_log) = join(&broker.client(APP, "b"), &["t"]);
    poll(&mut *second);
    assert_eq!(second_log.happened(), Vec::<String>::new(), "still owned by the first (INV-OWNER)");
    poll(&mut *first);
    assert_eq!(first_log.happened(), ["-t/2", "-t/3"], "cooperative: only what moves is revoked");
    poll(&mut *second);
    assert_eq!(second_log.happened(), ["+t/2", "+t/3"]);
    assert_eq!(broker.client(APP, "a").other_members(Duration::ZERO).expect("members"), ["b"]);
    second.leave().expect("leave");
    assert_eq!(second_log.happened(), ["-t/2", "-t/3"]);
    poll(&mut *first);
    assert_eq!(first_log.happened(), ["+t/2", "+t/3"]);
    assert!(second.poll(Duration::ZERO).is_err());
}

#[test]
fn a_member_can_commit_while_its_partition_is_being_revoked_and_not_afterwards() {
    struct CommitOnRevoke(Log, Arc<Mutex<Option<Arc<dyn crate::broker::GroupHandle>>>>);
    impl GroupEvents for CommitOnRevoke {
        fn assigned(&mut self, partitions: Vec<Assigned>) {
            self.0.assigned(partitions);
        }
        fn revoked(&mut self, partitions: &[TopicPartition]) {
            let handle = self.1.lock().expect("lock").clone().expect("handle");
            let positions: Vec<_> = partitions.iter().map(|p| noted(&p.topic, p.partition, 1, "last words")).collect();
            handle.commit(&positions).expect("still ours");
            self.0.revoked(partitions);
        }
        fn lost(&mut self, _: &[TopicPartition]) {
            panic!("not lost");
        }
    }
    let broker = broker(&[("t", 2)]);
    append(&broker, "t", 1, &["x", "y"]);
    let (log, slot) = (Log::default(), Arc::new(Mutex::new(None)));
    let subscription = Subscription { topics: vec!["t".into()], read_committed: true };
    let events = Box::new(CommitOnRevoke(log.clone(), Arc::clone(&slot)));
    let mut first = broker.client(APP, "a").join(&subscription, events).expect("join");
    *slot.lock().expect("lock") = Some(first.handle());
    poll(&mut *first);
    let mut queue = log.queue("t", 1);
    let (mut second, second_log) = join(&broker.client(APP, "b"), &["t"]);
    poll(&mut *first);
    assert_eq!(first.handle().commit(&[position("t", 1, 2)]).expect_err("given up").kind, ErrorKind::Fenced);
    assert_eq!(drain(&mut *queue), Vec::<String>::new(), "an old queue gives nothing");
    poll(&mut *second);
    assert_eq!(second_log.happened(), ["+t/1@1"]);
    assert_eq!(drain(&mut *second_log.queue("t", 1)), ["1 y", "end 2"]);
    assert_eq!(broker.committed(APP, "t", 1).expect("committed").metadata, "last words");
}

#[test]
fn a_member_whose_session_timed_out_has_lost_everything_and_comes_back() {
    let broker = broker(&[("t", 1)]);
    let (mut first, first_log) = join(&broker.client(APP, "a"), &["t"]);
    poll(&mut *first);
    let (mut second, second_log) = join(&broker.client(APP, "b"), &["t"]);
    first_log.happened();
    let before = first.handle();
    broker.expire_member(APP, "a");
    poll(&mut *second);
    assert_eq!(second_log.happened(), ["+t/0"]);
    let refused = first.handle().commit(&[position("t", 0, 1)]).expect_err("no member");
    assert_eq!(refused.kind, ErrorKind::Fenced);
    assert!(broker.committed(APP, "t", 0).is_none());
    poll(&mut *first);
    assert_eq!(first_log.happened(), ["!t/0"]);
    assert_eq!(broker.owner(APP, "t", 0).as_deref(), Some("b"));
    second.leave().expect("leave");
    poll(&mut *first);
    assert_eq!(first_log.happened(), ["+t/0"]);
    // What was read before the loss is no longer its to commit, though the partition is.
    let refused = before.commit(&[position("t", 0, 1)]).expect_err("of the membership before");
    assert_eq!(refused.kind, ErrorKind::Fenced);
    first.handle().commit(&[position("t", 0, 2)]).expect("of the membership now");
}

#[test]
fn a_restart_under_its_own_name_takes_its_place_at_once_and_fences_the_old_member() {
    let broker = broker(&[("t", 2)]);
    let (mut other, other_log) = join(&broker.client(APP, "b"), &["t"]);
    let (mut old, old_log) = join(&broker.client(APP, "a"), &["t"]);
    poll(&mut *other);
    poll(&mut *old);
    let before = (old_log.happened(), other_log.happened());
    let (mut new, new_log) = join(&broker.client(APP, "a"), &["t"]);
    poll(&mut *new);
    assert_eq!((new_log.happened(), &before.1), (before.0.clone(), &vec!["+t/0".to_owned()]));
    poll(&mut *other);
    assert_eq!(other_log.happened(), Vec::<String>::new(), "nobody else is disturbed");
    assert_eq!(old.poll(Duration::ZERO).expect_err("fenced").kind, ErrorKind::Fenced);
    assert_eq!(old_log.happened(), ["!t/1"]);
    assert_eq!(before.0, ["+t/1"]);
}

#[test]
fn a_killed_member_keeps_its_partitions_until_its_session_times_out() {
    let broker = broker(&[("t", 1)]);
    let (mut killed, _log) = join(&broker.client(APP, "a"), &["t"]);
    poll(&mut *killed);
    drop(killed);
    let (mut next, next_log) = join(&broker.client(APP, "b"), &["t"]);
    poll(&mut *next);
    assert_eq!(next_log.happened(), Vec::<String>::new());
    broker.set_session_timeout(Duration::from_millis(1));
    while next_log.happened() != ["+t/0"] {
        next.poll(Duration::from_millis(5)).expect("member");
    }
}

#[test]
fn a_topic_that_appears_later_is_assigned_to_those_whose_expression_it_matches() {
    let broker = broker(&[("logs.a", 1)]);
    let (mut all, all_log) = join(&broker.client(APP, "a"), &["^logs\\."]);
    let (mut one, one_log) = join(&broker.client(APP, "b"), &["logs.a"]);
    poll(&mut *all);
    poll(&mut *one);
    assert_eq!(all_log.happened(), ["+logs.a/0"]);
    let waker = broker.clone();
    let created = std::thread::spawn(move || waker.create_topic("logs.b", 3));
    while broker.owner(APP, "logs.b", 0).is_none() || broker.owner(APP, "logs.a", 0).as_deref() != Some("b") {
        all.poll(Duration::from_millis(1)).expect("member");
        one.poll(Duration::from_millis(1)).expect("member");
    }
    created.join().expect("created");
    assert_eq!(all_log.happened(), ["-logs.a/0", "+logs.b/0", "+logs.b/1", "+logs.b/2"]);
    assert_eq!(one_log.happened(), ["+logs.a/0"], "evened out: only this one can move");
}

#[test]
fn groups_do_not_see_each_other() {
    let broker = broker(&[("t", 1)]);
    let (mut first, first_log) = join(&broker.client("x", "a"), &["t"]);
    let (mut second, second_log) = join(&broker.client("y", "a"), &["t"]);
    poll(&mut *first);
    poll(&mut *second);
    assert_eq!((first_log.happened(), second_log.happened()), (vec!["+t/0".into()], vec!["+t/0".into()]));
    first.handle().commit(&[noted("t", 0, 9, "m")]).expect("commit");
    assert!(broker.committed("y", "t", 0).is_none());
    assert_eq!(broker.committed("x", "t", 0).expect("committed").offset, 9);
}
