"""A broker in a process of its own: librdkafka's mock, which speaks Kafka's protocol and
keeps its topics in memory.

    broker.py TOPIC

Prints its address, and ends with its standard input.
"""

import sys

from confluent_kafka import Producer

producer = Producer({"test.mock.num.brokers": 1})
# A producer's question makes the topic.
found = producer.list_topics(sys.argv[1], timeout=10)
(broker,) = found.brokers.values()
print(f"{broker.host}:{broker.port}", flush=True)
sys.stdin.read()
