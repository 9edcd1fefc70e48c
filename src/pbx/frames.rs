//! Lets frames through that a strict WebSocket library would die of.
//!
//! A library that follows RFC 6455 fails the whole connection at a text frame that
//! is not UTF-8, or at one over the size limit, and throws the bytes away. Here
//! that would lose every event until the reconnect, for one bad frame. So this
//! layer, between the socket and the library, walks over the frame headers that
//! come in and
//! - marks text frames as binary, so that decoding judges the bytes, and keeps them;
//! - cuts out a frame over the limit, keeping its size and first bytes as a report,
//! - ends a read where the answer to the upgrade ends, so that whoever has read that far
//!   has read nothing of the first frame.
//!
//! It changes bytes in place, in the library's own buffer, and copies only what
//! follows a cut. Frames go the other way untouched.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::BytesMut;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// Bytes of a cut-out frame that are kept for whoever looks into the quarantine.
const KEPT: usize = 4096;
/// Two bytes, eight of length, four of mask (servers do not mask; RFC 6455, 5.2).
const MAX_HEADER: usize = 14;

/// A frame that was cut out.
#[derive(Debug, PartialEq, Eq)]
pub struct Oversized {
    /// Bytes of its payload.
    pub size: u64,
    /// The first of them.
    pub head: Vec<u8>,
}

/// A stream whose incoming WebSocket frames are let through as told above.
#[derive(Debug)]
pub struct LenientStream<S> {
    inner: S,
    scan: Scan,
    oversized: Vec<Oversized>,
    /// What has been looked through and found no room in a buffer.
    ready: BytesMut,
    /// What has been looked through and follows the answer to the upgrade.
    after_upgrade: BytesMut,
}

/// Bytes that are read at once for a buffer in which not even a header has room.
const SMALL: usize = 256;
/// Bytes that are left free at the end of a large buffer: a few frames of the usual size.
/// For each header the library asks for as much room as the frame is long, though it may
/// have the frame already; if there is none, it moves all that it has to new memory.
const LEFT_FREE: usize = 8 << 10;
/// What a large buffer is.
const LARGE: usize = 4 * LEFT_FREE;

impl<S> LenientStream<S> {
    /// Wraps a stream on which the HTTP upgrade is still to come.
    pub fn new(inner: S, max_frame: usize) -> Self {
        let scan = Scan::new(max_frame as u64);
        let (ready, after_upgrade) = (BytesMut::new(), BytesMut::new());
        Self { inner, scan, oversized: Vec::new(), ready, after_upgrade }
    }

    /// The frames that were cut out since the last call.
    pub fn take_oversized(&mut self) -> Vec<Oversized> {
        std::mem::take(&mut self.oversized)
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for LenientStream<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = &mut *self;
        if this.ready.is_empty() {
            this.ready = std::mem::take(&mut this.after_upgrade);
        }
        if this.ready.is_empty() && buf.remaining() > MAX_HEADER {
            return this.fill(cx, buf);
        }
        // At the end of its buffer the library asks for as little as one byte.
        if this.ready.is_empty() {
            let mut small = [0; SMALL];
            let mut small = ReadBuf::new(&mut small);
            ready!(this.fill(cx, &mut small))?;
            this.ready.extend_from_slice(small.filled());
        }
        let some = this.ready.len().min(buf.remaining());
        buf.put_slice(&this.ready.split_to(some));
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncRead + Unpin> LenientStream<S> {
    /// Reads into a buffer in which a header has room, and looks through what came.
    fn fill(&mut self, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self;
        let most = match buf.remaining() {
            large @ LARGE.. => large - LEFT_FREE,
            all => all,
        };
        loop {
            // What the scan held back goes before what comes now; only once
            // something came, since a pending read must leave `buf` as it was.
            let start = buf.filled().len();
            buf.put_slice(this.scan.held());
            let before = buf.filled().len();
            match Pin::new(&mut this.inner).poll_read(cx, buf) {
                Poll::Ready(Ok(())) if buf.filled().len() > before => {}
                other => {
                    buf.set_filled(start);
                    return other;
                }
            }
            let mut keep = this.scan.run(&mut buf.filled_mut()[start..], &mut this.oversized);
            if let Some(end) = this.scan.upgraded_at.take() {
                this.after_upgrade.extend_from_slice(&buf.filled()[start + end..start + keep]);
                keep = end;
            }
            if keep > most {
                this.ready.extend_from_slice(&buf.filled()[start + most..start + keep]);
                keep = most;
            }
            buf.set_filled(start + keep);
            if keep > 0 {
                return Poll::Ready(Ok(()));
            }
        }
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for LenientStream<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.inner).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(Pin::new(&mut self.inner).poll_shutdown(cx))?;
        Poll::Ready(Ok(()))
    }
}

/// Where in the byte stream we are.
#[derive(Debug, Clone, Copy)]
enum Place {
    /// In the answer to the upgrade, of whose final CR LF CR LF so many came.
    Upgrade { matched: usize },
    /// At the first byte of a frame.
    Header,
    /// In a payload, of which so much is left to come.
    Payload { left: u64, cut: bool },
}

/// Walks over the incoming bytes, however they are split.
#[derive(Debug)]
struct Scan {
    max_frame: u64,
    place: Place,
    /// The start of a header whose end has not come yet.
    held: [u8; MAX_HEADER],
    held_len: usize,
    /// Where the answer to the upgrade has ended, within the bytes of this run.
    upgraded_at: Option<usize>,
}

/// A parsed frame header.
struct Header {
    len: usize,
    payload: u64,
    /// A whole message in one frame, text or binary: it can be cut out alone.
    whole_message: bool,
}

impl Scan {
    fn new(max_frame: u64) -> Self {
        let place = Place::Upgrade { matched: 0 };
        Self { max_frame, place, held: [0; MAX_HEADER], held_len: 0, upgraded_at: None }
    }

    fn held(&self) -> &[u8] {
        &self.held[..self.held_len]
    }

    /// Rewrites `bytes` (which begin with what was held) in place; tells how many stay.
    fn run(&mut self, bytes: &mut [u8], oversized: &mut Vec<Oversized>) -> usize {
        self.held_len = 0;
        let (mut read, mut written) = (0, 0);
        while read < bytes.len() {
            let (taken, keep) = match self.place {
                Place::Upgrade { matched } => {
                    let taken = self.upgrade(matched, &bytes[read..]);
                    if matches!(self.place, Place::Header) {
                        self.upgraded_at = Some(written + taken);
                    }
                    (taken, true)
                }
                Place::Payload { left, cut } => {
                    let taken = usize::try_from(left).unwrap_or(usize::MAX).min(bytes.len() - read);
                    if cut && let Some(frame) = oversized.last_mut() {
                        let room = KEPT.saturating_sub(frame.head.len()).min(taken);
                        frame.head.extend_from_slice(&bytes[read..read + room]);
                    }
                    self.place = after_payload(left - taken as u64, cut);
                    (taken, !cut)
                }
                Place::Header => match Header::parse(&bytes[read..]) {
                    None => {
                        self.hold(&bytes[read..]);
                        break;
                    }
                    Some(header) => self.header(&header, &mut bytes[read..], oversized),
                },
            };
            if keep {
                if written != read {
                    bytes.copy_within(read..read + taken, written);
                }
                written += taken;
            }
            read += taken;
        }
        written
    }

    fn upgrade(&mut self, mut matched: usize, bytes: &[u8]) -> usize {
        const END: &[u8; 4] = b"\r\n\r\n";
        for (i, byte) in bytes.iter().enumerate() {
            matched = match (*byte == END[matched], *byte) {
                (true, _) => matched + 1,
                (false, b'\r') => 1,
                (false, _) => 0,
            };
            if matched == END.len() {
                self.place = Place::Header;
                return i + 1;
            }
        }
        self.place = Place::Upgrade { matched };
        bytes.len()
    }

    fn header(
        &mut self,
        header: &Header,
        bytes: &mut [u8],
        oversized: &mut Vec<Oversized>,
    ) -> (usize, bool) {
        const TEXT: u8 = 1;
        const BINARY: u8 = 2;
        let cut = header.whole_message && header.payload > self.max_frame;
        if cut {
            oversized.push(Oversized { size: header.payload, head: Vec::new() });
        } else if bytes[0] & 0x0f == TEXT {
            bytes[0] = (bytes[0] & 0xf0) | BINARY;
        }
        self.place = after_payload(header.payload, cut);
        (header.len, !cut)
    }

    fn hold(&mut self, bytes: &[u8]) {
        self.held[..bytes.len()].copy_from_slice(bytes);
        self.held_len = bytes.len();
    }
}

fn after_payload(left: u64, cut: bool) -> Place {
    if left == 0 { Place::Header } else { Place::Payload { left, cut } }
}

impl Header {
    /// `None` if it is not complete yet.
    fn parse(bytes: &[u8]) -> Option<Self> {
        let (first, second) = (*bytes.first()?, *bytes.get(1)?);
        let (payload, mut len) = match second & 0x7f {
            126 => (u64::from(u16::from_be_bytes(bytes.get(2..4)?.try_into().ok()?)), 4),
            127 => (u64::from_be_bytes(bytes.get(2..10)?.try_into().ok()?), 10),
            short => (u64::from(short), 2),
        };
        if second & 0x80 != 0 {
            len += 4;
            bytes.get(..len)?;
        }
        Some(Self { len, payload, whole_message: matches!(first, 0x81 | 0x82) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const UPGRADE: &[u8] = b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n\r\n";

    fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
        let mut bytes = vec![first];
        match payload.len() {
            n @ 0..126 => bytes.push(n as u8),
            n @ 126..65536 => {
                bytes.push(126);
                bytes.extend((n as u16).to_be_bytes());
            }
            n => {
                bytes.push(127);
                bytes.extend((n as u64).to_be_bytes());
            }
        }
        bytes.extend(payload);
        bytes
    }

    /// Runs `bytes` through in pieces of the given sizes, in turn.
    fn run(bytes: &[u8], pieces: &[usize], max: u64) -> (Vec<u8>, Vec<Oversized>) {
        let (mut scan, mut out, mut oversized) = (Scan::new(max), Vec::new(), Vec::new());
        let (mut at, mut turn) = (0, 0);
        while at < bytes.len() {
            let end = (at + pieces[turn % pieces.len()]).min(bytes.len());
            let mut chunk = scan.held().to_vec();
            chunk.extend(&bytes[at..end]);
            let keep = scan.run(&mut chunk, &mut oversized);
            out.extend(&chunk[..keep]);
            (at, turn) = (end, turn + 1);
        }
        (out, oversized)
    }

    fn stream(frames: &[Vec<u8>]) -> Vec<u8> {
        [UPGRADE, &frames.concat()].concat()
    }

    #[test]
    fn text_becomes_binary_and_the_rest_stays() {
        let sent = stream(&[
            frame(0x81, b"one"),
            frame(0x89, b"ping"),
            frame(0x01, b"frag"),
            frame(0x80, &[b'x'; 70_000]),
            frame(0x88, &[3, 232]),
        ]);
        let want = stream(&[
            frame(0x82, b"one"),
            frame(0x89, b"ping"),
            frame(0x02, b"frag"),
            frame(0x80, &[b'x'; 70_000]),
            frame(0x88, &[3, 232]),
        ]);
        for pieces in [&[1][..], &[3, 1, 2], &[100_000], &[57, 1, 1]] {
            assert_eq!(run(&sent, pieces, 1 << 20), (want.clone(), vec![]), "{pieces:?}");
        }
    }

    #[test]
    fn a_frame_over_the_limit_is_cut_out_and_reported() {
        let sent = stream(&[frame(0x81, b"a"), frame(0x81, &[b'x'; 9_000]), frame(0x81, b"b")]);
        let want = stream(&[frame(0x82, b"a"), frame(0x82, b"b")]);
        for pieces in [&[1][..], &[7], &[100_000], &[4096, 1]] {
            let (out, oversized) = run(&sent, pieces, 8_999);
            assert_eq!(out, want, "{pieces:?}");
            assert_eq!(oversized, [Oversized { size: 9_000, head: vec![b'x'; KEPT] }]);
        }
    }

    #[tokio::test]
    async fn a_buffer_of_any_size_gets_the_same() {
        use tokio::io::AsyncReadExt;
        let mut frames = vec![
            frame(0x81, b"one"),
            frame(0x81, &[b'x'; 700]),
            frame(0x89, b""),
            frame(0x81, &[b'y'; 300]),
            frame(0x80, &[b'z'; 70]),
        ];
        frames.extend((0..200).map(|n| frame(0x81, &[n; 490])));
        let sent = stream(&frames);
        let want = run(&sent, &[usize::MAX >> 1], 500).0;
        for size in (1..40).chain([10_000, LARGE - 1, LARGE, LARGE + 1, 64 << 10, 1 << 20]) {
            let mut lenient = LenientStream::new(&sent[..], 500);
            let (mut out, mut buffer, mut ends) = (Vec::new(), vec![0; size], Vec::new());
            loop {
                match lenient.read(&mut buffer).await.unwrap() {
                    0 => break,
                    count => out.extend_from_slice(&buffer[..count]),
                }
                ends.push(out.len());
            }
            // Nobody who reads the answer to the upgrade has a part of a frame with it.
            assert!(ends.contains(&UPGRADE.len()), "{size}");
            assert_eq!(out, want, "{size}");
            assert_eq!(lenient.take_oversized().len(), 1);
        }
    }

    #[tokio::test]
    async fn of_a_large_buffer_some_is_left_free_and_the_rest_comes_next() {
        use tokio::io::AsyncReadExt;
        let frames: Vec<_> = (0..40).map(|n| frame(0x81, &[n; 4000])).collect();
        let sent = stream(&frames);
        let mut lenient = LenientStream::new(&sent[..], 5000);
        let (mut answer, mut buffer) = ([0; UPGRADE.len()], vec![0; 2 * LARGE]);
        lenient.read_exact(&mut answer).await.unwrap();
        assert_eq!(lenient.read(&mut buffer).await.unwrap(), 2 * LARGE - LEFT_FREE);
        assert_eq!(lenient.read(&mut buffer[..LEFT_FREE]).await.unwrap(), LEFT_FREE);
        assert_eq!(lenient.read(&mut buffer[..LARGE]).await.unwrap(), LARGE - LEFT_FREE);
    }

    proptest::proptest! {
        #[test]
        fn however_the_bytes_are_split_the_result_is_the_same(
            sizes in proptest::collection::vec((0_usize..300, 0_u8..4), 0..12),
            pieces in proptest::collection::vec(1_usize..40, 1..8),
        ) {
            let firsts = [0x81, 0x82, 0x01, 0x80];
            let frames: Vec<_> = sizes
                .iter()
                .map(|(n, kind)| frame(firsts[usize::from(*kind)], &vec![0x81; *n]))
                .collect();
            let sent = stream(&frames);
            proptest::prop_assert_eq!(run(&sent, &pieces, 200), run(&sent, &[usize::MAX >> 1], 200));
        }

        #[test]
        fn no_bytes_make_it_panic(
            bytes in proptest::collection::vec(proptest::num::u8::ANY, 0..400),
            pieces in proptest::collection::vec(1_usize..40, 1..4),
        ) {
            run(&[UPGRADE, &bytes].concat(), &pieces, 100);
        }
    }
}
