#!/usr/bin/env bash
# Makes the topics of the compose file, unless they are there. Run in Kafka's own image.
set -euo pipefail

topics=/opt/kafka/bin/kafka-topics.sh
create() { "$topics" --bootstrap-server "$brokers" --create --if-not-exists --topic "$@"; }

brokers=$1
create security-events --partitions 3
create correlations --partitions 1
# What could not be processed is kept longer than Kafka's week: someone has to come and look.
create throughline-dlq --partitions 1 --config retention.ms=2592000000
