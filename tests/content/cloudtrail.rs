//! The CloudTrail rules on the records of a simulated attack, against the same computed plainly.

use serde_json::Value;

use crate::plain::{Condition, Log, Row, field};
use crate::support::{Found, Stream, cloudtrail_records, rules, run_rules};

/// What the rules find, by reading the records: neither side of the comparison may be empty.
const COUNTS: [(&str, usize); 12] = [
    ("aws-admin-role-trust-rewritten", 1),
    ("aws-assume-role-refused-then-allowed", 2),
    ("aws-console-login-without-mfa", 1),
    ("aws-database-snapshot-shared", 1),
    ("aws-instance-credentials-used-elsewhere", 1),
    ("aws-new-user-signs-in", 1),
    ("aws-password-data-burst", 1),
    ("aws-role-created-and-granted", 6),
    ("aws-secrets-harvested", 2),
    ("aws-trail-stopped-then-deleted", 1),
    ("aws-user-created-with-policy-and-key", 1),
    ("aws-user-data-harvested", 1),
];

#[test]
fn the_rules_find_in_real_records_what_a_plain_computation_finds() {
    let records = cloudtrail_records();
    let log = Log::new(&records);
    let expected = expected(&log);
    for (rule, count) in COUNTS {
        assert_eq!(expected.iter().filter(|found| found.rule == rule).count(), count, "{rule}");
    }
    let lines: Vec<Vec<u8>> = records.iter().map(|record| record.to_string().into_bytes()).collect();
    // All starter rules at once: those for other kinds of events have nothing to say here.
    let mut found: Vec<Found> = run_rules(&[rules("")], &lines, &Stream::CLOUDTRAIL).iter().map(Found::of).collect();
    found.sort();
    assert_eq!(found, expected);
}

#[test]
fn the_order_of_arrival_does_not_matter() {
    let records = cloudtrail_records();
    let lines: Vec<Vec<u8>> = records.iter().map(|record| record.to_string().into_bytes()).collect();
    let run = |lines: &[Vec<u8>]| {
        let mut found: Vec<Found> =
            run_rules(&[rules("cloudtrail")], lines, &Stream::CLOUDTRAIL).iter().map(Found::of).collect();
        found.sort();
        found
    };
    // Sorted by time (stable, so that records of one second keep their order, as the total order has it).
    let mut sorted: Vec<usize> = (0..lines.len()).collect();
    sorted.sort_by_key(|&at| field(&records[at], "eventTime"));
    let sorted: Vec<Vec<u8>> = sorted.into_iter().map(|at| lines[at].clone()).collect();
    assert_eq!(run(&sorted), run(&lines));
}

const WHO: &str = "userIdentity.arn";
const NEW_USER: &str = "requestParameters.userName";
const ROLE: &str = "requestParameters.roleName";
const SNAPSHOT: &str = "requestParameters.dBSnapshotIdentifier";

fn is(record: &Value, path: &str, value: &str) -> bool {
    field(record, path).as_deref() == Some(value)
}

fn done(record: &Value, name: &str) -> bool {
    is(record, "eventName", name) && field(record, "errorCode").is_none()
}

fn signed_in(record: &Value) -> bool {
    is(record, "eventName", "ConsoleLogin") && is(record, "responseElements.ConsoleLogin", "Success")
}

/// What each rule must find, written from its description.
fn expected(log: &Log) -> Vec<Found> {
    let mut all = grants(log);
    all.extend(logins_and_leaks(log));
    all.extend(bursts(log));
    let mut found: Vec<Found> = all
        .into_iter()
        .flat_map(|(rule, key, rows)| {
            rows.into_iter().map(move |(values, events)| Found {
                rule: rule.to_owned(),
                key: key.iter().zip(values).map(|(name, value)| ((*name).to_owned(), value)).collect(),
                events: events.into_iter().map(|at| Some(log.id(at))).collect(),
            })
        })
        .collect();
    found.sort();
    found
}

type Finding = (&'static str, &'static [&'static str], Vec<Row>);

fn created_user(record: &Value) -> bool {
    done(record, "CreateUser")
}

/// Rights given, and the trail that would have shown it.
fn grants(log: &Log) -> Vec<Finding> {
    let created_role: Condition = |r| done(r, "CreateRole");
    let by_user: &[&str] = &[WHO, NEW_USER];
    let by_role: &[&str] = &[WHO, ROLE];
    vec![
        (
            "aws-user-created-with-policy-and-key",
            &[WHO, NEW_USER],
            log.rows(
                600,
                &[
                    (created_user, by_user),
                    (|r| done(r, "AttachUserPolicy"), by_user),
                    (|r| done(r, "CreateAccessKey"), by_user),
                ],
            ),
        ),
        (
            "aws-role-created-and-granted",
            &[WHO, ROLE],
            log.rows(300, &[(created_role, by_role), (|r| done(r, "AttachRolePolicy"), by_role)]),
        ),
        (
            "aws-admin-role-trust-rewritten",
            &[ROLE],
            log.rows(
                900,
                &[
                    (created_role, &[ROLE]),
                    (
                        |r| {
                            let policy = field(r, "requestParameters.policyArn").unwrap_or_default();
                            done(r, "AttachRolePolicy") && policy.ends_with("policy/AdministratorAccess")
                        },
                        &[ROLE],
                    ),
                    (|r| done(r, "UpdateAssumeRolePolicy"), &[ROLE]),
                ],
            ),
        ),
        (
            "aws-trail-stopped-then-deleted",
            &[WHO],
            log.rows(
                1800,
                &[(|r| is(r, "eventName", "StopLogging"), &[WHO]), (|r| is(r, "eventName", "DeleteTrail"), &[WHO])],
            ),
        ),
    ]
}

/// Identities taken on, and data let out.
fn logins_and_leaks(log: &Log) -> Vec<Finding> {
    let refused: Condition = |r| is(r, "eventName", "AssumeRole") && is(r, "errorCode", "AccessDenied");
    let by_snapshot: &[&str] = &[WHO, SNAPSHOT];
    vec![
        (
            "aws-assume-role-refused-then-allowed",
            &[WHO],
            log.suppress(
                600,
                log.rows(60, &[(refused, &[WHO]), (refused, &[WHO]), (|r| done(r, "AssumeRole"), &[WHO])]),
            ),
        ),
        (
            "aws-console-login-without-mfa",
            &[],
            log.events(|r| signed_in(r) && is(r, "additionalEventData.MFAUsed", "No")),
        ),
        (
            "aws-new-user-signs-in",
            &[NEW_USER],
            log.rows(
                1800,
                &[
                    (created_user, &[NEW_USER]),
                    (|r| done(r, "CreateLoginProfile"), &[NEW_USER]),
                    (signed_in, &["userIdentity.userName"]),
                ],
            ),
        ),
        (
            "aws-database-snapshot-shared",
            &[WHO, SNAPSHOT],
            log.rows(
                3600,
                &[
                    (|r| done(r, "CreateDBSnapshot"), by_snapshot),
                    (
                        |r| {
                            done(r, "ModifyDBSnapshotAttribute")
                                && field(r, "requestParameters.valuesToAdd").is_some()
                                && is(r, "requestParameters.attributeName", "restore")
                        },
                        by_snapshot,
                    ),
                ],
            ),
        ),
    ]
}

fn bursts(log: &Log) -> Vec<Finding> {
    vec![
        ("aws-password-data-burst", &[WHO], log.bursts(300, 10, |r| is(r, "eventName", "GetPasswordData"), WHO, None)),
        (
            "aws-secrets-harvested",
            &[WHO],
            log.bursts(300, 15, |r| done(r, "GetSecretValue"), WHO, Some("requestParameters.secretId")),
        ),
        (
            "aws-user-data-harvested",
            &[WHO],
            log.bursts(
                300,
                10,
                |r| is(r, "eventName", "DescribeInstanceAttribute") && is(r, "requestParameters.attribute", "userData"),
                WHO,
                Some("requestParameters.instanceId"),
            ),
        ),
        (
            "aws-instance-credentials-used-elsewhere",
            &[WHO],
            log.suppress(
                3600,
                log.bursts(
                    3600,
                    2,
                    |r| {
                        let session = field(r, WHO).unwrap_or_default();
                        is(r, "userIdentity.type", "AssumedRole")
                            && session.contains(":assumed-role/")
                            && session.rsplit('/').next().is_some_and(|name| name.starts_with("i-"))
                            && !field(r, "sourceIPAddress").is_none_or(|from| from.ends_with(".amazonaws.com"))
                    },
                    WHO,
                    Some("sourceIPAddress"),
                ),
            ),
        ),
    ]
}
