//! `--kind payments`: sales, transfers, authorisations and settlements of a payment service. Amounts are in minor units.

use super::line::{Line, Name};
use super::random::{Random, mix};
use super::script::{Planted, Script, Step};

fn account(line: &mut Line<'_>, n: u64) {
    line.raw("acc-").hex(n, 10);
}
fn payment(line: &mut Line<'_>, n: u64) {
    line.uuid(n);
}
fn card(line: &mut Line<'_>, n: u64) {
    line.raw("card-").hex(mix(n), 12);
}
fn gateway(line: &mut Line<'_>, n: u64) {
    line.raw("gw-").number(n);
}
/// The address an account always comes from.
fn home(line: &mut Line<'_>, n: u64) {
    line.ipv4(81, n);
}
/// An address that only incidents come from.
fn away(line: &mut Line<'_>, n: u64) {
    line.ipv4(45, n);
}

const ADDRESS: &[(&str, Name)] = &[("source.ip", away)];
const ACCOUNT: &[(&str, Name)] = &[("payment.account.id", account)];
const PAYMENT: &[(&str, Name)] = &[("payment.id", payment)];
const GATEWAY: &[(&str, Name)] = &[("payment.gateway", gateway)];

pub(super) const SCRIPTS: &[Script] = &[
    Script {
        rule: "pay-card-testing",
        key: ADDRESS,
        steps: &[card_declined as Step; 9],
        reported: &[Some(0), Some(1), Some(2), Some(3), Some(4), Some(5), Some(6), Some(7)],
    },
    // One customer who types two cards wrong again and again.
    Script { rule: "pay-card-testing", key: ADDRESS, steps: &[two_cards_declined as Step; 9], reported: &[] },
    // Six slices of 1,900.00: the sixth crosses the limit.
    Script {
        rule: "pay-transfer-velocity",
        key: ACCOUNT,
        steps: &[transfer as Step; 6],
        reported: &[Some(0), Some(1), Some(2), Some(3), Some(4), Some(5)],
    },
    Script { rule: "pay-transfer-velocity", key: ACCOUNT, steps: &[transfer as Step; 5], reported: &[] },
    Script { rule: "pay-authorised-never-captured", key: PAYMENT, steps: &[authorised], reported: &[Some(0), None] },
    Script { rule: "pay-authorised-never-captured", key: PAYMENT, steps: &[authorised, captured], reported: &[] },
    Script { rule: "pay-authorised-never-captured", key: PAYMENT, steps: &[authorised, voided], reported: &[] },
    Script { rule: "pay-settlement-slow", key: GATEWAY, steps: &[settled_late, settled_late], reported: &[Some(0)] },
    Script { rule: "pay-settlement-slow", key: GATEWAY, steps: &[settled_in_time, settled_in_time], reported: &[] },
];

/// An event of no incident: mostly sales, of which no rule wants the approved ones; a few settlements, all quick.
pub(super) fn background(line: &mut Line<'_>, random: &mut Random, entity: u64) {
    let amount = 600 + random.below(20_000);
    match random.below(100) {
        0..2 => settlement(line, entity % 8, 1_000_000_000 + random.below(9_000_000_000)),
        2..72 => {
            line.outcome("payment", "sale", "success");
            paid(line, random.bits(), entity, amount, entity, home, entity);
        }
        72..75 => {
            line.outcome("payment", "sale", "failure");
            paid(line, random.bits(), entity, amount, entity, home, entity);
        }
        75..90 => {
            line.outcome("payment", "balance-inquiry", "success");
            paid(line, random.bits(), entity, 0, entity, home, entity);
        }
        _ => {
            line.outcome("payment", "card-tokenised", "success");
            paid(line, random.bits(), entity, 0, entity, home, entity);
        }
    }
}

/// The payment, its account (the record's key), card and address, and the end of the event.
fn paid(line: &mut Line<'_>, id: u64, n: u64, amount_minor: u64, card_of: u64, address: Name, from: u64) {
    line.raw(",\"payment\":{\"id\":\"").name(payment, id).raw("\",\"account\":{\"id\":\"").key(account, n);
    line.raw("\"},\"card\":{\"id\":\"").name(card, card_of).raw("\"},\"amount_minor\":").number(amount_minor);
    line.raw(",\"currency\":\"EUR\",\"gateway\":\"").name(gateway, n % 8);
    line.raw("\"},\"source\":{\"ip\":\"").name(address, from).raw("\"}}");
}

fn card_declined(line: &mut Line<'_>, planted: Planted) {
    declined(line, planted.entity, planted.at);
}

fn two_cards_declined(line: &mut Line<'_>, planted: Planted) {
    declined(line, planted.entity, planted.at % 2);
}

fn declined(line: &mut Line<'_>, n: u64, card: u64) {
    line.outcome("payment", "sale", "failure");
    paid(line, mix(n).wrapping_add(card), n, 100 + card, mix(!n).wrapping_add(card), away, n);
}

fn transfer(line: &mut Line<'_>, planted: Planted) {
    let n = planted.entity;
    line.outcome("payment", "transfer", "success");
    paid(line, mix(n).wrapping_add(planted.at), n, 190_000, n, home, n);
}

fn authorised(line: &mut Line<'_>, planted: Planted) {
    flow(line, "authorise", planted);
}

fn captured(line: &mut Line<'_>, planted: Planted) {
    flow(line, "capture", planted);
}

fn voided(line: &mut Line<'_>, planted: Planted) {
    flow(line, "void", planted);
}

fn flow(line: &mut Line<'_>, action: &str, planted: Planted) {
    let n = planted.entity;
    line.outcome("payment", action, "success");
    paid(line, n, n, 4_200, n, home, n);
}

/// A settlement; the record's key is the gateway.
fn settlement(line: &mut Line<'_>, n: u64, duration_ns: u64) {
    line.raw(",\"duration\":").number(duration_ns).outcome("payment", "settlement", "success");
    line.raw(",\"payment\":{\"gateway\":\"").key(gateway, n).raw("\",\"currency\":\"EUR\"}}");
}

fn settled_late(line: &mut Line<'_>, planted: Planted) {
    settlement(line, planted.entity, 40_000_000_000);
}

fn settled_in_time(line: &mut Line<'_>, planted: Planted) {
    settlement(line, planted.entity, 25_000_000_000);
}
