//! `--kind security`: logins, second factors, account changes, and the network, process and file events between them, in
//! the Elastic Common Schema.

use super::line::{Line, Name};
use super::random::{Random, mix};
use super::script::{Planted, Script, Step};

const FIRST_NAMES: [&str; 8] = ["ada", "barbara", "edsger", "grace", "john", "leslie", "margaret", "tony"];

fn user(line: &mut Line<'_>, n: u64) {
    line.raw(FIRST_NAMES[(n % 8) as usize]).raw(".").number(n);
}
/// The address a user always comes from.
fn home(line: &mut Line<'_>, n: u64) {
    line.ipv4(81, n);
}
/// An address that only incidents come from.
fn away(line: &mut Line<'_>, n: u64) {
    line.ipv4(45, n);
}
fn session(line: &mut Line<'_>, n: u64) {
    line.uuid(n);
}

const ADDRESS: &[(&str, Name)] = &[("source.ip", away)];
const USER: &[(&str, Name)] = &[("user.name", user)];
const USER_ADDRESS: &[(&str, Name)] = &[("user.name", user), ("source.ip", away)];
const SESSION: &[(&str, Name)] = &[("session.id", session)];
const TARGET: &[(&str, Name)] = &[("user.target.name", user)];

pub(super) const SCRIPTS: &[Script] = &[
    Script {
        rule: "auth-password-spraying",
        key: ADDRESS,
        steps: &[spray as Step; 12],
        reported: &[Some(0), Some(1), Some(2), Some(3), Some(4), Some(5), Some(6), Some(7), Some(8), Some(9)],
    },
    // As many failures, of few users.
    Script { rule: "auth-password-spraying", key: ADDRESS, steps: &[spray_three_users as Step; 12], reported: &[] },
    Script {
        rule: "auth-brute-force-success",
        key: USER_ADDRESS,
        steps: &[login_failed, login_failed, login_failed, login_failed, login_failed, login_away],
        reported: &[Some(0), Some(1), Some(2), Some(3), Some(4), Some(5)],
    },
    // The success in between begins the count anew.
    Script {
        rule: "auth-brute-force-success",
        key: USER_ADDRESS,
        steps: &[login_failed, login_failed, login_failed, login_away, login_failed, login_failed, login_away],
        reported: &[],
    },
    Script {
        rule: "auth-mfa-fatigue",
        key: USER,
        steps: &[mfa_denied, mfa_denied, mfa_denied, mfa_denied, mfa_approved],
        reported: &[Some(0), Some(1), Some(2), Some(3), Some(4)],
    },
    Script {
        rule: "auth-mfa-fatigue",
        key: USER,
        steps: &[mfa_denied, mfa_denied, mfa_denied, mfa_approved],
        reported: &[],
    },
    Script {
        rule: "auth-user-from-many-addresses",
        key: USER,
        steps: &[login_roaming as Step; 5],
        reported: &[Some(0), Some(1), Some(2), Some(3)],
    },
    // As many logins, from two addresses.
    Script {
        rule: "auth-user-from-many-addresses",
        key: USER,
        steps: &[login_two_addresses as Step; 6],
        reported: &[],
    },
    Script {
        rule: "auth-disabled-account-revived",
        key: TARGET,
        steps: &[user_enabled, login_away, group_member_added],
        reported: &[Some(0), Some(1), Some(2)],
    },
    // It joined the group before it logged in.
    Script {
        rule: "auth-disabled-account-revived",
        key: TARGET,
        steps: &[user_enabled, group_member_added, login_away],
        reported: &[],
    },
    Script {
        rule: "auth-session-without-second-factor",
        key: SESSION,
        steps: &[password_verified, session_opened],
        reported: &[Some(0), None, Some(1)],
    },
    Script {
        rule: "auth-session-without-second-factor",
        key: SESSION,
        steps: &[password_verified, mfa_approved, session_opened],
        reported: &[],
    },
    Script { rule: "auth-session-without-login", key: SESSION, steps: &[session_opened], reported: &[None, Some(0)] },
];

/// An event of no incident: mostly what no rule asks for, with some logins, each user always from the same address.
pub(super) fn background(line: &mut Line<'_>, random: &mut Random, entity: u64) {
    match random.below(100) {
        0..2 => login(line, entity, "success", home, entity),
        2..62 => {
            line.outcome("network", "connection", "success");
            who(line, entity, home, entity);
            line.raw(",\"destination\":{\"ip\":\"")
                .ipv4(10, mix(entity))
                .raw("\",\"port\":443},\"network\":{\"bytes\":");
            line.number(200 + random.below(100_000)).raw(",\"transport\":\"tcp\"}}");
        }
        62..82 => {
            line.outcome("process", "start", "success");
            who(line, entity, home, entity);
            line.raw(",\"process\":{\"name\":\"bash\",\"executable\":\"/usr/bin/bash\",\"pid\":");
            line.number(1000 + random.below(60_000)).raw("}}");
        }
        _ => {
            line.outcome("file", "open", "success");
            who(line, entity, home, entity);
            line.raw(",\"file\":{\"path\":\"/srv/share/report-").number(random.below(10_000)).raw(".ods\"}}");
        }
    }
}

/// The user (the record's key), the address, the host; the event is left open.
fn who(line: &mut Line<'_>, n: u64, address: Name, from: u64) {
    line.raw(",\"user\":{\"name\":\"").key(user, n).raw("\",\"domain\":\"example.org\"},\"source\":{\"ip\":\"");
    line.name(address, from).raw("\",\"port\":").number(1024 + (mix(from) & 0x7fff));
    line.raw("},\"host\":{\"name\":\"ws-").number(n % 512).raw("\",\"os\":{\"type\":\"linux\"}}");
}

fn login(line: &mut Line<'_>, n: u64, outcome: &str, address: Name, from: u64) {
    line.outcome("authentication", "login", outcome);
    who(line, n, address, from);
    line.raw("}");
}

fn login_failed(line: &mut Line<'_>, planted: Planted) {
    login(line, planted.entity, "failure", away, planted.entity);
}

fn login_away(line: &mut Line<'_>, planted: Planted) {
    login(line, planted.entity, "success", away, planted.entity);
}

fn login_roaming(line: &mut Line<'_>, planted: Planted) {
    login(line, planted.entity, "success", away, mix(planted.entity).wrapping_add(planted.at));
}

fn login_two_addresses(line: &mut Line<'_>, planted: Planted) {
    login(line, planted.entity, "success", away, mix(planted.entity).wrapping_add(planted.at % 2));
}

fn spray(line: &mut Line<'_>, planted: Planted) {
    spray_user(line, planted.entity, planted.at);
}

fn spray_three_users(line: &mut Line<'_>, planted: Planted) {
    spray_user(line, planted.entity, planted.at % 3);
}

/// A failed login of a user of this incident's own; the record's key is the address, which the attack has in common.
fn spray_user(line: &mut Line<'_>, n: u64, at: u64) {
    line.outcome("authentication", "login", "failure").raw(",\"user\":{\"name\":\"svc.").number(n).raw(".").number(at);
    line.raw("\",\"domain\":\"example.org\"},\"source\":{\"ip\":\"").key(away, n);
    line.raw("\"},\"host\":{\"name\":\"vpn-1\",\"os\":{\"type\":\"linux\"}}}");
}

fn with_session(line: &mut Line<'_>, n: u64) {
    who(line, n, away, n);
    line.raw(",\"session\":{\"id\":\"").name(session, n).raw("\"}}");
}

fn mfa_denied(line: &mut Line<'_>, planted: Planted) {
    line.outcome("authentication", "mfa-challenge", "failure");
    with_session(line, planted.entity);
}

fn mfa_approved(line: &mut Line<'_>, planted: Planted) {
    line.outcome("authentication", "mfa-challenge", "success");
    with_session(line, planted.entity);
}

fn password_verified(line: &mut Line<'_>, planted: Planted) {
    line.outcome("authentication", "password-verified", "success");
    with_session(line, planted.entity);
}

fn session_opened(line: &mut Line<'_>, planted: Planted) {
    line.outcome("session", "session-opened", "success");
    with_session(line, planted.entity);
}

fn user_enabled(line: &mut Line<'_>, planted: Planted) {
    account_change(line, planted.entity, "user-enabled");
}

fn group_member_added(line: &mut Line<'_>, planted: Planted) {
    account_change(line, planted.entity, "group-member-added");
}

/// A change by an administrator; the record's key is the account that is changed.
fn account_change(line: &mut Line<'_>, n: u64, action: &str) {
    line.outcome("iam", action, "success").raw(",\"user\":{\"name\":\"admin\",\"target\":{\"name\":\"").key(user, n);
    line.raw("\"}},\"group\":{\"name\":\"backup-operators\"},\"host\":{\"name\":\"dc-1\"}}");
}
