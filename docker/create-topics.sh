#!/usr/bin/env bash
# Makes the topics of the compose file, unless they are there. Run in Kafka's own image.
set -euo pipefail

brokers=$1
making=()
# Side by side: nearly all of their time goes into starting.
create() {
    /opt/kafka/bin/kafka-topics.sh --bootstrap-server "$brokers" --create --if-not-exists --topic "$@" &
    making+=($!)
}

create security-events --partitions 3
create correlations --partitions 1
# What could not be processed is kept longer than Kafka's week: someone has to come and look.
create throughline-dlq --partitions 1 --config retention.ms=2592000000
for one in "${making[@]}"; do
    wait "$one"
done
