//! Behaviour, end to end: real sockets on port 0, the simulator as the PBX.
//!
//! | file | asks |
//! |---|---|
//! | `harness` | nothing: it runs a PBX and a daemon, and compares what was sent and delivered |
//! | `faults` | is every event there exactly once after each fault of a PBX? |
//! | `secrets` | is any secret in what cdrd says or keeps? |
//! | `sessions` | logins, topics, dialects, TLS, several PBXs |
//! | `lockout` | are there never more than five refused logins an hour? |
//! | `backfill` | is what nobody heard fetched back, whatever is odd about REST? |
//! | `fuzz` | does whatever reads strangers' words read anything without harm? |
//! | `gaps` | is every span in which nobody listened in the journal? |
//! | `journal` | places, repeats, cursors, lag, retention, full, locked |
//! | `journal_model` | is the journal what a model says, after random sequences and crashes? |
//! | `damage` | what becomes of a journal whose bytes have changed? |
//! | `disk` | does it wait while a disk is full, and go on? |
//! | `io_faults` | does it end, or try again, and lose nothing, when a disk fails? |
//! | `conformance` | does every sink keep the contract? |
//! | `http` | which answers confirm, retry, or make a dead letter |
//! | `files` | names, rotation, compression, manifest, full disks; what a crash leaves |
//! | `plugins` | programs and receivers of lines that crash, hang, refuse, talk nonsense |
//! | `nats` | a real NATS server: what confirms, who is let in, which stream |
//! | `pair` | do two daemons at one PBX and one receiver lose nothing and double nothing? |
//! | `postgres` | what a database does to a sink: restarts, broken rows, missing tables |
//! | `recipes` | does each command of docs/recipes.md work as it stands? |
//! | `second_chances` | dead letters, quarantine, replay, export; with a daemon and without |
//! | `formats` | records, CSV, conditions, masks: does a reader see what it should, and no more? |
//! | `billing` | files, HTTP and a program of one's own together, all of them failing |
//! | `crash` | kill -9 at random moments |
//! | `kills` | the same with all sinks at once, and whatever can be interrupted |
//! | `admin` | metrics, health, status, the page: is it so, and who may see it? |
//! | `reload` | SIGHUP: what changes, and what must not |
//! | `systemd` | readiness, status line, watchdog, reload, over a real socket |
//! | `operations` | is every warning and alert explained to the operator? |
//! | `browser` | nothing: it runs a real browser |
//! | `schema` | nothing: it checks JSON against a schema |
//! | `commands` | what a user sees: check, tail, demo, completions, exit codes |
//! | `rest` | is every call found over REST, whatever the PBX ignores? |
//! | `webhook` | is every post in the journal before its 200, and who is let in? |
//! | `hostile` | do bad PBXs and receivers harm anybody but themselves? |
//! | `proxy` | nothing: it is a bad network |
//! | `counter` | nothing: it counts what comes |
//! | `network` | is all there after half an hour of it, and is the neighbour undisturbed? |
//! | `packets` | the same where packets are lost and the cable is pulled |
//! | `load` | are 2,000 events a second held, with a sink that is down? |
//! | `week` | is all there after a week of outages, in a quarter of an hour? |
//! | `independent` | the same against a WebSocket server that is not ours |

mod admin;
mod backfill;
mod billing;
mod browser;
mod commands;
mod conformance;
mod counter;
mod crash;
mod damage;
mod disk;
mod faults;
mod files;
mod formats;
mod fuzz;
mod gaps;
mod harness;
mod hostile;
mod http;
mod independent;
mod io_faults;
mod journal;
mod journal_model;
#[cfg(feature = "kafka")]
mod kafka;
mod kills;
mod listener;
mod load;
mod lockout;
#[cfg(feature = "nats")]
mod nats;
mod network;
mod operations;
mod packets;
mod pair;
mod plugins;
mod port;
#[cfg(feature = "postgres")]
mod postgres;
mod process;
mod proxy;
mod receiver;
#[cfg(feature = "postgres")]
mod recipes;
mod reload;
mod rest;
mod schema;
mod second_chances;
mod secrets;
mod sessions;
mod systemd;
mod webhook;
mod week;
mod wire;
