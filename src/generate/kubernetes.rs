//! `--kind kubernetes`: the life of pods, services and nodes, as an event exporter writes it.

use super::line::{Line, Name};
use super::random::{Random, mix};
use super::script::{Planted, Script, Step};

const SERVICES: [&str; 8] = ["cart", "checkout", "catalog", "search", "orders", "billing", "shipping", "profile"];
const NAMESPACES: [&str; 6] = ["shop", "search", "payments", "logistics", "platform", "identity"];

fn pod_uid(line: &mut Line<'_>, n: u64) {
    line.uuid(n);
}
fn namespace(line: &mut Line<'_>, n: u64) {
    line.raw(NAMESPACES[(n % 6) as usize]);
}
fn node(line: &mut Line<'_>, n: u64) {
    line.raw("node-").number(n);
}
fn deployment(line: &mut Line<'_>, n: u64) {
    line.raw(SERVICES[(n % 8) as usize]).raw("-").number(n);
}

const POD: &[(&str, Name)] = &[("k8s.pod.uid", pod_uid)];
const NODE: &[(&str, Name)] = &[("k8s.node.name", node)];
const DEPLOYMENT: &[(&str, Name)] = &[("k8s.namespace.name", namespace), ("k8s.deployment.name", deployment)];
const SERVICE: &[(&str, Name)] = &[("k8s.namespace.name", namespace), ("k8s.service.name", deployment)];

pub(super) const SCRIPTS: &[Script] = &[
    Script {
        rule: "k8s-oom-crash-loop",
        key: POD,
        steps: &[oom_kill, back_off, back_off, back_off],
        reported: &[Some(0), Some(1), Some(2), Some(3)],
    },
    // Two restarts are no loop.
    Script { rule: "k8s-oom-crash-loop", key: POD, steps: &[oom_kill, back_off, back_off], reported: &[] },
    Script {
        rule: "k8s-crash-loop",
        key: POD,
        steps: &[back_off as Step; 7],
        reported: &[Some(0), Some(1), Some(2), Some(3), Some(4)],
    },
    // Back-off of a pull has the same reason as that of a container.
    Script {
        rule: "k8s-crash-loop",
        key: POD,
        steps: &[back_off, back_off, back_off, back_off, pull_back_off, pull_back_off],
        reported: &[],
    },
    Script {
        rule: "k8s-image-pull-never-started",
        key: POD,
        steps: &[pull_failed, pull_back_off, pull_back_off],
        reported: &[Some(0), None],
    },
    // The second attempt went through.
    Script {
        rule: "k8s-image-pull-never-started",
        key: POD,
        steps: &[pull_failed, pull_back_off, started],
        reported: &[],
    },
    Script {
        rule: "k8s-node-not-ready-evictions",
        key: NODE,
        steps: &[node_not_ready, evicted, evicted, evicted],
        reported: &[Some(0), Some(1), Some(2), Some(3)],
    },
    // The node came back before the third eviction.
    Script {
        rule: "k8s-node-not-ready-evictions",
        key: NODE,
        steps: &[node_not_ready, evicted, evicted, node_ready, evicted],
        reported: &[],
    },
    Script {
        rule: "k8s-config-change-then-failures",
        key: DEPLOYMENT,
        steps: &[config_change, unhealthy, unhealthy, unhealthy],
        reported: &[Some(0), Some(1), Some(2), Some(3)],
    },
    // It failed before it was changed: the change is the cure.
    Script {
        rule: "k8s-config-change-then-failures",
        key: DEPLOYMENT,
        steps: &[unhealthy, unhealthy, unhealthy, config_change],
        reported: &[],
    },
    Script {
        rule: "k8s-service-without-endpoints",
        key: SERVICE,
        steps: &[endpoints_some, endpoints_none],
        reported: &[Some(1), None],
    },
    // A rollout of a single replica.
    Script {
        rule: "k8s-service-without-endpoints",
        key: SERVICE,
        steps: &[endpoints_none, endpoints_some],
        reported: &[],
    },
];

/// An event of no incident: mostly what no rule asks for, with a few events that are a step of one and lead nowhere.
pub(super) fn background(line: &mut Line<'_>, random: &mut Random, entity: u64) {
    match random.below(100) {
        0..2 => pod_event(line, entity, "Started", "Started container app"),
        2 => endpoints(line, entity, 1 + random.below(8)),
        3..30 => pod_event(line, entity, "Scheduled", "Successfully assigned the pod to a node"),
        30..55 => pod_event(line, entity, "Pulled", "Container image already present on machine"),
        55..80 => pod_event(line, entity, "Created", "Created container app"),
        80..90 => pod_event(line, entity, "Killing", "Stopping container app"),
        _ => pod_event(line, entity, "SuccessfulCreate", "Created pod for the replica set"),
    }
}

fn pod_event(line: &mut Line<'_>, n: u64, reason: &str, message: &str) {
    line.raw(",\"reason\":\"").raw(reason).raw("\"").event("kubernetes", "pod_event");
    line.raw(",\"message\":\"").raw(message).raw("\"");
    pod(line, n);
}

/// The pod `n` with where it runs, and the end of the event.
fn pod(line: &mut Line<'_>, n: u64) {
    line.raw(",\"k8s\":{\"namespace\":{\"name\":\"").name(namespace, n);
    line.raw("\"},\"node\":{\"name\":\"").name(node, n % 64);
    line.raw("\"},\"pod\":{\"name\":\"").name(deployment, n).raw("-").hex(mix(n), 5);
    line.raw("\",\"uid\":\"").key(pod_uid, n).raw("\"}},\"container\":{\"image\":{\"name\":\"app:1.4.2\"}}}");
}

fn oom_kill(line: &mut Line<'_>, planted: Planted) {
    line.event("kernel", "oom_kill").raw(",\"message\":\"Memory cgroup out of memory: killed process\"");
    pod(line, planted.entity);
}

fn back_off(line: &mut Line<'_>, planted: Planted) {
    pod_event(line, planted.entity, "BackOff", "Back-off restarting failed container app");
}

fn pull_failed(line: &mut Line<'_>, planted: Planted) {
    pod_event(line, planted.entity, "Failed", "Failed to pull image: manifest unknown");
}

fn pull_back_off(line: &mut Line<'_>, planted: Planted) {
    pod_event(line, planted.entity, "BackOff", "Back-off pulling image");
}

fn started(line: &mut Line<'_>, planted: Planted) {
    pod_event(line, planted.entity, "Started", "Started container app");
}

fn unhealthy(line: &mut Line<'_>, planted: Planted) {
    let n = planted.entity;
    line.raw(",\"reason\":\"Unhealthy\"").event("kubernetes", "pod_event");
    line.raw(",\"message\":\"Readiness probe failed: statuscode 503\",\"k8s\":{\"namespace\":{\"name\":\"")
        .name(namespace, n);
    line.raw("\"},\"deployment\":{\"name\":\"").key(deployment, n).raw("\"},\"pod\":{\"uid\":\"").name(pod_uid, n);
    line.raw("\"}}}");
}

fn node_event(line: &mut Line<'_>, n: u64, reason: &str, message: &str) {
    line.raw(",\"reason\":\"").raw(reason).raw("\"").event("kubernetes", "node_event");
    line.raw(",\"message\":\"").raw(message);
    line.raw("\",\"k8s\":{\"cluster\":{\"name\":\"prod-1\"},\"node\":{\"name\":\"").key(node, n).raw("\"}");
}

fn node_not_ready(line: &mut Line<'_>, planted: Planted) {
    node_event(line, planted.entity, "NodeNotReady", "Node status is now: NodeNotReady");
    line.raw("}}");
}

fn node_ready(line: &mut Line<'_>, planted: Planted) {
    node_event(line, planted.entity, "NodeReady", "Node status is now: NodeReady");
    line.raw("}}");
}

fn evicted(line: &mut Line<'_>, planted: Planted) {
    let pod = planted.entity.wrapping_mul(16).wrapping_add(planted.at);
    node_event(line, planted.entity, "TaintManagerEviction", "Marking for deletion Pod");
    line.raw(",\"namespace\":{\"name\":\"").name(namespace, pod).raw("\"},\"pod\":{\"name\":\"").name(deployment, pod);
    line.raw("\",\"uid\":\"").uuid(!pod).raw("\"}}}");
}

fn config_change(line: &mut Line<'_>, planted: Planted) {
    let n = planted.entity;
    line.outcome("configuration", "update", "success").raw(",\"user\":{\"name\":\"deployer\"},\"source\":{\"ip\":\"");
    line.ipv4(10, n).raw("\"},\"orchestrator\":{\"resource\":{\"type\":\"configmap\",\"name\":\"").name(deployment, n);
    line.raw("-config\"}},\"k8s\":{\"namespace\":{\"name\":\"").name(namespace, n);
    line.raw("\"},\"deployment\":{\"name\":\"").key(deployment, n).raw("\"}}}");
}

fn endpoints(line: &mut Line<'_>, n: u64, ready: u64) {
    line.event("kubernetes", "endpoints_updated")
        .raw(",\"message\":\"Endpoint slice updated\",\"k8s\":{\"namespace\":");
    line.raw("{\"name\":\"").name(namespace, n).raw("\"},\"service\":{\"name\":\"").key(deployment, n);
    line.raw("\",\"endpoints\":{\"ready\":").number(ready).raw("}}}}");
}

fn endpoints_none(line: &mut Line<'_>, planted: Planted) {
    endpoints(line, planted.entity, 0);
}

fn endpoints_some(line: &mut Line<'_>, planted: Planted) {
    endpoints(line, planted.entity, 2);
}
