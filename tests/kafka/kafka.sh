#!/bin/sh
# One Apache Kafka for tests, on the local JVM, without Docker. It lives exactly as long as its standard input: whoever
# starts it holds a pipe, and when that process ends, for whatever reason, the broker is killed and its directory removed.
#
#   kafka.sh jars                    fetch the jars with Maven, once; print their folder
#   kafka.sh run DIR PORT CTRL SASL [TLS MUTUAL]
#                                    serve until standard input ends (ports: clients, controller, clients with passwords)
#   kafka.sh start DIR [PORT]        for people: start in the background, on 9092
#   kafka.sh stop DIR                for people: end it and remove DIR
#   kafka.sh tool CLASS ARG...       run one of Kafka's own commands, e.g. org.apache.kafka.tools.AclCommand
#
# Lines that `run` understands on standard input: `keep` (leave DIR behind), `stop` (orderly shutdown), `freeze` and
# `thaw` (SIGSTOP, SIGCONT). The log is DIR/log. The listener at PORT has no passwords and its user may do anything; at
# SASL (PLAIN) the users alice and bob, password = name + "-secret", may do what an ACL allows them. With two more ports there
# is TLS: at TLS the same users by SCRAM-SHA-512 or PLAIN, or whoever an unsigned token names; at MUTUAL whoever a
# certificate names. The certificates are made for this run and lie in DIR/tls: ca.crt signed those of the broker and of carol,
# stranger.crt that of mallory.
set -eu

here=$(CDPATH= cd -- "$(dirname -- "$0")" && pwd)
home=${THROUGHLINE_KAFKA_HOME:-$HOME/.cache/throughline/kafka-4.1.1}

need() {
    command -v "$1" >/dev/null 2>&1 || {
        echo "kafka.sh: $1 is not installed; try: apt-get install $2" >&2
        exit 3
    }
}

jars() {
    [ -d "$home" ] && return
    need mvn "maven"
    mkdir -p "$(dirname "$home")"
    # Beside, then renamed: a download that was cut off is never taken for a whole one, and of two at once one wins.
    part=$(mktemp -d "$home.XXXXXX")
    if ! mvn -q -B -f "$here/pom.xml" dependency:copy-dependencies -DoutputDirectory="$part" >&2; then
        rm -rf "$part"
        echo "kafka.sh: Maven could not fetch Kafka's jars (see above); they go to $home" >&2
        exit 3
    fi
    mv -T "$part" "$home" 2>/dev/null || rm -rf "$part"
}

# In place of the shell that calls it: signals then reach the JVM itself, not a shell around it.
jvm() {
    memory=$1
    shift
    # On few cores: one collector thread. Short-lived: no optimising compiler, which starts faster and costs the tests less.
    exec java -Xmx"$memory" -XX:+UseSerialGC $JVM_FLAGS -Dlog4j2.configurationFile="$here/log4j2.properties" -cp "$home/*" "$@"
}

certificate() {
    openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 -subj "/CN=$1" -keyout "$dir/tls/$1.key" \
        -out "$dir/tls/$1.crt" -addext subjectAltName=DNS:localhost,IP:127.0.0.1 $2 2>"$dir/format.log" || {
        cat "$dir/format.log" >&2
        exit 3
    }
}

# The listeners with TLS. The server takes a key and its certificate from one file.
format_tls() {
    need openssl openssl
    mkdir -p "$dir/tls"
    for authority in ca stranger; do certificate $authority ""; done
    for name in broker carol; do certificate $name "-CA $dir/tls/ca.crt -CAkey $dir/tls/ca.key"; done
    certificate mallory "-CA $dir/tls/stranger.crt -CAkey $dir/tls/stranger.key"
    cat "$dir/tls/broker.key" "$dir/tls/broker.crt" >"$dir/tls/broker.pem"
    module=org.apache.kafka.common.security
    sed -i "/listeners=PLAINTEXT/s/\$/,SASL_SSL:\/\/127.0.0.1:$tls,SSL:\/\/127.0.0.1:$mutual/; /protocol.map/s/\$/,SASL_SSL:SASL_SSL,SSL:SSL/" \
        "$dir/server.properties"
    cat >>"$dir/server.properties" <<END
ssl.keystore.type=PEM
ssl.keystore.location=$dir/tls/broker.pem
ssl.truststore.type=PEM
ssl.truststore.location=$dir/tls/ca.crt
listener.name.ssl.ssl.client.auth=required
listener.name.ssl.ssl.principal.mapping.rules=RULE:^CN=(.*)\$/\$1/
listener.name.sasl_ssl.sasl.enabled.mechanisms=SCRAM-SHA-512,PLAIN,OAUTHBEARER
listener.name.sasl_ssl.scram-sha-512.sasl.jaas.config=$module.scram.ScramLoginModule required;
listener.name.sasl_ssl.plain.sasl.jaas.config=$module.plain.PlainLoginModule required user_alice="alice-secret" user_bob="bob-secret";
listener.name.sasl_ssl.oauthbearer.sasl.jaas.config=$module.oauthbearer.OAuthBearerLoginModule required unsecuredLoginStringClaim_sub="broker";
END
    for user in alice bob; do scram="$scram --add-scram SCRAM-SHA-512=[name=$user,password=$user-secret]"; done
}

format() {
    cat >"$dir/server.properties" <<END
process.roles=broker,controller
node.id=1
controller.quorum.bootstrap.servers=127.0.0.1:$controller
listeners=PLAINTEXT://127.0.0.1:$port,CONTROLLER://127.0.0.1:$controller,SASL_PLAINTEXT://127.0.0.1:$sasl
advertised.listeners=PLAINTEXT://127.0.0.1:$port,SASL_PLAINTEXT://127.0.0.1:$sasl
controller.listener.names=CONTROLLER
listener.security.protocol.map=CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT,SASL_PLAINTEXT:SASL_PLAINTEXT
log.dirs=$dir/data
num.partitions=1
auto.create.topics.enable=false
offsets.topic.num.partitions=4
offsets.topic.replication.factor=1
transaction.state.log.num.partitions=4
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
share.coordinator.state.topic.replication.factor=1
share.coordinator.state.topic.min.isr=1
group.initial.rebalance.delay.ms=0
group.min.session.timeout.ms=1000
transaction.abort.timed.out.transaction.cleanup.interval.ms=1000
log.cleaner.backoff.ms=200
log.cleaner.dedupe.buffer.size=4194304
log.cleaner.threads=1
num.network.threads=2
num.io.threads=4
authorizer.class.name=org.apache.kafka.metadata.authorizer.StandardAuthorizer
super.users=User:ANONYMOUS
sasl.enabled.mechanisms=PLAIN
listener.name.sasl_plaintext.plain.sasl.jaas.config=org.apache.kafka.common.security.plain.PlainLoginModule required user_alice="alice-secret" user_bob="bob-secret";
END
    scram=
    [ -z "$tls" ] || format_tls
    (jvm 128m kafka.tools.StorageTool format --standalone --ignore-formatted -t throughline-test-clust \
        -c "$dir/server.properties" $scram) >"$dir/format.log" 2>&1 || {
        cat "$dir/format.log" >&2
        exit 3
    }
}

run() {
    dir=$1 port=$2 controller=$3 sasl=$4 tls=${5:-} mutual=${6:-} keep=0 orderly=0
    mkdir -p "$dir"
    [ -f "$dir/server.properties" ] || format
    jvm 512m kafka.Kafka "$dir/server.properties" >>"$dir/log" 2>&1 </dev/null &
    broker=$!
    # Should the shell itself be told to go, the broker goes first.
    trap 'kill -9 $broker 2>/dev/null; exit 1' INT TERM HUP
    while read -r line; do
        case $line in
        keep) keep=1 ;;
        stop) orderly=1 && kill "$broker" ;;
        freeze) kill -STOP "$broker" ;;
        thaw) kill -CONT "$broker" ;;
        esac
    done
    [ "$orderly" = 1 ] || kill -9 "$broker" 2>/dev/null || true
    wait "$broker" 2>/dev/null || true
    [ "$keep" = 1 ] || rm -rf "$dir"
}

case ${1:-} in
jars)
    jars
    echo "$home"
    ;;
run)
    need java "default-jre-headless"
    jars
    JVM_FLAGS=${JVM_FLAGS--XX:TieredStopAtLevel=1}
    shift
    run "$@"
    ;;
start)
    need java "default-jre-headless"
    jars
    dir=$2 port=${3:-9092}
    mkdir -p "$dir"
    mkfifo "$dir/pipe"
    # `sleep` holds the pipe open; stopping it ends the input, and with it the broker.
    (setsid sleep 2147483647 >"$dir/pipe" 2>/dev/null & echo $! >"$dir/pid") </dev/null
    # It lives long: all compilers of the JVM, as in production, so that benches do not measure unoptimised Java.
    JVM_FLAGS='' setsid sh "$0" run "$dir" "$port" $((port + 1)) $((port + 2)) <"$dir/pipe" >/dev/null 2>&1 &
    echo "Kafka is starting on 127.0.0.1:$port; log: $dir/log; end it with: $0 stop $dir"
    ;;
stop)
    kill "$(cat "$2/pid")"
    ;;
tool)
    need java "default-jre-headless"
    jars
    JVM_FLAGS=-XX:TieredStopAtLevel=1
    shift
    jvm 128m "$@"
    ;;
*)
    sed -n '2,18s/^# \{0,1\}//p' "$0" >&2
    exit 2
    ;;
esac
