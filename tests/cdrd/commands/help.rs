//! The help of every command, word for word. Blanks at line ends are left out.

use insta::assert_snapshot;

use super::output;

async fn help(command: &[&str]) -> String {
    let arguments: Vec<&str> = command.iter().copied().chain(["--help"]).collect();
    let outcome = output(&arguments).await.ended_with(0);
    assert_eq!(outcome.stderr, "");
    let lines = outcome.stdout.lines().map(str::trim_end);
    lines.collect::<Vec<_>>().join("\n")
}

#[tokio::test]
async fn cdrd_help() {
    assert_snapshot!(help(&[]).await, @r#"
    Call-detail records from a PortSIP PBX, none lost on the way.

    Logs into the PBX's WebSocket interface, keeps every event in a durable journal and delivers it, at
    least once, to every configured sink.

    Usage: cdrd [OPTIONS] <COMMAND>

    Commands:
      run           Run the daemon: events go to the sinks, logs to stderr
      check         Validate the configuration; with --connect, try every PBX and sink
      tail          Watch calls as they end, one line each
      status        See how the daemon is, whether it runs or not
      replay        Send events of the journal to a sink again
      gaps          When nobody listened: list, accept
      backfill      Ask the PBX's REST interface for the calls of a span of time
      export        Print the journal, or a part of it
      dead-letters  What a sink refused for good: list, show, send again, drop
      quarantine    What could not be decoded: list, show, decode again, drop
      journal       Look through the journal; save what is readable of a damaged one
      sink          Prepare what a sink writes to: the tables of a database
      simulate      Run a simulated PBX to try cdrd, or another client, against
      demo          See calls arrive: simulated PBX, daemon and tail in one, nothing left behind
      completions   Print a completion script for a shell
      man           Print the manual page, or that of a command
      help          Print this message or the help of the given subcommand(s)

    Options:
      -h, --help
              Print help (see a summary with '-h')

      -V, --version
              Print version

    Logging:
          --log-level <LEVEL>
              What to log: error, warn, info, debug, trace, or a filter like "info,cdrd::sink=debug"

              [env: CDRD_LOG=]

          --log-format <LOG_FORMAT>
              How to write logs

              Possible values:
              - auto:     journald under systemd, else text
              - text:     For people
              - json:     One JSON object a line
              - journald: For systemd: a priority instead of time and level

              [default: auto]

    Examples:
      cdrd demo                            see calls arrive, from a simulated PBX
      cdrd check -c config.toml --connect  try a configuration out, step by step
      cdrd run -c config.toml              run the daemon
      cdrd tail --since 1h                 watch calls, with those of the last hour first
    "#);
}

#[tokio::test]
async fn run_help() {
    assert_snapshot!(help(&["run"]).await, @r#"
    Run the daemon: events go to the sinks, logs to stderr

    Usage: cdrd run [OPTIONS]

    Options:
      -c, --config <FILE>
              Configuration file; "-" reads standard input

              [default: /etc/cdrd/config.toml]

          --drain <DURATION>
              How long sinks may drain after a stop

              [default: 10s]

      -h, --help
              Print help (see a summary with '-h')

    Logging:
          --log-level <LEVEL>
              What to log: error, warn, info, debug, trace, or a filter like "info,cdrd::sink=debug"

              [env: CDRD_LOG=]

          --log-format <LOG_FORMAT>
              How to write logs

              Possible values:
              - auto:     journald under systemd, else text
              - text:     For people
              - json:     One JSON object a line
              - journald: For systemd: a priority instead of time and level

              [default: auto]

    Examples:
      cdrd run                          with /etc/cdrd/config.toml
      cdrd run -c ./config.toml --log-level debug
      CDRD_LOG=debug cdrd run -c - < config.toml

    Ends with 0 after SIGINT or SIGTERM once every sink has everything, with 75 if the
    drain deadline came first (the journal keeps what is left), with 78 if the
    configuration is wrong, with 74 if the journal cannot be read or written, or a webhook's
    address cannot be listened at.
    "#);
}

#[tokio::test]
async fn check_help() {
    assert_snapshot!(help(&["check"]).await, @r#"
    Validate the configuration; with --connect, try every PBX and sink

    Usage: cdrd check [OPTIONS]

    Options:
      -c, --config <FILE>
              Configuration file; "-" reads standard input

              [default: /etc/cdrd/config.toml]

          --connect
              Also log into each PBX, subscribe, and try each sink

      -h, --help
              Print help (see a summary with '-h')

    Logging:
          --log-level <LEVEL>
              What to log: error, warn, info, debug, trace, or a filter like "info,cdrd::sink=debug"

              [env: CDRD_LOG=]

          --log-format <LOG_FORMAT>
              How to write logs

              Possible values:
              - auto:     journald under systemd, else text
              - text:     For people
              - json:     One JSON object a line
              - journald: For systemd: a priority instead of time and level

              [default: auto]

    Examples:
      cdrd check -c config.toml             is the file right?
      cdrd check -c config.toml --connect   log in, subscribe, look at each sink

    Ends with 0 if all is well, with 78 if the configuration is wrong, with 69 if a PBX or
    a receiver refused or cannot be reached. No event is delivered and none is kept.
    "#);
}

#[tokio::test]
async fn tail_help() {
    assert_snapshot!(help(&["tail"]).await, @r#"
    Watch calls as they end, one line each

    Usage: cdrd tail [OPTIONS]

    Options:
      -c, --config <FILE>
              Configuration file; "-" reads standard input

              [default: /etc/cdrd/config.toml]

          --pbx <NAME>
              Only this PBX

          --json
              Every event as a CloudEvent, one a line

          --since <DURATION>
              First show what the journal has of the last such time, like 1h or 30m

      -h, --help
              Print help (see a summary with '-h')

    Logging:
          --log-level <LEVEL>
              What to log: error, warn, info, debug, trace, or a filter like "info,cdrd::sink=debug"

              [env: CDRD_LOG=]

          --log-format <LOG_FORMAT>
              How to write logs

              Possible values:
              - auto:     journald under systemd, else text
              - text:     For people
              - json:     One JSON object a line
              - journald: For systemd: a priority instead of time and level

              [default: auto]

    Examples:
      cdrd tail                      calls from now on
      cdrd tail --since 1h           with those of the last hour first
      cdrd tail --pbx hq --json      every event of one PBX as CloudEvents, for jq

    Beside a running daemon it reads that daemon's journal. Without one it logs into the
    PBXs by itself and writes nothing.
    "#);
}

#[tokio::test]
async fn demo_help() {
    assert_snapshot!(help(&["demo"]).await, @r#"
    See calls arrive: simulated PBX, daemon and tail in one, nothing left behind

    Usage: cdrd demo [OPTIONS]

    Options:
          --rate <RATE>
              Calls in real time: N/s, N/m, N/h

              [default: 1/s]

          --calls <N>
              End after so many calls

          --seed <SEED>
              Other seeds give other calls

              [default: 1]

          --json
              Every event as a CloudEvent, one a line

      -h, --help
              Print help (see a summary with '-h')

    Logging:
          --log-level <LEVEL>
              What to log: error, warn, info, debug, trace, or a filter like "info,cdrd::sink=debug"

              [env: CDRD_LOG=]

          --log-format <LOG_FORMAT>
              How to write logs

              Possible values:
              - auto:     journald under systemd, else text
              - text:     For people
              - json:     One JSON object a line
              - journald: For systemd: a priority instead of time and level

              [default: auto]

    Examples:
      cdrd demo                    until Ctrl-C
      cdrd demo --rate 20/s        a busy PBX
      cdrd demo --calls 5 --json   five calls, every event as a CloudEvent
    "#);
}

#[tokio::test]
async fn completions_help() {
    assert_snapshot!(help(&["completions"]).await, @r#"
    Print a completion script for a shell

    Usage: cdrd completions [OPTIONS] <SHELL>

    Arguments:
      <SHELL>
              Which shell

              [possible values: bash, elvish, fish, powershell, zsh]

    Options:
      -h, --help
              Print help (see a summary with '-h')

    Logging:
          --log-level <LEVEL>
              What to log: error, warn, info, debug, trace, or a filter like "info,cdrd::sink=debug"

              [env: CDRD_LOG=]

          --log-format <LOG_FORMAT>
              How to write logs

              Possible values:
              - auto:     journald under systemd, else text
              - text:     For people
              - json:     One JSON object a line
              - journald: For systemd: a priority instead of time and level

              [default: auto]

    Examples:
      cdrd completions bash > /usr/share/bash-completion/completions/cdrd
      cdrd completions zsh > /usr/share/zsh/vendor-completions/_cdrd
      cdrd completions fish > ~/.config/fish/completions/cdrd.fish
    "#);
}

#[tokio::test]
async fn simulate_help() {
    assert_snapshot!(help(&["simulate"]).await, @r#"
    Run a simulated PBX to try cdrd, or another client, against

    Usage: cdrd simulate [OPTIONS]

    Options:
          --listen <ADDR>
              Where to listen; port 0 takes a free one

              [default: 127.0.0.1:8887]

          --rate <RATE>
              Calls in real time: N/s, N/m, N/h, or max for as fast as they are read

              [default: 1/s]

          --calls <N>
              Stop making calls after N; the simulator goes on answering

          --flood <N[:RATE]>
              Push N ready-made call_cdr of about 2 kB to each connection, as fast as it reads or RATE a
              second, and no calls; REST does not know them

          --unattended
              Begin at once, and go on without a subscription at every rate

          --history <CALLS[:SECONDS]>
              So many calls of the last hour, or of so many seconds, are on record in REST

          --exit
              With --calls or --flood: end once all have been made and read

          --speed <FACTOR>
              Office seconds in one real second; the default suits the rate, 1 is real time

          --seed <N>
              The same seed makes the same calls

              [default: 1]

          --start-time <SECOND>
              Unix second at which the office opens, for the same times in every run; by default a call
              ends when its record is pushed

          --dialect <DIALECT>
              Forms of login and subscribe

              Possible values:
              - 12: PBX 12.x: extensions and tenants log in, topics are objects
              - 16: PBX 16.x: tenant users log in, answers carry `status` alone
              - 22: PBX 22.x: administrators too, answers carry `command` and `id`

              [default: 22]

          --release <RELEASE>
              Spellings of the events; by default the dialect's newest

              Possible values:
              - 12:   As 16, and ids are JSON integers
              - 16:   Bare `target_*` names, short direction words, numbers as JSON numbers
              - 22.2: Mixed: `cdr_target_*`, `did_cid`, `destiantion`, `""` for times that did not
                happen
              - 22.3: SIP URIs in `call_start`, long direction words, trunks as `name:id`

          --tls
              Listen with TLS, with a certificate made now

          --username <USERNAME>
              User name of the tenant user

              [default: cdr]

          --password <PASSWORD>
              Password of all accounts

              [default: cdrd-demo]

          --domain <DOMAIN>
              SIP domain of the tenant user

              [default: example.com]

          --extension <EXTENSION>
              Extension number of the tenant user

              [default: 101]

          --token-life <SECONDS>
              How long a token of the REST side is good for

              [default: 1800]

      -h, --help
              Print help (see a summary with '-h')

    Webhook of the PBX:
          --webhook <URL>
              POST every event of a call there, too; calls then begin at once

          --webhook-auth <HOW>
              How the PBX shows who it is: basic:USER:PASSWORD, digest:USER:PASSWORD or bearer:TOKEN

          --webhook-ca <FILE>
              PEM file with the certificate, or the CA, of the receiver

          --webhook-insecure
              Take any certificate of the receiver

          --webhook-retries <LIST>
              Seconds to wait before each further try of an event

              [default: 10,50,120,240,480]

    Faults:
          --refuse-logins <N>
              Refuse the first N logins

          --words <WORDS>
              Words of every refusal that is asked for

              [default: "Refused by the simulator."]

          --mute-login
              Never answer a login

          --drop-after-login <N>
              Drop the connection right after the first N logins

              [default: 0]

          --mute-subscribe
              Accept subscriptions without an answer

          --refuse-topic <NAME[:N]>
              Refuse a topic, always or N times; can be given more than once

          --event-before-answer
              Push an event before each answer

          --close-after <EVENTS[:CODE]>
              Close each connection after so many events, with 1012 or the code

          --reset-after <EVENTS>
              Reset each connection's TCP after so many events

          --silent-after <EVENTS>
              Fall silent on each connection after so many events, TCP standing

          --malformed-every <EVENTS>
              A frame that is not JSON after every so many events

          --non-utf8-every <EVENTS>
              A text frame that is not UTF-8 after every so many events

          --oversize-every <EVENTS>
              An event of 5 MiB after every so many events

          --fragment
              Send every event in several frames, with a ping between them

          --clock-off <SECONDS>
              The PBX's clock is so many seconds ahead, or with a minus behind

              [default: 0]

          --restart-every <SECONDS[:DOWN]>
              Every so many seconds the PBX is down for 5 or the number; calls go on

    Faults of the REST side:
          --rest-no-calllogs
              /calllogs is not there

          --rest-no-details
              /cdrs/{id} is not there

          --rest-no-oauth [<STATUS>]
              /login/oauth/token is not there: 404 or 405

          --rest-no-sign-in [<STATUS>]
              /auth/sign_in is not there: 404 or 405

          --rest-ignore-filter
              Do not look at filter

          --rest-ignore-orderby
              Do not look at orderby

          --rest-page-cap <N>
              Do not look at top: N items a page

          --rest-one-based-skip
              skip=1 begins with the first item

          --rest-own-calls
              Show every user but the administrator the user's own calls only

          --rest-late <SECONDS>
              Show a call only so long after its end

          --rest-slow <SECONDS>
              Let every answer take so long

          --rest-too-many <N[:SECONDS]>
              Answer the first N requests 429, with Retry-After: 5 or the number

          --rest-unavailable <N>
              Answer the first N requests 503

              [default: 0]

          --rest-revoke-after <N>
              Make every token worthless after N requests for calls, once

          --rest-refuse-logins <N>
              Refuse the first N logins

          --rest-two-factor
              Ask every user for a second factor

          --rest-password-reset
              Let every user change the password first

          --rest-not-json <N>
              Let the first N answers about calls be no JSON

              [default: 0]

          --rest-endless <N>
              Let the first N answers about calls never end

              [default: 0]

          --rest-reset <N>
              Reset the connection halfway through the first N answers about calls

              [default: 0]

    Logging:
          --log-level <LEVEL>
              What to log: error, warn, info, debug, trace, or a filter like "info,cdrd::sink=debug"

              [env: CDRD_LOG=]

          --log-format <LOG_FORMAT>
              How to write logs

              Possible values:
              - auto:     journald under systemd, else text
              - text:     For people
              - json:     One JSON object a line
              - journald: For systemd: a priority instead of time and level

              [default: auto]

    Examples:
      cdrd simulate                                 one call a second, for ever
      cdrd simulate --rate max --calls 100000       a load test
      cdrd simulate --flood 300000                  records alone, faster than anybody reads
      cdrd simulate --tls --rate 30/m               with a self-signed certificate
      cdrd simulate --dialect 12                    an old PBX
      cdrd simulate --close-after 20:1012           a PBX that restarts every 20 events
      cdrd simulate --refuse-logins 2 --malformed-every 10
      cdrd simulate --restart-every 60:10           10 s after every 60 are in REST alone
      cdrd simulate --history 10000 --rest-ignore-filter --rest-page-cap 50
      cdrd simulate --webhook http://127.0.0.1:8080/pbx --webhook-auth bearer:TOKEN
    "#);
}

#[tokio::test]
async fn replay_help() {
    assert_snapshot!(help(&["replay"]).await, @r#"
    Send events of the journal to a sink again

    Usage: cdrd replay [OPTIONS] --sink <NAME>

    Options:
      -c, --config <FILE>
              Configuration file; "-" reads standard input

              [default: /etc/cdrd/config.toml]

          --sink <NAME>
              Which sink

          --since <T>
              From what was received then: 2h (ago), 2026-11-24, 2026-11-24T10:30, RFC 3339

          --from-seq <N>
              From this journal sequence number on

          --until <T>
              Up to what was received before then; left out, to the newest

      -h, --help
              Print help (see a summary with '-h')

    Logging:
          --log-level <LEVEL>
              What to log: error, warn, info, debug, trace, or a filter like "info,cdrd::sink=debug"

              [env: CDRD_LOG=]

          --log-format <LOG_FORMAT>
              How to write logs

              Possible values:
              - auto:     journald under systemd, else text
              - text:     For people
              - json:     One JSON object a line
              - journald: For systemd: a priority instead of time and level

              [default: auto]

    Examples:
      cdrd replay --sink crm --since 2h
      cdrd replay --sink archive --since 2026-11-24 --until 2026-11-25
      cdrd replay --sink crm --from-seq 1200

    Events have the ids that they had. The sink's filter applies; its cursor does not move.
    A running daemon sends them between its live events, else this command does.
    "#);
}

#[tokio::test]
async fn export_help() {
    assert_snapshot!(help(&["export"]).await, @r#"
    Print the journal, or a part of it

    Usage: cdrd export [OPTIONS]

    Options:
      -c, --config <FILE>
              Configuration file; "-" reads standard input

              [default: /etc/cdrd/config.toml]

          --format <FORMAT>
              The form of each line

              Possible values:
              - jsonl:  CloudEvents, one a line
              - raw:    The PBX's objects, one a line
              - record: The normal form of a call, one JSON object a line
              - csv:    The normal form of a call as a table, with a header line

              [default: jsonl]

          --since <T>
              From what was received then: 2h (ago), 2026-11-24, 2026-11-24T10:30, RFC 3339

          --until <T>
              Up to what was received before then

          --type <PATTERN>
              Only events of this type; * stands for any letters

      -h, --help
              Print help (see a summary with '-h')

    Logging:
          --log-level <LEVEL>
              What to log: error, warn, info, debug, trace, or a filter like "info,cdrd::sink=debug"

              [env: CDRD_LOG=]

          --log-format <LOG_FORMAT>
              How to write logs

              Possible values:
              - auto:     journald under systemd, else text
              - text:     For people
              - json:     One JSON object a line
              - journald: For systemd: a priority instead of time and level

              [default: auto]

    Examples:
      cdrd export --since 1h | jq .data
      cdrd export --since 2026-11-01 --until 2026-12-01 --type call_cdr --format csv > november.csv

    Reads beside a running daemon, and delays it by nothing.
    "#);
}

#[tokio::test]
async fn dead_letters_help() {
    assert_snapshot!(help(&["dead-letters"]).await, @r#"
    What a sink refused for good: list, show, send again, drop

    Usage: cdrd dead-letters [OPTIONS] <COMMAND>

    Commands:
      list   One line each, without any of their content
      show   One of them with all its content
      retry  Send again; what is refused again stays
      drop   Forget for good
      help   Print this message or the help of the given subcommand(s)

    Options:
      -c, --config <FILE>
              Configuration file; "-" reads standard input

              [default: /etc/cdrd/config.toml]

      -h, --help
              Print help (see a summary with '-h')

    Logging:
          --log-level <LEVEL>
              What to log: error, warn, info, debug, trace, or a filter like "info,cdrd::sink=debug"

              [env: CDRD_LOG=]

          --log-format <LOG_FORMAT>
              How to write logs

              Possible values:
              - auto:     journald under systemd, else text
              - text:     For people
              - json:     One JSON object a line
              - journald: For systemd: a priority instead of time and level

              [default: auto]

    Examples:
      cdrd dead-letters list
      cdrd dead-letters show 7
      cdrd dead-letters retry --all --sink crm   once the receiver is mended
      cdrd dead-letters drop 7 8
    "#);
}

#[tokio::test]
async fn dead_letters_retry_help() {
    assert_snapshot!(help(&["dead-letters", "retry"]).await, @r#"
    Send again; what is refused again stays

    Usage: cdrd dead-letters retry [OPTIONS] [N]...

    Arguments:
      [N]...
              Their numbers in the list

    Options:
          --all
              All of them

      -c, --config <FILE>
              Configuration file; "-" reads standard input

              [default: /etc/cdrd/config.toml]

          --sink <NAME>
              With --all: only of this sink

      -h, --help
              Print help (see a summary with '-h')

    Logging:
          --log-level <LEVEL>
              What to log: error, warn, info, debug, trace, or a filter like "info,cdrd::sink=debug"

              [env: CDRD_LOG=]

          --log-format <LOG_FORMAT>
              How to write logs

              Possible values:
              - auto:     journald under systemd, else text
              - text:     For people
              - json:     One JSON object a line
              - journald: For systemd: a priority instead of time and level

              [default: auto]
    "#);
}

#[tokio::test]
async fn journal_help() {
    assert_snapshot!(help(&["journal"]).await, @r#"
    Look through the journal; save what is readable of a damaged one

    Usage: cdrd journal [OPTIONS] <COMMAND>

    Commands:
      check   Look through all of it: SQLite's checks, checksums, ids, cursors
      repair  Save what is readable of a damaged one
      help    Print this message or the help of the given subcommand(s)

    Options:
      -c, --config <FILE>
              Configuration file; "-" reads standard input

              [default: /etc/cdrd/config.toml]

      -h, --help
              Print help (see a summary with '-h')

    Logging:
          --log-level <LEVEL>
              What to log: error, warn, info, debug, trace, or a filter like "info,cdrd::sink=debug"

              [env: CDRD_LOG=]

          --log-format <LOG_FORMAT>
              How to write logs

              Possible values:
              - auto:     journald under systemd, else text
              - text:     For people
              - json:     One JSON object a line
              - journald: For systemd: a priority instead of time and level

              [default: auto]

    Examples:
      cdrd journal check      beside a running daemon or not; 74 if something is wrong
      cdrd journal repair     with the daemon stopped

    repair does nothing to a sound journal. Of a damaged one it saves what is readable into a
    new one, tells what is lost, and keeps the damaged files beside it. A cursor that is lost
    makes its sink get everything again; for lost events there is a gap, which the daemon
    closes over REST.
    "#);
}

#[tokio::test]
async fn quarantine_help() {
    assert_snapshot!(help(&["quarantine"]).await, @r#"
    What could not be decoded: list, show, decode again, drop

    Usage: cdrd quarantine [OPTIONS] <COMMAND>

    Commands:
      list   One line each, without any of their content
      show   The bytes of one, as they came
      retry  Decode again; what becomes an event goes to the sinks, the rest stays
      drop   Forget for good
      help   Print this message or the help of the given subcommand(s)

    Options:
      -c, --config <FILE>
              Configuration file; "-" reads standard input

              [default: /etc/cdrd/config.toml]

      -h, --help
              Print help (see a summary with '-h')

    Logging:
          --log-level <LEVEL>
              What to log: error, warn, info, debug, trace, or a filter like "info,cdrd::sink=debug"

              [env: CDRD_LOG=]

          --log-format <LOG_FORMAT>
              How to write logs

              Possible values:
              - auto:     journald under systemd, else text
              - text:     For people
              - json:     One JSON object a line
              - journald: For systemd: a priority instead of time and level

              [default: auto]

    Examples:
      cdrd quarantine list
      cdrd quarantine show 3 | jq .
      cdrd quarantine retry --all     with a newer cdrd that may understand them
      cdrd quarantine drop --all
    "#);
}

#[tokio::test]
async fn status_help() {
    assert_snapshot!(help(&["status"]).await, @r#"
    See how the daemon is, whether it runs or not

    Usage: cdrd status [OPTIONS]

    Options:
      -c, --config <FILE>
              Configuration file; "-" reads standard input

              [default: /etc/cdrd/config.toml]

          --json
              As JSON (docs/status.schema.json)

      -h, --help
              Print help (see a summary with '-h')

    Logging:
          --log-level <LEVEL>
              What to log: error, warn, info, debug, trace, or a filter like "info,cdrd::sink=debug"

              [env: CDRD_LOG=]

          --log-format <LOG_FORMAT>
              How to write logs

              Possible values:
              - auto:     journald under systemd, else text
              - text:     For people
              - json:     One JSON object a line
              - journald: For systemd: a priority instead of time and level

              [default: auto]

    Examples:
      cdrd status
      cdrd status --json | jq .problems

    Reads the journal, so it works whether the daemon runs or not. Ends with 0 if it could
    be read, whatever it says; .ok in the JSON tells whether all is well.
    "#);
}

#[tokio::test]
async fn man_help() {
    assert_snapshot!(help(&["man"]).await, @r#"
    Print the manual page, or that of a command

    Usage: cdrd man [OPTIONS] [COMMAND]

    Arguments:
      [COMMAND]
              The command, instead of cdrd as a whole

    Options:
          --dir <DIR>
              Write the pages of cdrd and of every command into this directory

      -h, --help
              Print help (see a summary with '-h')

    Logging:
          --log-level <LEVEL>
              What to log: error, warn, info, debug, trace, or a filter like "info,cdrd::sink=debug"

              [env: CDRD_LOG=]

          --log-format <LOG_FORMAT>
              How to write logs

              Possible values:
              - auto:     journald under systemd, else text
              - text:     For people
              - json:     One JSON object a line
              - journald: For systemd: a priority instead of time and level

              [default: auto]

    Examples:
      cdrd man | man -l -
      cdrd man status | man -l -
      cdrd man --dir /usr/share/man/man1     writes all of them
    "#);
}

#[tokio::test]
async fn gaps_help() {
    assert_snapshot!(help(&["gaps"]).await, @r#"
    When nobody listened: list, accept

    Usage: cdrd gaps [OPTIONS] <COMMAND>

    Commands:
      list    List them, oldest first
      accept  Take note of open gaps: they count as closed from now on
      help    Print this message or the help of the given subcommand(s)

    Options:
      -c, --config <FILE>
              Configuration file; "-" reads standard input

              [default: /etc/cdrd/config.toml]

      -h, --help
              Print help (see a summary with '-h')

    Logging:
          --log-level <LEVEL>
              What to log: error, warn, info, debug, trace, or a filter like "info,cdrd::sink=debug"

              [env: CDRD_LOG=]

          --log-format <LOG_FORMAT>
              How to write logs

              Possible values:
              - auto:     journald under systemd, else text
              - text:     For people
              - json:     One JSON object a line
              - journald: For systemd: a priority instead of time and level

              [default: auto]

    Examples:
      cdrd gaps list                gaps that are open
      cdrd gaps list --closed       with those that were closed
      cdrd gaps accept 3 4          known, and not to be closed any more
      cdrd gaps accept --all

    The daemon closes gaps over REST by itself, and says why it cannot.
    "#);
}

#[tokio::test]
async fn backfill_help() {
    assert_snapshot!(help(&["backfill"]).await, @r#"
    Ask the PBX's REST interface for the calls of a span of time

    Usage: cdrd backfill [OPTIONS] --pbx <NAME> --since <T>

    Options:
      -c, --config <FILE>
              Configuration file; "-" reads standard input

              [default: /etc/cdrd/config.toml]

          --pbx <NAME>
              Which PBX

          --since <T>
              Calls that ended then or later: 2h (ago), 2026-11-24, 2026-11-24T10:30, RFC 3339

          --until <T>
              And before then; left out, until now

          --dry-run
              Only tell what is missing; add nothing

      -h, --help
              Print help (see a summary with '-h')

    Logging:
          --log-level <LEVEL>
              What to log: error, warn, info, debug, trace, or a filter like "info,cdrd::sink=debug"

              [env: CDRD_LOG=]

          --log-format <LOG_FORMAT>
              How to write logs

              Possible values:
              - auto:     journald under systemd, else text
              - text:     For people
              - json:     One JSON object a line
              - journald: For systemd: a priority instead of time and level

              [default: auto]

    Examples:
      cdrd backfill --pbx hq --since 2h
      cdrd backfill --pbx hq --since 2026-11-24 --until 2026-11-25 --dry-run

    Calls that ended in the span and that the journal lacks are added and delivered like any
    other, with origin "backfill". A running daemon does the work, else this command does.
    Gaps need no such command: the daemon closes them by itself.
    "#);
}

#[tokio::test]
async fn sink_help() {
    assert_snapshot!(help(&["sink"]).await, @r#"
    Prepare what a sink writes to: the tables of a database

    Usage: cdrd sink [OPTIONS] <COMMAND>

    Commands:
      init  Make the tables of a sink of type "postgres"
      help  Print this message or the help of the given subcommand(s)

    Options:
      -c, --config <FILE>
              Configuration file; "-" reads standard input

              [default: /etc/cdrd/config.toml]

      -h, --help
              Print help (see a summary with '-h')

    Logging:
          --log-level <LEVEL>
              What to log: error, warn, info, debug, trace, or a filter like "info,cdrd::sink=debug"

              [env: CDRD_LOG=]

          --log-format <LOG_FORMAT>
              How to write logs

              Possible values:
              - auto:     journald under systemd, else text
              - text:     For people
              - json:     One JSON object a line
              - journald: For systemd: a priority instead of time and level

              [default: auto]

    Examples:
      cdrd sink init calls --print-sql | psql -U postgres calls   as an administrator
      cdrd sink init calls --apply                                as the sink's own role
    "#);
}

#[tokio::test]
async fn sink_init_help() {
    assert_snapshot!(help(&["sink", "init"]).await, @r#"
    Make the tables of a sink of type "postgres"

    Usage: cdrd sink init [OPTIONS] <--print-sql|--apply> <NAME>

    Arguments:
      <NAME>
              Which sink

    Options:
      -c, --config <FILE>
              Configuration file; "-" reads standard input

              [default: /etc/cdrd/config.toml]

          --print-sql
              Print the SQL, and connect to nothing

          --apply
              Connect as the sink does, and run the SQL

          --timescale
              For TimescaleDB: make hypertables, cut by the column event_time

      -h, --help
              Print help (see a summary with '-h')

    Logging:
          --log-level <LEVEL>
              What to log: error, warn, info, debug, trace, or a filter like "info,cdrd::sink=debug"

              [env: CDRD_LOG=]

          --log-format <LOG_FORMAT>
              How to write logs

              Possible values:
              - auto:     journald under systemd, else text
              - text:     For people
              - json:     One JSON object a line
              - journald: For systemd: a priority instead of time and level

              [default: auto]

    Examples:
      cdrd sink init calls --print-sql            what would be done
      cdrd sink init calls --print-sql | psql -U postgres calls
      cdrd sink init calls --apply
      cdrd sink init calls --print-sql --timescale

    What is there already stays as it is, so doing it twice does no harm. --print-sql also
    prints the rights that the sink's role needs, for an administrator who makes the tables;
    --apply makes them as the sink's role, which must be allowed to create tables.
    Ends with 69 if the database refused or cannot be reached.
    "#);
}
