"""Each script by itself: its KEYS, its ARGV, what it returns."""

from typing import Any

import pytest
import redis

from sessions_app.data import MAX_BYTES
from sessions_app.lua import OF_BUCKET, OF_SESSION, scripts

pytestmark = pytest.mark.integration

MOST, GRACE, TTL = str(MAX_BYTES), "600000000", "300000000"


class Bucket:
    def __init__(self, server: redis.Redis, prefix: str) -> None:
        self.server = server
        self.root, self.key = f"{prefix}{{0}}!", f"{prefix}{{0}}:s"

    def run(self, name: str, *arguments: str) -> Any:
        keys = [self.root, self.key] if name in OF_SESSION else [self.root]
        return self.server.eval(scripts()[name].source, len(keys), *keys, *arguments)

    def save(self, *texts: str, mode: str = "set", ttl: str = TTL) -> Any:
        return self.run("save", mode, ttl, GRACE, "message_count", "0", "escalated", "0", *texts)

    def field(self, name: str) -> Any:
        return self.server.hget(self.key, name)


@pytest.fixture
def bucket(server: redis.Redis, prefix: str) -> Bucket:
    return Bucket(server, prefix)


def test_every_script_says_what_it_takes_and_gives() -> None:
    for name in OF_SESSION + OF_BUCKET:
        text = scripts()[name].source
        assert "Returns" in text, name


def test_save(bucket: Bucket) -> None:
    assert bucket.save("user_id", "u", "m:a", "1") == 1
    fields = bucket.server.hgetall(bucket.key)
    assert (fields["version"], fields["user_id"], fields["m:a"], fields["ttl"]) == ("1", "u", "1", TTL)
    assert int(fields["expires"]) - int(fields["created_at"]) == int(TTL)
    assert fields["created_at"] == fields["updated_at"] == fields["last_activity"]
    assert bucket.server.zscore(bucket.root + "x", "s") == float(fields["expires"])
    assert bucket.server.zscore(bucket.root + "a", "s") == float(fields["last_activity"])
    assert bucket.server.zscore(bucket.root + "u:u", "s") == float(fields["last_activity"])


def test_save_create_gives_the_living_one(bucket: Bucket) -> None:
    made = bucket.save("m:a", "1", mode="create")
    found = bucket.save("m:a", "2", mode="create")
    assert made == found
    assert "m:a" in found
    assert bucket.field("m:a") == "1"


def test_message(bucket: Bucket) -> None:
    assert bucket.run("message", "", GRACE) is None
    bucket.save()
    flat = bucket.run("message", "", GRACE)
    fields = dict(zip(flat[::2], flat[1::2], strict=True))
    assert fields["message_count"] == "1"
    assert fields == bucket.server.hgetall(bucket.key)
    bucket.run("message", "7", GRACE)
    bucket.run("message", "5", GRACE)
    assert bucket.field("message_count") == "7"


def test_increment(bucket: Bucket) -> None:
    assert bucket.run("increment", "m:n", "1", MOST, GRACE) is None
    bucket.save("m:word", '"x"', "m:big", str(2**63 - 1))
    assert bucket.run("increment", "m:n", "2", MOST, GRACE) == "2"
    assert bucket.run("increment", "m:n", str(2**53), MOST, GRACE) == str(2**53 + 2)
    assert bucket.run("increment", "m:word", "1", MOST, GRACE) == ["slow", '"x"']
    assert bucket.run("increment", "m:big", "1", MOST, GRACE) == ["slow", str(2**63 - 1)]
    assert bucket.run("increment", "m:other", "1", "20", GRACE)[0] == "size"
    assert bucket.field("m:other") is None


def test_update(bucket: Bucket) -> None:
    nothing = ("0", "0", "0", "0")
    assert bucket.run("update", MOST, GRACE, *nothing) is None
    bucket.save("user_id", "u", "m:n", "5")
    assert (
        bucket.run("update", MOST, GRACE, "2", "m:a", "[]", "1", "user_id", "2", "m:n", "3", "2", "m:n", "5") == "done"
    )
    assert (bucket.field("m:a"), bucket.field("user_id"), bucket.field("m:n")) == ("[]", None, "8")
    assert bucket.server.exists(bucket.root + "u:u") == 0
    assert bucket.run("update", MOST, GRACE, "0", "0", "0", "2", "m:n", "5") == "changed"
    assert bucket.run("update", MOST, GRACE, "0", "0", "2", "m:a", "1", "0") == ["slow", "m:a", "[]"]
    assert bucket.run("update", "30", GRACE, "2", "m:b", "x" * 40, "0", "0", "0")[0] == "size"
    assert bucket.field("m:b") is None


def test_touch_left_and_living(bucket: Bucket) -> None:
    assert bucket.run("touch", "", GRACE) is None
    assert bucket.run("left") is None
    assert bucket.run("living") == 0
    bucket.save()
    assert bucket.run("living") == 1
    bucket.run("touch", "50000000", GRACE)
    assert 0 < bucket.run("left") <= 50_000_000
    assert bucket.field("ttl") == "50000000"


def test_now(bucket: Bucket) -> None:
    seconds, microseconds = bucket.server.time()
    assert 0 <= int(bucket.run("now")) - (seconds * 1_000_000 + microseconds) < 60_000_000


def test_finish_and_claim(bucket: Bucket) -> None:
    assert bucket.run("finish", '["ended",null]', "0") is None
    bucket.save("user_id", "u")
    claim = bucket.run("finish", '["ended","ann"]', "60000000")
    assert claim.split("\n")[1:] == ['["ended","ann"]', "s"]
    assert bucket.server.exists(bucket.key, bucket.root + "x", bucket.root + "a", bucket.root + "u:u") == 0
    assert bucket.run("claim", "10", "60000000") == [0, 0]
    bucket.server.zadd(bucket.root + "c", {claim: 1})  # its claim has run out
    assert bucket.run("claim", "10", "60000000") == [0, 0, claim]
    assert bucket.run("claim", "10", "60000000") == [0, 0]


def test_claim_takes_the_expired(bucket: Bucket) -> None:
    bucket.save(ttl="1000")
    while bucket.run("left") is not None:
        pass
    newly, mended, claim = bucket.run("claim", "10", "60000000")
    assert (newly, mended) == (1, 0)
    assert claim.split("\n")[1:] == ['["expired",null]', "s"]


def test_claim_mends_an_index_that_runs_ahead(bucket: Bucket) -> None:
    bucket.save()
    bucket.server.zadd(bucket.root + "x", {"s": 1})
    assert bucket.run("claim", "10", "60000000") == [0, 1]
    assert bucket.server.zscore(bucket.root + "x", "s") == float(bucket.field("expires"))


def test_mend(bucket: Bucket) -> None:
    bucket.save("user_id", "u")
    assert bucket.run("mend", "a", GRACE, "s") == 0
    bucket.server.zrem(bucket.root + "a", "s")
    assert bucket.run("mend", "a", GRACE, "s") == 1
    assert bucket.server.zscore(bucket.root + "a", "s") is not None
    bucket.server.delete(bucket.key)
    assert bucket.run("mend", "u:u", GRACE, "s") == 1
    assert bucket.server.exists(bucket.root + "x", bucket.root + "a", bucket.root + "u:u") == 0


def test_clear(bucket: Bucket) -> None:
    bucket.save("user_id", "u")
    assert bucket.run("clear", "10") == 1
    assert bucket.run("clear", "10") == 0
    assert list(bucket.server.scan_iter(bucket.root[:-1] + "*", count=10_000)) == []
