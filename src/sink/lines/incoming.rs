//! Lines from somebody whom nobody controls: of bounded length, harmless to show.

use std::io;

use bytes::{Buf, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt};

/// Bytes read at once.
const CHUNK: usize = 8 * 1024;

/// One line, without its end.
#[derive(Debug, PartialEq, Eq)]
pub struct Line {
    /// Its start, up to the limit.
    pub bytes: Vec<u8>,
    /// There was more.
    pub cut: bool,
}

/// Splits what somebody writes into lines. A line without an end costs no memory
/// past the limit.
#[derive(Debug)]
pub struct Incoming<R> {
    from: R,
    limit: usize,
    chunk: BytesMut,
    line: Line,
    ended: bool,
}

impl<R: AsyncRead + Unpin> Incoming<R> {
    /// Lines of at most `limit` bytes.
    pub fn new(from: R, limit: usize) -> Self {
        let line = Line { bytes: Vec::new(), cut: false };
        Self { from, limit, chunk: BytesMut::new(), line, ended: false }
    }

    /// The next line; `None` at the end. Cancel-safe.
    pub async fn line(&mut self) -> io::Result<Option<Line>> {
        loop {
            if let Some(line) = self.ready() {
                return Ok(Some(line));
            }
            if self.ended {
                return Ok(None);
            }
            self.chunk.reserve(CHUNK);
            if self.from.read_buf(&mut self.chunk).await? == 0 {
                self.ended = true;
            }
        }
    }

    /// The next line, if it has been read already. What stands at the end without a
    /// line end is a line, too.
    pub fn ready(&mut self) -> Option<Line> {
        let end = self.chunk.iter().position(|byte| *byte == b'\n');
        let part = &self.chunk[..end.unwrap_or(self.chunk.len())];
        let room = self.limit.saturating_sub(self.line.bytes.len());
        self.line.bytes.extend_from_slice(&part[..part.len().min(room)]);
        self.line.cut |= part.len() > room;
        let used = part.len() + usize::from(end.is_some());
        self.chunk.advance(used);
        let last = self.ended && !self.line.bytes.is_empty();
        (end.is_some() || last).then(|| {
            let fresh = Line { bytes: Vec::new(), cut: false };
            std::mem::replace(&mut self.line, fresh)
        })
    }
}

/// Text that neither moves a terminal's cursor nor turns the reading direction.
pub fn harmless(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(bytes);
    let mut shown = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '\t' => shown.push(' '),
            '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' => {
                shown.extend(c.escape_unicode());
            }
            c if c.is_control() => shown.extend(c.escape_debug()),
            c => shown.push(c),
        }
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn lines(text: &[u8], limit: usize) -> Vec<(Vec<u8>, bool)> {
        let mut incoming = Incoming::new(text, limit);
        let mut lines = Vec::new();
        while let Some(line) = incoming.line().await.unwrap() {
            lines.push((line.bytes, line.cut));
        }
        lines
    }

    #[tokio::test]
    async fn lines_end_with_a_line_end_or_with_everything() {
        let line = |text: &str| (text.as_bytes().to_vec(), false);
        assert_eq!(lines(b"a\n\nbc", 10).await, [line("a"), line(""), line("bc")]);
        assert_eq!(lines(b"a\n", 10).await, [line("a")]);
        assert_eq!(lines(b"", 10).await, []);
    }

    #[tokio::test]
    async fn a_line_without_end_is_cut_and_the_next_one_whole() {
        let text = [vec![b'x'; 100_000], b"\nnext\n".to_vec()].concat();
        let expected = [(b"xxxxx".to_vec(), true), (b"next".to_vec(), false)];
        assert_eq!(lines(&text, 5).await, expected);
    }

    #[test]
    fn controls_are_shown_and_not_obeyed() {
        assert_eq!(harmless(b"a\x1b[2J\tb\xff\r"), "a\\u{1b}[2J b\u{fffd}\\r");
        assert_eq!(harmless("\u{202e}gpj".as_bytes()), "\\u{202e}gpj");
    }
}
