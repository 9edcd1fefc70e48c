//! A bad network: a TCP proxy that does to connections what networks do to them.
//!
//! One fault is in force at a time, for all connections of a proxy. What it does to which
//! byte is drawn at random from a seed; when the bytes come is up to the machine.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use fastrand::Rng;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{ReadHalf, WriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::{sleep, timeout};

/// Bytes that a throttled connection gets through at once, and how often: 1 kB/s.
const TRICKLE: (usize, Duration) = (100, Duration::from_millis(100));
/// The longest delay of what is delayed.
const DELAY_MS: u64 = 800;

/// What happens to connections.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// Nothing.
    Clear,
    /// Each piece comes late.
    Delay,
    /// 1 kB/s.
    Throttle,
    /// Nothing moves until the fault is over; then all of it does.
    Stall,
    /// What is sent from here on is lost, for good, while the connection stands.
    Hole,
    /// Single bits change. Without TLS nobody could notice: not for those.
    Corrupt,
    /// All connections are reset, new ones at once.
    Reset,
    /// One side is told that the other has ended; the other hears nothing of that.
    HalfClose,
    /// The next piece is cut somewhere, and the connection ends.
    Truncate,
    /// New connections are taken and dropped; those that stand go on.
    Refuse,
}

/// The faults that may meet any connection.
pub const FAULTS: &[Fault] = &[
    Fault::Delay,
    Fault::Throttle,
    Fault::Stall,
    Fault::Hole,
    Fault::Reset,
    Fault::HalfClose,
    Fault::Truncate,
    Fault::Refuse,
];

/// A proxy in front of one address.
pub struct Proxy {
    pub address: SocketAddr,
    fault: watch::Sender<Fault>,
    corrupts: bool,
    random: Mutex<Rng>,
    connections: Arc<AtomicU64>,
    door: JoinHandle<()>,
}

impl Proxy {
    /// Listens on a port of `at`, an address of this machine.
    pub async fn start(at: &str, target: SocketAddr, tls: bool, seed: u64) -> Self {
        let listener = TcpListener::bind((at, 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        let (fault, watched) = watch::channel(Fault::Clear);
        let mut random = Rng::with_seed(seed);
        let (forked, connections) = (random.fork(), Arc::new(AtomicU64::new(0)));
        let door = tokio::spawn(keep_door(
            listener,
            target,
            Line::new(watched, forked),
            Arc::clone(&connections),
        ));
        Self { address, fault, corrupts: tls, random: Mutex::new(random), connections, door }
    }

    /// Puts a fault in force.
    pub fn set(&self, fault: Fault) {
        self.fault.send_replace(fault);
    }

    /// Another fault, or none, about every second, until `over`; then none.
    pub async fn torment(&self, over: tokio::time::Instant) {
        while tokio::time::Instant::now() < over {
            let (fault, wait) = {
                let mut random = self.random.lock().unwrap();
                (self.draw(&mut random), Duration::from_millis(random.u64(300..1_700)))
            };
            self.set(fault);
            sleep(wait).await;
        }
        self.set(Fault::Clear);
    }

    /// A third of the time is quiet: somebody who is never let in proves nothing.
    fn draw(&self, random: &mut Rng) -> Fault {
        match random.usize(0..3) {
            0 => Fault::Clear,
            1 if self.corrupts && random.usize(0..4) == 0 => Fault::Corrupt,
            _ => FAULTS[random.usize(0..FAULTS.len())],
        }
    }

    /// Connections so far.
    pub fn connections(&self) -> u64 {
        self.connections.load(Ordering::Relaxed)
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.door.abort();
    }
}

/// What both directions of a connection share.
#[derive(Clone)]
struct Line {
    fault: watch::Receiver<Fault>,
    random: Rng,
    /// What is sent is lost, for good.
    lost: Arc<AtomicBool>,
}

impl Line {
    fn new(fault: watch::Receiver<Fault>, random: Rng) -> Self {
        Self { fault, random, lost: Arc::default() }
    }

    fn fork(&mut self) -> Self {
        Self::new(self.fault.clone(), self.random.fork())
    }

    fn now(&self) -> Fault {
        *self.fault.borrow()
    }
}

async fn keep_door(
    listener: TcpListener,
    target: SocketAddr,
    mut line: Line,
    connections: Arc<AtomicU64>,
) {
    let mut guests = JoinSet::new();
    while let Ok((client, _)) = listener.accept().await {
        connections.fetch_add(1, Ordering::Relaxed);
        let line = line.fork();
        guests.spawn(async move {
            match line.now() {
                Fault::Refuse => {}
                Fault::Reset => drop(client.set_zero_linger()),
                _ => {
                    if let Ok(server) = TcpStream::connect(target).await {
                        connection(client, server, line).await;
                    }
                }
            }
        });
        while guests.try_join_next().is_some() {}
    }
}

/// How one direction ended.
#[derive(Clone, Copy)]
enum End {
    /// As the sender wanted, or halfway: the other direction goes on.
    Half,
    /// With the whole connection.
    Whole,
}

async fn connection(mut client: TcpStream, mut server: TcpStream, mut line: Line) {
    let mut told = line.fault.clone();
    let is_reset = {
        let (from_client, to_client) = client.split();
        let (from_server, to_server) = server.split();
        let mut other = Line { random: line.random.fork(), ..line.clone() };
        let up = pump(from_client, to_server, &mut line);
        let down = pump(from_server, to_client, &mut other);
        tokio::select! {
            () = both(up, down) => false,
            reset = told.wait_for(|fault| *fault == Fault::Reset) => reset.is_ok(),
        }
    };
    if is_reset {
        // Whoever has ended already cannot be reset.
        let _ = (client.set_zero_linger(), server.set_zero_linger());
    }
}

/// Until both directions have ended, or one of them takes the other along.
async fn both(up: impl Future<Output = End>, down: impl Future<Output = End>) {
    let (mut up, mut down) = (std::pin::pin!(up), std::pin::pin!(down));
    let (end, is_up) = tokio::select! {
        end = &mut up => (end, true),
        end = &mut down => (end, false),
    };
    match (end, is_up) {
        (End::Whole, _) => {}
        (End::Half, true) => drop(down.await),
        (End::Half, false) => drop(up.await),
    }
}

async fn pump(mut from: ReadHalf<'_>, mut to: WriteHalf<'_>, line: &mut Line) -> End {
    let mut buffer = vec![0; 16 * 1024];
    let mut told = line.fault.clone();
    loop {
        tokio::select! {
            read = from.read(&mut buffer) => match read {
                Ok(n @ 1..) => {
                    if pass(&mut buffer[..n], &mut to, line).await.is_err() {
                        return End::Whole;
                    }
                }
                Ok(_) => {
                    let _ = to.shutdown().await;
                    return End::Half;
                }
                Err(_) => return End::Whole,
            },
            changed = told.changed() => match changed {
                Ok(()) if *told.borrow() == Fault::HalfClose && line.random.bool() => {
                    let _ = to.shutdown().await;
                    return End::Half;
                }
                Ok(()) => {}
                Err(_) => return End::Whole,
            },
        }
    }
}

/// The connection has to end.
struct Cut;

/// Sends a piece on, as the fault of the moment lets it.
async fn pass(piece: &mut [u8], to: &mut WriteHalf<'_>, line: &mut Line) -> Result<(), Cut> {
    let mut fault = line.now();
    if fault == Fault::Stall {
        let over = line.fault.wait_for(|fault| *fault != Fault::Stall).await;
        fault = over.map(|fault| *fault).map_err(|_| Cut)?;
    }
    if fault == Fault::Hole {
        line.lost.store(true, Ordering::Relaxed);
    }
    if line.lost.load(Ordering::Relaxed) {
        return Ok(());
    }
    match fault {
        Fault::Delay => sleep(Duration::from_millis(line.random.u64(1..DELAY_MS))).await,
        Fault::Throttle => return trickle(piece, to, line).await,
        Fault::Corrupt if line.random.bool() => {
            let (at, bit) = (line.random.usize(0..piece.len()), line.random.u32(0..8));
            piece[at] ^= 1 << bit;
        }
        Fault::Truncate => {
            let part = line.random.usize(0..piece.len());
            let _ = to.write_all(&piece[..part]).await;
            return Err(Cut);
        }
        _ => {}
    }
    to.write_all(piece).await.map_err(|_| Cut)
}

/// Slowly, until the fault is another.
async fn trickle(piece: &[u8], to: &mut WriteHalf<'_>, line: &mut Line) -> Result<(), Cut> {
    let (size, pause) = TRICKLE;
    for some in piece.chunks(size) {
        to.write_all(some).await.map_err(|_| Cut)?;
        // In time it is over; else the next few bytes go.
        let _ = timeout(pause, line.fault.wait_for(|fault| *fault != Fault::Throttle)).await;
    }
    Ok(())
}
