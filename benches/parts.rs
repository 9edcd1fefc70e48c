//! The parts of an event's way, each by itself: decoding with its id, the envelope, the
//! record, packing and unpacking a block. `cargo bench --bench parts`.

use std::hint::black_box;
use std::sync::Arc;

use bytes::Bytes;
use cdrd::config::{self, Start, WhenFull};
use cdrd::event::decode::{Frame, decode};
use cdrd::event::{Event, EventId, Origin, Stored};
use cdrd::journal::Journal;
use cdrd::journal::block::{MOST_EVENTS, Packer, unpack};
use cdrd::simulator::flood::{Flood, Load, Records};
use cdrd::simulator::{Release, spelling::Spelling};
use cdrd::sink::format::{Encoder, Format};
use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use jiff::tz::TimeZone;

/// Events of a round: one commit at full speed.
const EVENTS: u64 = 1_000;

fn texts() -> Vec<Bytes> {
    let records = Arc::new(Records::compose(Spelling { release: Release::R22_3 }, 1));
    let mut flood = Flood::new(records, Load { events: EVENTS, rate: None });
    (0..EVENTS).map(|_| flood.text()).collect()
}

fn decoded(text: &Bytes) -> Event {
    match decode(&Arc::from("hq"), Origin::Live, 1_790_000_000_000, text.clone()) {
        Ok(Frame::Event(event)) => event,
        other => panic!("{other:?}"),
    }
}

fn parts(criterion: &mut Criterion) {
    let texts = texts();
    let events: Vec<Event> = texts.iter().map(decoded).collect();
    let stored: Vec<Stored> =
        (1..).zip(&events).map(|(seq, event)| Stored { seq, event: event.clone() }).collect();
    let mut group = criterion.benchmark_group("1000 events");
    group.throughput(Throughput::Elements(EVENTS));
    let pbx: Arc<str> = Arc::from("hq");
    group.bench_function("decode, with id", |b| {
        b.iter(|| {
            for text in &texts {
                black_box(decode(&pbx, Origin::Live, 1_790_000_000_000, text.clone()).is_ok());
            }
        });
    });
    for (name, format) in [
        ("cloudevents", Format::CloudEvents),
        ("raw", Format::Raw),
        ("record", Format::Record),
        ("csv", Format::Csv),
    ] {
        let encoder = Encoder::plain(format, TimeZone::UTC, &[]);
        let mut out = Vec::new();
        group.bench_function(format!("write as {name}"), |b| {
            b.iter(|| {
                out.clear();
                stored.iter().for_each(|stored| encoder.write_line(stored, &mut out));
                black_box(out.len())
            });
        });
    }
    let refs: Vec<(EventId, &Event)> = events.iter().map(|event| (event.id, event)).collect();
    let mut packer = Packer::new().expect("zstd starts");
    let blocks: Vec<Vec<u8>> =
        refs.chunks(MOST_EVENTS).map(|part| packer.pack(part).expect("zstd packs")).collect();
    group.bench_function("pack", |b| {
        b.iter(|| refs.chunks(MOST_EVENTS).for_each(|part| drop(black_box(packer.pack(part)))));
    });
    group.bench_function("unpack", |b| {
        b.iter(|| blocks.iter().for_each(|block| drop(black_box(unpack(block, 1)))));
    });
    group.finish();
}

/// The journal as the daemon uses it, each round durable.
fn append(criterion: &mut Criterion) {
    let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a folder on a disk");
    let settings = config::Journal {
        path: folder.path().join("journal.db"),
        retention: std::time::Duration::from_secs(7 * 24 * 3600),
        max_size: 100 << 30,
        when_full: WhenFull::Pause,
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.expect("a runtime starts");
    let sinks = [(Arc::from("none"), Start::Beginning)];
    let (journal, _writer) = Journal::open(&settings, &sinks).expect("the journal opens");
    let records = Arc::new(Records::compose(Spelling { release: Release::R22_3 }, 1));
    let load = Load { events: u64::MAX, rate: None };
    let mut flood = Flood::new(records, load);
    let mut group = criterion.benchmark_group("durable commits");
    for size in [1_u64, 100, 1_000, 4_000] {
        group.throughput(Throughput::Elements(size));
        group.bench_function(format!("of {size}"), |b| {
            b.iter_batched(
                || (0..size).map(|_| decoded(&flood.text())).collect(),
                |events: Vec<Event>| {
                    runtime.block_on(journal.intake().events_durably(events)).expect("it runs")
                },
                BatchSize::PerIteration,
            );
        });
    }
    group.finish();
}

criterion_group!(benches, parts, append);
criterion_main!(benches);
