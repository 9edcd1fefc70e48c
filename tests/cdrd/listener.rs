//! A small receiver of lines on a TCP or Unix socket: keeps what it gets, and
//! answers with the id of each event if it is to. It can go away and come back.
//!
//! On threads of its own, so that it comes and goes at once, whatever a test's
//! runtime is busy with.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;

use crate::port::Port;

/// Where to listen.
#[derive(Debug, Clone)]
pub enum Place {
    Tcp(SocketAddr),
    Unix(PathBuf),
}

impl Place {
    /// On a port that nobody has.
    pub fn tcp() -> Self {
        Self::Tcp("127.0.0.1:0".parse().unwrap())
    }
}

/// A receiver, listening from the start.
pub struct Listener {
    place: Place,
    /// Ours also while nobody listens.
    _port: Option<Port>,
    answers: bool,
    got: Arc<Got>,
    open: Mutex<Option<Open>>,
}

#[derive(Default)]
struct Got {
    lines: Mutex<Vec<Vec<u8>>>,
    connections: Mutex<Vec<Connection>>,
    gone: AtomicBool,
}

struct Open {
    door: JoinHandle<()>,
}

enum Connection {
    Tcp(TcpStream),
    Unix(UnixStream),
}

impl Connection {
    fn shut(&self) {
        // The other side may have been faster.
        let _ = match self {
            Self::Tcp(stream) => stream.shutdown(Shutdown::Both),
            Self::Unix(stream) => stream.shutdown(Shutdown::Both),
        };
    }
}

impl Listener {
    pub fn start(place: Place, answers: bool) -> Self {
        let (place, port) = match place {
            Place::Tcp(_) => {
                let port = Port::reserve();
                (Place::Tcp(port.address), Some(port))
            }
            unix => (unix, None),
        };
        let (got, open) = (Arc::default(), Mutex::default());
        let listener = Self { place, _port: port, answers, got, open };
        listener.come_back();
        listener
    }

    pub fn address(&self) -> String {
        match &self.place {
            Place::Tcp(address) => format!("tcp://{address}"),
            Place::Unix(path) => format!("unix://{}", path.display()),
        }
    }

    /// What came, in order.
    pub fn lines(&self) -> Vec<Vec<u8>> {
        self.got.lines.lock().unwrap().clone()
    }

    /// How often somebody connected.
    pub fn connections(&self) -> usize {
        self.got.connections.lock().unwrap().len()
    }

    pub fn come_back(&self) {
        let (got, answers) = (Arc::clone(&self.got), self.answers);
        got.gone.store(false, Ordering::SeqCst);
        let door = match &self.place {
            Place::Tcp(address) => {
                let listener = TcpListener::bind(address).unwrap();
                std::thread::spawn(move || {
                    while let Ok((stream, _)) = listener.accept()
                        && !got.gone.load(Ordering::SeqCst)
                    {
                        let kept = Connection::Tcp(stream.try_clone().unwrap());
                        got.connections.lock().unwrap().push(kept);
                        serve(stream.try_clone().unwrap(), stream, &got, answers);
                    }
                    cdrd::door::shut(listener);
                })
            }
            Place::Unix(path) => {
                let listener = UnixListener::bind(path).unwrap();
                std::thread::spawn(move || {
                    while let Ok((stream, _)) = listener.accept()
                        && !got.gone.load(Ordering::SeqCst)
                    {
                        let kept = Connection::Unix(stream.try_clone().unwrap());
                        got.connections.lock().unwrap().push(kept);
                        serve(stream.try_clone().unwrap(), stream, &got, answers);
                    }
                })
            }
        };
        *self.open.lock().unwrap() = Some(Open { door });
    }

    /// Closes all connections and listens no more.
    pub fn go_away(&self) {
        let Some(open) = self.open.lock().unwrap().take() else { return };
        self.got.gone.store(true, Ordering::SeqCst);
        // To be told, it must be called once more.
        match &self.place {
            Place::Tcp(address) => drop(TcpStream::connect(address)),
            Place::Unix(path) => {
                drop(UnixStream::connect(path));
                std::fs::remove_file(path).unwrap();
            }
        }
        open.door.join().unwrap();
        self.hang_up();
    }

    /// Closes all connections, and takes new ones.
    pub fn hang_up(&self) {
        self.got.connections.lock().unwrap().iter().for_each(Connection::shut);
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        self.go_away();
    }
}

fn serve(
    from: impl Read + Send + 'static,
    mut to: impl Write + Send + 'static,
    got: &Arc<Got>,
    answers: bool,
) {
    let got = Arc::clone(got);
    std::thread::spawn(move || {
        let mut lines = BufReader::new(from);
        let mut line = Vec::new();
        while lines.read_until(b'\n', &mut line).is_ok_and(|n| n > 0) {
            // Half a line is what a broken connection leaves.
            let Some(whole) = line.strip_suffix(b"\n") else { return };
            // Kept before it is confirmed: once it is, the next line may come over another
            // connection, which another thread reads.
            got.lines.lock().unwrap().push(whole.to_vec());
            if answers && writeln!(to, "{}", id(whole)).is_err() {
                return;
            }
            line.clear();
        }
    });
}

/// The id of a CloudEvents line, whose data may be JSON that not every reader likes.
pub fn id(line: &[u8]) -> String {
    let text = String::from_utf8_lossy(line);
    let (_, rest) = text.split_once("\"id\":\"").expect("an envelope");
    rest.split('"').next().unwrap().to_owned()
}

/// The PBX's bytes in a CloudEvents line.
pub fn data(line: &[u8]) -> Vec<u8> {
    let key = b",\"data\":";
    let at = line.windows(key.len()).position(|part| part == key).expect("an envelope");
    line[at + key.len()..line.len() - 1].to_vec()
}
