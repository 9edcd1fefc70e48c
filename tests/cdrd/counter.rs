//! A receiver that only counts: which events came, by `seq`, and how many came again. For
//! millions of them, so it keeps a bit for each. Over HTTP, or as lines that it answers.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use crate::port::Port;

/// Which events somebody has, by `seq`, and how often one came again.
#[derive(Default)]
pub struct Seen {
    bits: Mutex<Vec<u64>>,
    distinct: AtomicU64,
    again: AtomicU64,
}

impl Seen {
    fn note(&self, seq: u64) {
        let (word, bit) = ((seq / 64) as usize, 1 << (seq % 64));
        let mut bits = self.bits.lock().unwrap();
        if bits.len() <= word {
            bits.resize(word + 1, 0);
        }
        let count = if bits[word] & bit == 0 { &self.distinct } else { &self.again };
        count.fetch_add(1, Ordering::Relaxed);
        bits[word] |= bit;
    }

    /// All events of a text: CloudEvents, one or many.
    fn note_all(&self, mut text: &[u8]) {
        while let Some(rest) = behind(text, b"\"seq\":") {
            let digits = rest.iter().take_while(|byte| byte.is_ascii_digit()).count();
            self.note(std::str::from_utf8(&rest[..digits]).unwrap().parse().unwrap());
            text = &rest[digits..];
        }
    }

    pub fn distinct(&self) -> u64 {
        self.distinct.load(Ordering::Relaxed)
    }

    pub fn again(&self) -> u64 {
        self.again.load(Ordering::Relaxed)
    }
}

/// What stands behind the first such words.
pub fn behind<'a>(text: &'a [u8], words: &[u8]) -> Option<&'a [u8]> {
    let at = text.windows(words.len()).position(|some| some == words)?;
    Some(&text[at + words.len()..])
}

/// A receiver that only counts, and can be down. Its threads end with their connections.
pub struct Counter {
    port: Port,
    pub seen: Arc<Seen>,
    serve: fn(TcpStream, &Seen) -> std::io::Result<()>,
    up: Mutex<Option<Up>>,
}

/// While it listens.
struct Up {
    gone: Arc<AtomicBool>,
    door: std::thread::JoinHandle<()>,
    guests: Arc<Mutex<Vec<TcpStream>>>,
}

impl Counter {
    pub fn start(serve: fn(TcpStream, &Seen) -> std::io::Result<()>) -> Self {
        let counter =
            Self { port: Port::reserve(), seen: Arc::default(), serve, up: Mutex::default() };
        counter.come_up();
        counter
    }

    pub fn address(&self) -> SocketAddr {
        self.port.address
    }

    pub fn come_up(&self) {
        let listener = TcpListener::bind(self.port.address).unwrap();
        let (gone, guests) = (Arc::new(AtomicBool::new(false)), Arc::new(Mutex::new(Vec::new())));
        let (seen, serve) = (Arc::clone(&self.seen), self.serve);
        let (told, shared) = (Arc::clone(&gone), Arc::clone(&guests));
        let door = std::thread::spawn(move || {
            while let Ok((stream, _)) = listener.accept() {
                if told.load(Ordering::Relaxed) {
                    break;
                }
                shared.lock().unwrap().push(stream.try_clone().unwrap());
                let seen = Arc::clone(&seen);
                // The other side ends it as a rule.
                std::thread::spawn(move || drop(serve(stream, &seen)));
            }
            cdrd::door::shut(listener);
        });
        *self.up.lock().unwrap() = Some(Up { gone, door, guests });
    }

    /// Connections break, and new ones are refused.
    pub fn go_down(&self) {
        let Some(up) = self.up.lock().unwrap().take() else { return };
        up.gone.store(true, Ordering::Relaxed);
        let _ = TcpStream::connect(self.port.address);
        up.door.join().unwrap();
        for guest in up.guests.lock().unwrap().drain(..) {
            // The other side may have been faster.
            let _ = guest.shutdown(Shutdown::Both);
        }
    }
}

impl Drop for Counter {
    fn drop(&mut self) {
        self.go_down();
    }
}

/// Answers posts with 200.
pub fn posts(stream: TcpStream, seen: &Seen) -> std::io::Result<()> {
    let (mut reader, mut writer) = (BufReader::new(stream.try_clone()?), stream);
    let mut body = Vec::new();
    loop {
        let mut length = 0;
        loop {
            let mut line = String::new();
            if reader.read_line(&mut line)? == 0 {
                return Ok(());
            }
            let line = line.trim_end().to_ascii_lowercase();
            if let Some(n) = line.strip_prefix("content-length: ") {
                length = n.parse().unwrap();
            }
            if line.is_empty() {
                break;
            }
        }
        body.resize(length, 0);
        reader.read_exact(&mut body)?;
        seen.note_all(&body);
        writer.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n")?;
    }
}

/// Answers lines with their ids.
pub fn lines(stream: TcpStream, seen: &Seen) -> std::io::Result<()> {
    let (mut reader, mut writer) = (BufReader::new(stream.try_clone()?), stream);
    let (mut line, mut answers) = (Vec::new(), Vec::new());
    while reader.read_until(b'\n', &mut line)? > 0 {
        seen.note_all(&line);
        let id = behind(&line, b"\"id\":\"").expect("an envelope");
        answers.extend(id.iter().take_while(|byte| **byte != b'"'));
        answers.push(b'\n');
        if reader.buffer().is_empty() {
            writer.write_all(&answers)?;
            answers.clear();
        }
        line.clear();
    }
    Ok(())
}
