//! The configuration from the outside: files in, settings or complaints out.

use super::*;
use crate::event::{LatePolicy, Span};

struct Case {
    directory: tempfile::TempDir,
    sources: Sources,
}

impl Case {
    fn of(text: &str) -> Self {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let file = directory.path().join("c.yaml");
        std::fs::write(&file, text).expect("written");
        let overrides = vec!["instance=here".to_owned()];
        Case { directory, sources: Sources { file: Some(file), environment: Vec::new(), overrides } }
    }

    fn variable(mut self, name: &str, value: &str) -> Self {
        self.sources.environment.push((name.into(), value.into()));
        self
    }

    fn set(mut self, text: &str) -> Self {
        self.sources.overrides.push(text.into());
        self
    }

    fn settings(&self) -> Settings {
        load(&self.sources).unwrap_or_else(|problems| panic!("{}", listed(&problems)))
    }

    /// The complaints, with the file's name alone in front.
    fn complaints(&self) -> String {
        let directory = format!("{}/", self.directory.path().display());
        listed(&load(&self.sources).expect_err("this configuration is wrong")).replace(&directory, "")
    }
}

fn listed(problems: &[Problem]) -> String {
    problems.iter().map(|p| format!("{p}\n")).collect()
}

#[test]
fn an_empty_file_gives_the_defaults() {
    for text in ["", "# nothing\n", "---\n", "{}", "kafka:\ninput:\n"] {
        let settings = Case::of(text).settings();
        assert_eq!(settings.application_id, "throughline");
        assert_eq!(settings.kafka.brokers, "localhost:9092");
        assert_eq!(settings.epoch, Span::from_millis(200));
        assert_eq!(settings.delivery, Delivery::ExactlyOnce);
        assert_eq!(settings.dedup_window, Span::from_secs(3600));
        assert_eq!(settings.state.memory_bytes, 256 << 20);
        assert_eq!(settings.workers, Workers::default());
        assert!(settings.inputs.is_empty());
    }
}

#[test]
fn everything_that_can_be_typed_is_resolved() {
    let settings = Case::of(
        "application_id: fraud\nkafka: {brokers: 'a:1,b:2', properties: {security.protocol: SASL_SSL, fetch: {min: {bytes: 7}}}}\n\
         input:\n- topics: ['^logs\\..*']\n  time: {field: '@timestamp'}\n  id: [a.b, c]\n  category: kind\n\
         \x20 out_of_orderness: 0\n  idle_timeout: 1m\n  late: process\n  max_skew: 2m\n  max_future: 1d\n\
         \x20 sigma: {fields: {User: user.name}, on: true}\n- topics: other\n\
         delivery: at_least_once\nlocality: partition\ndedup: {window: 0}\n\
         workers: {shards: 3, sources: auto, pin: [4, 5]}\nadmin: {listen: '[::1]:80'}\n",
    )
    .settings();
    assert_eq!(settings.kafka.properties["fetch.min.bytes"], "7");
    let (first, second) = (&settings.inputs[0], &settings.inputs[1]);
    assert_eq!(first.id_fields, ["a.b", "c"]);
    assert_eq!(first.out_of_orderness, Span::ZERO);
    assert_eq!(first.late, LatePolicy::Process);
    assert_eq!(first.max_future, Span::from_secs(86_400));
    assert_eq!(first.sigma["fields"]["User"], "user.name");
    assert_eq!(first.sigma["on"], true);
    assert!(first.reads("logs.a") && !first.reads("other"));
    assert_eq!(*second, Input::of_topics(vec!["other".into()]));
    assert_eq!(settings.workers.shards, Some(3));
    assert_eq!(settings.workers.pin, Pin::List(vec![4, 5]));
    assert_eq!(settings.dedup_window, Span::ZERO);
    assert_eq!(settings.locality, Locality::Partition);
}

#[test]
fn later_layers_win_and_dotted_properties_stay_whole() {
    let case = Case::of(
        "epoch: 1s\ninput: [{topics: a}, {topics: b}]\nkafka: {properties: {sasl: {password: file}, client.id: x}}",
    )
    .variable("THROUGHLINE_EPOCH", "300ms")
    .variable("THROUGHLINE_DEDUP__WINDOW", "2h")
    .variable("THROUGHLINE_KAFKA__PROPERTIES__SASL__PASSWORD", "a: #'secret'")
    .variable("THROUGHLINE_INPUT__1__TOPICS", "[c, d]")
    .set("epoch=400ms")
    .set("input.0.late=drop")
    .set("kafka.properties.security.protocol=ssl")
    .set("workers={shards: 2}");
    let settings = case.settings();
    assert_eq!(settings.epoch, Span::from_millis(400));
    assert_eq!(settings.dedup_window, Span::from_secs(7200));
    assert_eq!(settings.inputs[0].late, LatePolicy::Drop);
    assert_eq!(settings.inputs[1].topics, ["c", "d"]);
    assert_eq!(settings.workers.shards, Some(2));
    let properties: Vec<_> = settings.kafka.properties.iter().map(|(k, v)| format!("{k}={v}")).collect();
    assert_eq!(properties, ["client.id=x", "sasl.password=a: #'secret'", "security.protocol=ssl"]);
}

#[test]
fn a_layer_replaces_lists_and_leaves_what_it_does_not_name() {
    let file = "kafka: {brokers: 'b:2', properties: {Client.ID: x, sasl: {username: u}}}\n\
                input: [{topics: [a, b], late: drop, sigma: {z: 1, A.b: 1.5, m: null}}, {topics: c}]\n";
    let settings = Case::of(file)
        .variable("THROUGHLINE_KAFKA", "")
        .variable("THROUGHLINE_INPUT__0__TOPICS__1", "d")
        .set("kafka.properties.sasl.username=v")
        .set("input.0.sigma.A.c=true")
        .set("input.2.topics=[e]")
        .settings();
    assert_eq!(settings.kafka.brokers, "b:2");
    let properties: Vec<_> = settings.kafka.properties.iter().map(|(k, v)| format!("{k}={v}")).collect();
    assert_eq!(properties, ["Client.ID=x", "sasl.username=v"]);
    let topics: Vec<_> = settings.inputs.iter().map(|input| input.topics.join(",")).collect();
    assert_eq!(topics, ["a,d", "c", "e"]);
    assert_eq!(settings.inputs[0].late, LatePolicy::Drop);
    let sigma = serde_json::Value::Object(settings.inputs[0].sigma.clone()).to_string();
    assert_eq!(sigma, r#"{"z":1,"A.b":1.5,"m":null,"A":{"c":true}}"#);
    let replaced = Case::of(file).set("input=[{topics: x}]").settings();
    assert_eq!(replaced.inputs, [Input::of_topics(vec!["x".into()])]);
}

#[test]
fn a_replaced_value_is_complained_about_where_it_was_replaced() {
    let case = Case::of("input: [{topics: a, late: drop}]\nepoch: soon\nkafka.brokers: 'b:2'\nstate: {cold_ttl: 1h}\n")
        .set("epoch=1s")
        .set("input=[{late: never}]");
    assert_eq!(
        case.complaints(),
        "--set input: `input[0].late` must be `process`, `dlq` or `drop`, not `never`\n\
         --set input: `input[0]` names no topics\n  help: write e.g. topics: [security-events] or topics: [\"^logs\\\\..*\"]\n\
         c.yaml:3:1: unknown key `kafka.brokers`\n  help: did you mean `kafka`?\n\
         c.yaml:4:19: `state.cold_ttl` (1h) is shorter than `state.warm_ttl` (1d)\n  help: state on disk is warm first, then cold\n"
    );
}

#[test]
fn without_an_input_nothing_runs() {
    let none = Case::of("").settings().check_runnable().expect_err("nothing to consume");
    assert_eq!(none.code, ProblemCode::Conflict);
    // What the help says to do is enough.
    let advice = "input=[{topics: [security-events]}]";
    assert!(none.help.is_some_and(|help| help.contains(advice)));
    assert_eq!(Case::of("").set(advice).settings().check_runnable(), Ok(()));
}

#[test]
fn variables_that_are_not_ours_are_passed_over() {
    let case = Case::of("")
        .variable("THROUGHLINE_PORT", "tcp://10.0.0.1:9470")
        .variable("THROUGHLINE_SERVICE_HOST", "10.0.0.1")
        .variable("THROUGHLINE_TEST_DATA", "/somewhere");
    assert_eq!(case.settings().epoch, Span::from_millis(200));
}

#[test]
fn an_unknown_key_is_placed_and_the_nearest_named() {
    let case = Case::of("aplication_id: x\nkafka:\n  broker: a:1\ninput:\n  - topics: [a]\n    Late: drop\nzzz: 1\n");
    assert_eq!(
        case.complaints(),
        "c.yaml:1:1: unknown key `aplication_id`\n  help: did you mean `application_id`?\n\
         c.yaml:3:3: unknown key `broker` in `kafka`\n  help: did you mean `brokers`?\n\
         c.yaml:6:5: unknown key `Late` in `input[0]`\n  help: did you mean `late`?\n\
         c.yaml:7:1: unknown key `zzz`\n  help: known keys here: application_id, instance, kafka, input, rules, output, \
         dead_letter, delivery, epoch, locality, dedup, state, workers, admin, telemetry, drain_timeout\n"
    );
}

#[test]
fn all_bad_values_are_told_at_once_with_their_places() {
    let case = Case::of(
        "application_id: a b\nkafka: {brokers: here}\ninput:\n  - topics: [ok, 'not ok', '^(']\n    out_of_orderness: 2 sec\n\
         \x20   late: dropp\n  - {}\ndelivery: exactly-once\nepoch: 1h\nlocality: repartition\ndedup: 1h\n\
         state: {memory: 1MiB, warm_ttl: 2d, cold_ttl: 1d}\nworkers: {shards: 0, sources: many, pin: [1, 1]}\n\
         admin: {listen: localhost}\n",
    );
    assert_eq!(
        case.complaints(),
        "c.yaml:1:17: `application_id`: `a b` contains ` `: Kafka allows letters, digits, `.`, `_` and `-`\n\
         c.yaml:2:18: `kafka.brokers`: `here` is not `host:port`\n  help: e.g. broker-1:9092,broker-2:9092\n\
         c.yaml:4:18: `input[0].topics`: `not ok` contains ` `: Kafka allows letters, digits, `.`, `_` and `-`\n\
         c.yaml:4:28: `input[0].topics`: `^(` is no regular expression: unclosed group\n\
         c.yaml:5:23: `input[0].out_of_orderness`: `2 sec` is not a duration: write a whole number and a unit, e.g. 500ms, \
         30s, 10m, 2h, 1d\n\
         c.yaml:6:11: `input[0].late` must be `process`, `dlq` or `drop`, not `dropp`\n  help: did you mean `drop`?\n\
         c.yaml:7:5: `input[1]` names no topics\n  help: write e.g. topics: [security-events] or topics: [\"^logs\\\\..*\"]\n\
         c.yaml:8:11: `delivery` must be `exactly_once` or `at_least_once`, not `exactly-once`\n  \
         help: did you mean `exactly_once`?\n\
         c.yaml:9:8: `epoch` must be from 1ms to 3s, not 1h\n\
         c.yaml:10:11: `locality: repartition` is not available in this version\n  help: use `instance`, or `partition` if \
         the inputs are partitioned by the correlation key\n\
         c.yaml:11:8: `dedup` must be a map with the key `window`, not `1h`\n\
         c.yaml:12:17: `state.memory` must be at least 16MiB\n\
         c.yaml:12:47: `state.cold_ttl` (1d) is shorter than `state.warm_ttl` (2d)\n  help: state on disk is warm first, then cold\n\
         c.yaml:13:19: `workers.shards` must be `auto` or from 1 to 1024\n\
         c.yaml:13:31: `workers.sources` must be `auto` or a whole number, not `many`\n\
         c.yaml:13:42: `workers.pin` is empty or names a core twice\n  help: name each core once, e.g. pin: [2, 3], or write \
         pin: off\n\
         c.yaml:14:17: `admin.listen`: `localhost` is not an address and a port\n  help: e.g. 127.0.0.1:9470 or [::]:9470, or off\n"
    );
}

#[test]
fn the_admin_endpoint_is_not_open_to_others_without_a_token_and_its_token_is_not_shown() {
    let admin = |text: &str| Case::of(&format!("admin: {{{text}}}\n"));
    let complains = |text: &str, what: &str| {
        let complaints = admin(text).complaints();
        assert!(complaints.contains(what), "{text}: {complaints}");
        assert!(!complaints.contains("hunter"), "{text}: {complaints}");
    };
    complains("listen: '0.0.0.0:9470'", "can be reached from other machines, and there is no token");
    complains("listen: '0.0.0.0:9470', token: hunter2", "at least 16 visible characters");
    complains("token: 'hunter2 hunter2 hunter2'", "at least 16 visible characters");
    complains("token: hunter2hunter2hunter2, token_file: /run/t", "are both set");
    let settings = admin("listen: '0.0.0.0:9470', token: hunter2hunter2hunter2").settings();
    assert_eq!(settings.admin.token, Some(Token::Value("hunter2hunter2hunter2".into())));
    for shown in [settings.to_yaml(), format!("{settings:?}")] {
        assert!(shown.contains("***") && !shown.contains("hunter"), "{shown}");
    }
    assert_eq!(admin("listen: off").settings().admin.listen, None);
    assert_eq!(admin("token_file: /run/t").settings().admin.token, Some(Token::File("/run/t".into())));
}

#[test]
fn a_collector_is_named_by_its_url() {
    let at = |url: &str| Case::of(&format!("telemetry: {{otlp_endpoint: '{url}'}}\n"));
    assert_eq!(at("http://localhost:4318/").settings().otlp_endpoint.as_deref(), Some("http://localhost:4318"));
    for wrong in ["localhost:4318", "https://otel:4318", "http://", "http://user:secret@otel"] {
        assert!(at(wrong).complaints().contains("is not a URL that begins with http://"), "{wrong}");
    }
}

#[test]
fn one_topic_is_read_in_one_way_and_never_written_too() {
    let case = Case::of("input: [{topics: [a, b]}, {topics: ['^b.*']}, {topics: a}]\noutput: {topic: bus}\n");
    assert_eq!(
        case.complaints(),
        "c.yaml:1:37: `^b.*` in `input[1]` and `b` in `input[0]` name the same topic\n  \
         help: a topic is read in one way: name it in one input\n\
         c.yaml:1:56: topic `a` is named twice: in `input[0]` and in `input[2]`\n  \
         help: a topic is read in one way: name it in one input\n\
         c.yaml:2:17: correlations go to `bus`, which `input[1]` reads: they would come back for ever\n  \
         help: use another topic\n"
    );
}

#[test]
fn mistakes_above_the_file_name_their_layer() {
    let case = Case::of("input: [{topics: a}]\n")
        .variable("THROUGHLINE_EPOCH", "soon")
        .variable("THROUGHLINE_KAFKA__BROKER", "a:1")
        .set("dedupe.window=1h")
        .set("epoch")
        .set("input.5.late=drop")
        .set("delivery.x=1");
    assert_eq!(
        case.complaints(),
        "--set dedupe.window: unknown key `dedupe`\n  help: did you mean `dedup`?\n\
         --set delivery.x: `delivery` is a single value and has no keys\n  help: set it itself: delivery=...\n\
         --set epoch: has no `=`\n  help: write KEY=VALUE, e.g. --set epoch=100ms\n\
         --set input.5.late: `input` is a list of 1: `5` names no element of it\n  \
         help: use a number from 0, or set the whole list: input=[...]\n\
         environment THROUGHLINE_EPOCH: `epoch`: `soon` is not a duration: write a whole number and a unit, e.g. 500ms, 30s, \
         10m, 2h, 1d\n\
         environment THROUGHLINE_KAFKA__BROKER: unknown key `broker` in `kafka`\n  help: did you mean `brokers`?\n"
    );
}

#[test]
fn refused_properties_are_placed_however_they_are_written() {
    let case = Case::of(
        "kafka:\n  properties:\n    plugin.library.paths: /tmp/x.so\n    sasl:\n      kerberos:\n        kinit.cmd: rm\n    \
         group.id: x\n    enable.ssl.certificate.verification: true\n",
    );
    assert_eq!(
        case.complaints(),
        "c.yaml:3:27: `plugin.library.paths` may not be set: it runs code or loads a library\n\
         c.yaml:6:20: `sasl.kerberos.kinit.cmd` may not be set: it runs code or loads a library\n  \
         help: use another `sasl.mechanism`, e.g. SCRAM-SHA-512\n\
         c.yaml:7:15: `group.id` may not be set: it is set by Throughline; its guarantees rest on it\n  \
         help: set `application_id`\n"
    );
}

#[test]
fn what_is_not_yaml_is_placed() {
    assert!(Case::of("kafka: {\n").complaints().starts_with("c.yaml:2:1: "));
    assert_eq!(Case::of("epoch: 1s\nepoch: 2s\n").complaints(), "c.yaml:2:1: the key `epoch` stands here twice\n");
    assert!(Case::of("epoch: 1s\n---\nepoch: 2s\n").complaints().starts_with("c.yaml:2:1: a second YAML document"));
    assert!(Case::of(&"[".repeat(100)).complaints().contains("nested deeper than 64 levels"));
    let bomb: String = (0..30).map(|n| format!("k{n}: &a{n} [*a{p}, *a{p}]\n", p = n - 1)).collect();
    let bomb = bomb.replace("[*a-1, *a-1]", "[x, x]");
    assert!(Case::of(&bomb).complaints().contains("more than 100000 YAML nodes"));
    assert_eq!(Case::of("- a\n").complaints(), "c.yaml:1:1: a configuration is a map of keys, not a list\n");
    let mut gone = Case::of("");
    gone.sources.file = Some("/nonexistent/x.yaml".into());
    assert!(gone.complaints().starts_with("/nonexistent/x.yaml: cannot be read: "));
}

#[test]
fn what_is_shown_can_be_fed_back_and_shows_no_secret() {
    let text = "input: [{topics: ['^a', b], id: x, sigma: {a: [1, {b: 'yes'}]}}]\nworkers: {pin: off, shards: 2}\n\
                kafka: {properties: {security.protocol: ssl}}\nepoch: 1500ms\n";
    let settings = Case::of(text).settings();
    let shown = settings.to_yaml();
    assert_eq!(Case::of(&shown).settings(), settings, "{shown}");

    let secret = Case::of(text).set("kafka.properties.sasl.password=hunter2").settings();
    assert!(!secret.to_yaml().contains("hunter2") && !format!("{secret:?}").contains("hunter2"));
    let again = Case::of(&secret.to_yaml()).complaints();
    assert!(again.contains("`sasl.password` is `***`, which stands for a hidden value"), "{again}");
}

#[test]
fn the_defaults_and_profiles_that_ship_are_good() {
    for name in ["throughline.yaml", "low-latency.yaml", "throughput.yaml"] {
        let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("config").join(name);
        let text = std::fs::read_to_string(&file).expect("it ships");
        let settings = Case::of(&text).settings();
        assert_eq!(settings.inputs.len(), 1, "{name}");
        if name == "throughline.yaml" {
            // The commented default says what the defaults are: it must not drift from them.
            let mut defaults = Case::of("input: [{topics: security-events}]").settings();
            defaults.inputs[0].time_field = Some("@timestamp".into());
            defaults.inputs[0].id_fields = vec!["event.id".into()];
            assert_eq!(settings, defaults);
        }
    }
}

#[test]
fn the_schema_knows_every_key() {
    let schema = schema();
    assert_eq!(schema["additionalProperties"], false);
    assert_eq!(schema["properties"]["kafka"]["additionalProperties"], false);
    assert!(schema["properties"]["input"]["items"]["properties"]["max_skew"].is_object());
    assert!(schema["properties"]["epoch"]["description"].as_str().is_some_and(|text| text.contains("200ms")));
}
