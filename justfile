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
