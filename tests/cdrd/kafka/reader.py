"""Reads a topic with librdkafka's consumer, which knows nothing of the client under test.

    reader.py BROKER TOPIC

Prints a line of JSON for each record: partition, key, value (base64), headers, and the
partition that librdkafka's own murmur2 chooses for the key.
"""

import base64
import ctypes
import glob
import json
import os
import sys

import confluent_kafka
from confluent_kafka import Consumer, TopicPartition

broker, topic = sys.argv[1:]
site = os.path.dirname(os.path.dirname(confluent_kafka.__file__))
(path,) = glob.glob(os.path.join(site, "confluent_kafka.libs", "librdkafka-*.so*"))
murmur2 = ctypes.CDLL(path).rd_kafka_msg_partitioner_murmur2
pointer, text, number = ctypes.c_void_p, ctypes.c_char_p, ctypes.c_int32
murmur2.restype = number
murmur2.argtypes = [pointer, text, ctypes.c_size_t, number, pointer, pointer]

consumer = Consumer(
    {
        "bootstrap.servers": broker,
        "group.id": "reader",
        "enable.auto.commit": False,
        "log_level": 0,
    }
)
found = consumer.list_topics(topic, timeout=10).topics[topic].partitions
places = [TopicPartition(topic, partition, 0) for partition in found]
ends = {at.partition: consumer.get_watermark_offsets(at, timeout=10)[1] for at in places}
left = sum(ends.values())
consumer.assign(places)
while left:
    message = consumer.poll(10)
    if message is None:
        sys.exit(f"no record within 10 s, though there are {left} more of {ends}")
    if message.error() or message.offset() >= ends[message.partition()]:
        continue
    key = message.key()
    record = {
        "partition": message.partition(),
        "murmur2": murmur2(None, key, len(key), len(found), None, None),
        "key": key.decode(),
        "value": base64.b64encode(message.value()).decode(),
        "headers": {name: value.decode() for name, value in message.headers() or []},
    }
    print(json.dumps(record))
    left -= 1
