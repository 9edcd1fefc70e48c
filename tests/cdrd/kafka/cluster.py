"""librdkafka's mock cluster, to be told what goes wrong, and an independent reader of it.

    cluster.py PARTITIONS

Makes a topic "cdr" with so many partitions, and says the address of a broker. Then takes
a command a line, and answers each with a line of JSON:

    read            all records so far: partition, key, value, headers, and the
                    partition that librdkafka's murmur2 would choose
    down | up       all brokers
    errors API N…   the next requests of this kind get these errors
    topic N         the topic has this error, or none (0)

Ends with its standard input.
"""

import base64
import ctypes
import glob
import json
import os
import sys

import confluent_kafka

BROKERS = 3
TOPIC = "cdr"
PRODUCER = 0

site = os.path.dirname(os.path.dirname(confluent_kafka.__file__))
(path,) = glob.glob(os.path.join(site, "confluent_kafka.libs", "librdkafka-*.so*"))
lib = ctypes.CDLL(path)
pointer, text, number = ctypes.c_void_p, ctypes.c_char_p, ctypes.c_int
lib.rd_kafka_conf_new.restype = pointer
lib.rd_kafka_conf_set.argtypes = [pointer, text, text, text, ctypes.c_size_t]
lib.rd_kafka_new.restype = pointer
lib.rd_kafka_new.argtypes = [number, pointer, text, ctypes.c_size_t]
lib.rd_kafka_mock_cluster_new.restype = pointer
lib.rd_kafka_mock_cluster_new.argtypes = [pointer, number]
lib.rd_kafka_mock_cluster_bootstraps.restype = text
lib.rd_kafka_mock_cluster_bootstraps.argtypes = [pointer]
lib.rd_kafka_mock_topic_create.argtypes = [pointer, text, number, number]
lib.rd_kafka_mock_topic_set_error.argtypes = [pointer, text, number]
lib.rd_kafka_mock_broker_set_down.argtypes = [pointer, ctypes.c_int32]
lib.rd_kafka_mock_broker_set_up.argtypes = [pointer, ctypes.c_int32]
lib.rd_kafka_mock_push_request_errors_array.argtypes = [
    pointer,
    ctypes.c_int16,
    ctypes.c_size_t,
    ctypes.POINTER(number),
]
lib.rd_kafka_msg_partitioner_murmur2.restype = ctypes.c_int32
lib.rd_kafka_msg_partitioner_murmur2.argtypes = [
    pointer,
    text,
    ctypes.c_size_t,
    ctypes.c_int32,
    pointer,
    pointer,
]


class Reader:
    def __init__(self, address, partitions):
        self.consumer = confluent_kafka.Consumer(
            {
                "bootstrap.servers": address,
                "group.id": "reader",
                "enable.auto.commit": False,
                "log_level": 0,
            }
        )
        self.partitions = partitions
        self.next = dict.fromkeys(range(partitions), 0)
        places = [confluent_kafka.TopicPartition(TOPIC, at, 0) for at in self.next]
        self.consumer.assign(places)
        self.records = []

    def behind(self):
        for at, done in self.next.items():
            place = confluent_kafka.TopicPartition(TOPIC, at)
            if self.consumer.get_watermark_offsets(place, timeout=10)[1] > done:
                return True
        return False

    def read(self):
        while self.behind():
            message = self.consumer.poll(5)
            if message is None or message.error():
                continue
            key = message.key()
            self.next[message.partition()] = message.offset() + 1
            self.records.append(
                {
                    "partition": message.partition(),
                    "murmur2": lib.rd_kafka_msg_partitioner_murmur2(
                        None, key, len(key), self.partitions, None, None
                    ),
                    "key": key.decode(),
                    "value": base64.b64encode(message.value()).decode(),
                    "headers": {name: value.decode() for name, value in message.headers()},
                }
            )
        return self.records


def main():
    partitions = int(sys.argv[1])
    why = ctypes.create_string_buffer(512)
    silent = lib.rd_kafka_conf_new()
    lib.rd_kafka_conf_set(silent, b"log_level", b"0", why, len(why))
    client = lib.rd_kafka_new(PRODUCER, silent, why, len(why))
    cluster = lib.rd_kafka_mock_cluster_new(client, BROKERS)
    lib.rd_kafka_mock_topic_create(cluster, TOPIC.encode(), partitions, BROKERS)
    address = lib.rd_kafka_mock_cluster_bootstraps(cluster).decode()
    reader = Reader(address, partitions)
    print(json.dumps(address), flush=True)
    for line in sys.stdin:
        word, *numbers = line.split()
        numbers = [int(n) for n in numbers]
        answer = None
        if word == "read":
            answer = reader.read()
        elif word == "down":
            for broker in range(1, BROKERS + 1):
                lib.rd_kafka_mock_broker_set_down(cluster, broker)
        elif word == "up":
            for broker in range(1, BROKERS + 1):
                lib.rd_kafka_mock_broker_set_up(cluster, broker)
        elif word == "errors":
            codes = (number * (len(numbers) - 1))(*numbers[1:])
            lib.rd_kafka_mock_push_request_errors_array(cluster, numbers[0], len(codes), codes)
        elif word == "topic":
            lib.rd_kafka_mock_topic_set_error(cluster, TOPIC.encode(), numbers[0])
        print(json.dumps(answer), flush=True)


main()
