//! A block: the events of one commit, or a part of them, packed into one row.
//!
//! A row for each event cost 30,000 events a second; what stands between an event and the
//! disk now is a copy into the block, its share of the compression, and one small row in
//! the table of ids. A block is a zstd frame, so that
//! `sqlite3 journal.db "SELECT writefile('b.zst', data) FROM block LIMIT 1"` and
//! `zstd -dc b.zst` show what is in it. Inside, with all numbers little-endian:
//!
//! ```text
//! u8   1, the version of this layout
//! u16  how many names; each: u32 length, bytes     names of PBXs and types of events
//! u32  how many events; each:
//!      u8 origin (0 live, 1 webhook, 2 backfill)   [u8; 16] id   i64 received, Unix ms
//!      u16 name of the PBX   u16 name of the type
//!      u32 length of session_id (u32::MAX: none), bytes
//!      u32 length of data
//! the data of all events, one after the other
//! ```
//!
//! Pure code: no SQL. [`super::blocks`] puts blocks into the table and finds them.

use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use zstd::bulk::{Compressor, Decompressor};
use zstd::zstd_safe;

use crate::event::{Event, EventId, Origin, Stored, intern_type};

/// The version of the layout.
const VERSION: u8 = 1;
/// Events of a block, at most: whoever wants one event unpacks them all.
pub const MOST_EVENTS: usize = 512;
/// No further event goes into a block of so many bytes of data.
pub const FULL_BYTES: usize = 256 << 10;
/// Packs calls to a tenth at 2 GB/s. Level 1 packs them to a fifteenth at 1.4 GB/s, and what
/// it saves on the disk costs more than writing it.
const LEVEL: i32 = -3;
/// No block is believed to unpack to more: `max_frame` is far below it.
const MOST_UNPACKED: u64 = 2 << 30;
/// Stands for the length of a `session_id` that is not there.
const NONE: u32 = u32::MAX;

/// A block that is not what cdrd packs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("cannot be unpacked: {0}")]
pub struct Unpackable(&'static str);

/// Packs blocks; keeps what it needs for it.
pub struct Packer {
    compressor: Compressor<'static>,
    plain: Vec<u8>,
}

impl Packer {
    /// A packer.
    pub fn new() -> std::io::Result<Self> {
        Ok(Self { compressor: Compressor::new(LEVEL)?, plain: Vec::new() })
    }

    /// Packs events, each under the id that it was given.
    pub fn pack(&mut self, events: &[(EventId, &Event)]) -> std::io::Result<Vec<u8>> {
        self.plain.clear();
        write(events, &mut self.plain);
        let packed = self.compressor.compress(&self.plain)?;
        // One huge event must not hold its memory for ever.
        self.plain.shrink_to(2 * FULL_BYTES);
        Ok(packed)
    }
}

/// The names in a block; few, and mostly the one that was asked for last.
#[derive(Default)]
struct Names<'a> {
    all: Vec<&'a str>,
    last: usize,
}

impl<'a> Names<'a> {
    fn place(&mut self, name: &'a str) -> u16 {
        if self.all.get(self.last) != Some(&name) {
            self.last = self.all.iter().position(|known| *known == name).unwrap_or_else(|| {
                self.all.push(name);
                self.all.len() - 1
            });
        }
        u16::try_from(self.last).expect("a block has at most twice MOST_EVENTS names")
    }
}

fn write(events: &[(EventId, &Event)], out: &mut Vec<u8>) {
    let (mut pbxs, mut types) = (Names::default(), Names::default());
    let places: Vec<(u16, u16)> = events
        .iter()
        .map(|(_, event)| (pbxs.place(&event.pbx), types.place(&event.event_type)))
        .collect();
    let names: Vec<&str> = pbxs.all.iter().chain(&types.all).copied().collect();
    out.push(VERSION);
    out.extend_from_slice(&(names.len() as u16).to_le_bytes());
    for name in names {
        write_text(name, out);
    }
    out.extend_from_slice(&(events.len() as u32).to_le_bytes());
    for ((id, event), (pbx, event_type)) in events.iter().zip(places) {
        out.push(code(event.origin));
        out.extend_from_slice(id.as_bytes());
        out.extend_from_slice(&event.received_ms.to_le_bytes());
        out.extend_from_slice(&pbx.to_le_bytes());
        out.extend_from_slice(&(event_type + pbxs.all.len() as u16).to_le_bytes());
        match &event.session_id {
            Some(session_id) => write_text(session_id, out),
            None => out.extend_from_slice(&NONE.to_le_bytes()),
        }
        out.extend_from_slice(&(event.raw.len() as u32).to_le_bytes());
    }
    for (_, event) in events {
        out.extend_from_slice(&event.raw);
    }
}

fn write_text(text: &str, out: &mut Vec<u8>) {
    out.extend_from_slice(&(text.len() as u32).to_le_bytes());
    out.extend_from_slice(text.as_bytes());
}

/// Unpacks a block whose first event has the number `first_seq`. The data of its events
/// are slices of one buffer.
pub fn unpack(packed: &[u8], first_seq: u64) -> Result<Vec<Stored>, Unpackable> {
    let size = match zstd_safe::get_frame_content_size(packed) {
        Ok(Some(size)) if size <= MOST_UNPACKED => size as usize,
        _ => return Err(Unpackable("no zstd frame of a known size")),
    };
    let plain = decompress(packed, size).map_err(|_| Unpackable("zstd refuses it"))?;
    read(Bytes::from(plain), first_seq).ok_or(Unpackable("its layout is not as it should be"))
}

/// Keeps what it needs for it, for whoever comes next: 160 KiB that the system would have to
/// clear for each block.
fn decompress(packed: &[u8], size: usize) -> std::io::Result<Vec<u8>> {
    static SPARE: Mutex<Option<Decompressor<'static>>> = Mutex::new(None);
    let spare = || SPARE.lock().unwrap_or_else(PoisonError::into_inner);
    let kept = spare().take();
    let mut decompressor = kept.map_or_else(Decompressor::new, Ok)?;
    let plain = decompressor.decompress(packed, size);
    *spare() = Some(decompressor);
    plain
}

/// Takes bytes off the front.
struct Rest<'a>(&'a [u8]);

impl<'a> Rest<'a> {
    fn take(&mut self, length: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        Some(taken)
    }

    fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        self.take(N)?.try_into().ok()
    }

    fn u16(&mut self) -> Option<usize> {
        self.array().map(u16::from_le_bytes).map(usize::from)
    }

    fn u32(&mut self) -> Option<u32> {
        self.array().map(u32::from_le_bytes)
    }

    fn text(&mut self, length: u32) -> Option<&'a str> {
        std::str::from_utf8(self.take(length as usize)?).ok()
    }
}

fn read(plain: Bytes, first_seq: u64) -> Option<Vec<Stored>> {
    let mut rest = Rest(&plain);
    if rest.array() != Some([VERSION]) {
        return None;
    }
    let mut names = Vec::new();
    for _ in 0..rest.u16()? {
        let length = rest.u32()?;
        names.push(rest.text(length)?);
    }
    // As many as can be: a wrong count must not reserve memory.
    let count = rest.u32()? as usize;
    let mut events = Vec::with_capacity(count.min(MOST_EVENTS));
    let (mut shared, mut lengths) = (Shared::default(), Vec::with_capacity(count.min(MOST_EVENTS)));
    for seq in (first_seq..).take(count) {
        let origin = origin(rest.array()?)?;
        let id = EventId::from_bytes(rest.array()?);
        let received_ms = i64::from_le_bytes(rest.array()?);
        let pbx = shared.pbx(names.get(rest.u16()?)?);
        let event_type = intern_type(names.get(rest.u16()?)?);
        let session_id = match rest.u32()? {
            NONE => None,
            length => Some(Box::from(rest.text(length)?)),
        };
        lengths.push(rest.u32()? as usize);
        let raw = Bytes::new();
        let event = Event { id, pbx, event_type, session_id, origin, received_ms, raw };
        events.push(Stored { seq, event });
    }
    let mut at = plain.len() - rest.0.len();
    for (stored, length) in events.iter_mut().zip(lengths) {
        let end = at.checked_add(length).filter(|end| *end <= plain.len())?;
        // Sinks write it as text.
        std::str::from_utf8(&plain[at..end]).ok()?;
        stored.event.raw = plain.slice(at..end);
        at = end;
    }
    (at == plain.len()).then_some(events)
}

fn code(origin: Origin) -> u8 {
    match origin {
        Origin::Live => 0,
        Origin::Webhook => 1,
        Origin::Backfill => 2,
    }
}

fn origin([byte]: [u8; 1]) -> Option<Origin> {
    [Origin::Live, Origin::Webhook, Origin::Backfill].into_iter().find(|o| code(*o) == byte)
}

/// Names of PBXs that the events of a block share.
#[derive(Default)]
struct Shared(Vec<Arc<str>>);

impl Shared {
    fn pbx(&mut self, name: &str) -> Arc<str> {
        match self.0.iter().rev().find(|known| ***known == *name) {
            Some(known) => Arc::clone(known),
            None => {
                let name: Arc<str> = Arc::from(name);
                self.0.push(Arc::clone(&name));
                name
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn event(n: u8, text: &str) -> Event {
        Event {
            id: EventId::from_bytes([n; 16]),
            pbx: Arc::from(if n.is_multiple_of(2) { "hq" } else { "branch" }),
            event_type: intern_type(if n.is_multiple_of(3) { "call_cdr" } else { "a_new_one" }),
            session_id: (!n.is_multiple_of(5)).then(|| n.to_string().into()),
            origin: [Origin::Live, Origin::Webhook, Origin::Backfill][usize::from(n % 3)],
            received_ms: i64::from(n) - 7,
            raw: Bytes::from(text.to_owned()),
        }
    }

    fn packed(events: &[Event]) -> Vec<u8> {
        let events: Vec<_> = events.iter().map(|event| (event.id, event)).collect();
        Packer::new().unwrap().pack(&events).unwrap()
    }

    proptest! {
        #[test]
        fn what_was_packed_is_unpacked(texts in prop::collection::vec(".{0,40}", 0..40)) {
            let events: Vec<_> = (0..).zip(&texts).map(|(n, text)| event(n, text)).collect();
            let unpacked = unpack(&packed(&events), 7).unwrap();
            let numbers: Vec<u64> = unpacked.iter().map(|stored| stored.seq).collect();
            prop_assert_eq!(numbers, (7..7 + events.len() as u64).collect::<Vec<_>>());
            prop_assert_eq!(unpacked.into_iter().map(|s| s.event).collect::<Vec<_>>(), events);
        }

        #[test]
        fn nothing_that_is_no_block_makes_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = unpack(&bytes, 1);
            let _ = unpack(&zstd::bulk::compress(&bytes, 1).unwrap(), 1);
        }

        #[test]
        fn a_changed_layout_is_refused_or_read_without_panic(at in 0_usize..300, to in any::<u8>()) {
            let events = [event(1, "{}"), event(2, r#"{"a":"b"}"#), event(3, "")];
            let mut plain = zstd::bulk::decompress(&packed(&events), 1 << 20).unwrap();
            let at = at % plain.len();
            plain[at] = to;
            let _ = unpack(&zstd::bulk::compress(&plain, 1).unwrap(), 1);
        }
    }
}
