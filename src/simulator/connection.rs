//! One WebSocket connection, from its upgrade to its end.
//!
//! One task reads, writes and obeys at once, so that a client that is slow to
//! read is still heard. Frames go into a buffer in order; the buffer goes onto
//! the wire as fast as the client reads.

use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use tokio::io::{AsyncWriteExt, ReadHalf, WriteHalf};
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, Interval, MissedTickBehavior, interval_at, sleep_until};

use super::events::Event;
use super::faults::{self, Faults, OVERSIZE};
use super::flood::Flood;
use super::frame::{FrameReader, FrameWriter, Incoming, ReadError};
use super::hub::{Hub, Job, Line, Order};
use super::ledger::{Ending, Pushed};
use super::notice::Notice;
use super::patience::within;
use super::session::{Response, Session};
use super::topics::{Subscriptions, Wish};
use super::wire::Wire;

/// Jobs that may queue for one connection before the office waits for it.
const JOBS: usize = 256;
/// Bytes that wait for the wire before jobs are left in their queue.
const HIGH_WATER: usize = 256 * 1024;
/// Bytes that wait when more of the load is put behind them: of few, few must be moved.
const LOW_WATER: usize = 16 * 1024;
/// Events after which a ping asks how far the client has read.
const PING_AFTER: u64 = 32;
/// How long a closing client is waited for.
const CLOSE_LIMIT: Duration = Duration::from_secs(2);

/// A connection after its upgrade.
pub struct Connection {
    hub: Arc<Hub>,
    number: u64,
    session: Session,
    reader: FrameReader<ReadHalf<Wire>>,
    writer: FrameWriter<WriteHalf<Wire>>,
    jobs: mpsc::Receiver<Job>,
    orders: mpsc::Receiver<Order>,
    flushes: Vec<oneshot::Sender<()>>,
    /// Frames in the ledger.
    pushed: u64,
    /// Events among them, which the counting faults count.
    events: u64,
    /// The load that it still gets.
    flood: Option<Flood>,
    /// What a fault wants done once the buffer is out.
    fate: Option<Order>,
}

/// Why serving ended.
enum Leave {
    Order(Order),
    ClientClosed(Option<u16>),
    Vanished(String),
}

impl Connection {
    /// Takes over an upgraded stream; `read` holds what came after the request.
    pub fn new(hub: Arc<Hub>, target: &str, wire: Wire, read: BytesMut) -> Self {
        let (reader, writer) = tokio::io::split(wire);
        let (job_sender, jobs) = mpsc::channel(JOBS);
        let (order_sender, orders) = mpsc::channel(4);
        let line = Line {
            jobs: job_sender,
            orders: order_sender,
            subscriptions: Subscriptions::default(),
        };
        let number = hub.open(target, line);
        Self {
            number,
            session: Session::new(number),
            reader: FrameReader::new(reader, read),
            writer: FrameWriter::new(writer, hub.options.stall_limit),
            hub,
            jobs,
            orders,
            flushes: Vec::new(),
            pushed: 0,
            events: 0,
            flood: None,
            fate: None,
        }
    }

    /// Serves until the end and notes it.
    pub async fn run(mut self) {
        let leave = self.serve().await;
        let (hub, number) = (Arc::clone(&self.hub), self.number);
        let ending = self.leave(leave).await;
        hub.close(number, ending);
    }

    async fn serve(&mut self) -> Leave {
        let hub = Arc::clone(&self.hub);
        let mut pings = pings(hub.options.ping_every);
        loop {
            if let Some(order) = self.fate.take() {
                return match self.writer.drain().await {
                    Ok(()) => Leave::Order(order),
                    Err(error) => Leave::Vanished(error.to_string()),
                };
            }
            let flood_due = self.flood.as_ref().map(Flood::due);
            let (backlog, pending) = (self.writer.backlog(), self.writer.pending());
            let (room, pours) = (backlog < HIGH_WATER, backlog < LOW_WATER && flood_due.is_some());
            tokio::select! {
                biased;
                () = hub.stop.cancelled() => {
                    return Leave::Order(Order::Close(1001, "The simulator ends.".into()));
                }
                Some(order) = self.orders.recv() => return Leave::Order(order),
                heard = self.reader.next() => {
                    if let Err(leave) = self.hear(heard) {
                        return leave;
                    }
                }
                Some(job) = self.jobs.recv(), if room => self.work(job),
                moved = self.writer.advance(), if pending => match moved {
                    Ok(()) => self.tell_flushed(),
                    Err(error) => return Leave::Vanished(error.to_string()),
                },
                () = sleep_until(flood_due.unwrap_or_else(Instant::now)), if pours => self.pour(),
                _ = pings.tick() => self.ping(),
            }
        }
    }

    fn hear(&mut self, heard: Result<Incoming, ReadError>) -> Result<(), Leave> {
        match heard {
            Ok(Incoming::Text(text)) => {
                let response = self.session.handle(&self.hub, &text);
                self.respond(response);
            }
            Ok(Incoming::Ping(payload)) => self.writer.pong(&payload),
            Ok(Incoming::Pong(payload)) => self.confirm(&payload),
            Ok(Incoming::Close(code)) => return Err(Leave::ClientClosed(code)),
            Err(error) => return Err(Leave::Vanished(error.to_string())),
        }
        Ok(())
    }

    fn respond(&mut self, response: Response) {
        for event in response.before {
            self.push(&event);
        }
        if let Some(answer) = response.answer {
            self.writer.text(answer.as_bytes());
        }
        // The answer is in the buffer: from here on events come after it.
        self.subscribe(response.granted, &response.withdrawn);
        for event in response.after {
            self.push(&event);
        }
        if response.hang_up {
            self.hub.tell(Notice::Fault(self.number, "dropped after login".into()));
            self.fate = Some(Order::HangUp);
        }
    }

    /// Fills the buffer with what is due of the load.
    fn pour(&mut self) {
        let Some(flood) = &mut self.flood else { return };
        let (now, before) = (Instant::now(), self.pushed);
        while !flood.is_over() && flood.due() <= now && self.writer.backlog() < HIGH_WATER {
            self.writer.ready_made(|out| {
                flood.pour(out);
            });
            self.pushed += 1;
        }
        let over = flood.is_over();
        self.hub.ledger().count(self.number, self.pushed - before);
        if over {
            self.flood = None;
            self.ping();
            self.hub.finish_calls();
        }
    }

    fn subscribe(&mut self, granted: Vec<Wish>, withdrawn: &[Wish]) {
        if self.pushed == 0 && !granted.is_empty() {
            self.flood = self.hub.flood();
        }
        let topics = match self.hub.lines().get_mut(&self.number) {
            Some(line) => {
                granted.into_iter().for_each(|wish| line.subscriptions.add(wish));
                withdrawn.iter().for_each(|wish| line.subscriptions.remove(wish));
                line.subscriptions.len()
            }
            None => 0,
        };
        if let Some(record) = self.hub.ledger().connections.get_mut(&self.number) {
            record.topics = topics;
        }
        self.hub.touch();
    }

    fn work(&mut self, job: Job) {
        match job {
            Job::Event(event) => self.push(&event),
            Job::Raw(bytes) => {
                self.note(bytes.clone(), None);
                self.writer.text(&bytes);
            }
            Job::Pieces(bytes) => {
                let ping = self.pushed.to_be_bytes();
                self.note(bytes.clone(), None);
                self.writer.text_in_pieces(&bytes, &ping);
            }
            Job::Ping(tell) => {
                self.ping();
                // Whoever asked may have given up.
                let _ = tell.send(self.pushed);
            }
            Job::Flush(tell) => {
                self.flushes.push(tell);
                self.tell_flushed();
            }
        }
    }

    fn push(&mut self, event: &Event) {
        let ping = self.pushed.to_be_bytes();
        self.note(event.json.clone(), Some(event));
        self.events += 1;
        let faults = self.hub.faults();
        if faults.fragment {
            self.writer.text_in_pieces(&event.json, &ping);
        } else {
            self.writer.text(&event.json);
        }
        let (broken, fate) = (broken_frames(&faults, self.events), fate(&faults, self.events));
        drop(faults);
        for frame in broken {
            self.note(frame.clone(), None);
            self.writer.text(&frame);
        }
        if self.events.is_multiple_of(PING_AFTER) {
            self.ping();
        }
        self.fate = self.fate.take().or(fate);
    }

    fn note(&mut self, bytes: Bytes, event: Option<&Event>) {
        self.pushed += 1;
        let frame = Pushed {
            connection: self.number,
            bytes,
            event_type: event.map(|event| event.event_type),
            session_id: event.and_then(|event| event.session_id.clone()),
            confirmed: false,
        };
        if let (Some("call_cdr"), Some(session)) = (frame.event_type, &frame.session_id) {
            self.hub.archive().note_pushed(session);
        }
        self.hub.ledger().push(frame, self.hub.options.record);
    }

    /// The payload is the number of frames before it, so a pong says what was read.
    fn ping(&mut self) {
        self.writer.ping(&self.pushed.to_be_bytes());
    }

    fn confirm(&self, payload: &[u8]) {
        if let Ok(count) = payload.try_into() {
            let count = u64::from_be_bytes(count);
            self.hub.ledger().confirm(self.number, count);
            self.hub.touch();
        }
    }

    fn tell_flushed(&mut self) {
        if !self.writer.pending() {
            for tell in self.flushes.drain(..) {
                // Whoever asked may have given up.
                let _ = tell.send(());
            }
        }
    }

    async fn leave(mut self, leave: Leave) -> Ending {
        match leave {
            Leave::Order(Order::Close(code, reason)) => self.close(code, &reason).await,
            Leave::Order(Order::Reset) => self.reset(),
            Leave::Order(Order::HangUp) => {
                self.shut_down().await;
                Ending::Cut
            }
            Leave::Order(Order::Silence) => self.be_silent().await,
            Leave::ClientClosed(code) => {
                self.writer.close(code.unwrap_or(1000), "");
                self.shut_down().await;
                Ending::ClosedByClient(code)
            }
            Leave::Vanished(why) => Ending::Vanished(why),
        }
    }

    async fn close(mut self, code: u16, reason: &str) -> Ending {
        self.writer.close(code, reason);
        let answered = within(CLOSE_LIMIT, self.await_close()).await.unwrap_or(false);
        self.shut_down().await;
        Ending::ClosedByServer { answered }
    }

    /// Sends what is left and reads on, so that late pongs still count.
    async fn await_close(&mut self) -> bool {
        loop {
            let pending = self.writer.pending();
            tokio::select! {
                moved = self.writer.advance(), if pending => if moved.is_err() { return false },
                heard = self.reader.next() => match heard {
                    Ok(Incoming::Pong(payload)) => self.confirm(&payload),
                    Ok(Incoming::Close(_)) => return true,
                    Ok(_) => {}
                    Err(_) => return false,
                }
            }
        }
    }

    fn reset(self) -> Ending {
        let wire = self.reader.into_half().unsplit(self.writer.into_half());
        match wire.reset() {
            Ok(()) => Ending::Cut,
            Err(error) => Ending::Vanished(error.to_string()),
        }
    }

    /// Ends TCP; that it may be gone already is no matter at its end.
    async fn shut_down(mut self) {
        let end = async {
            self.writer.drain().await?;
            self.writer.into_half().shutdown().await
        };
        let _ = within(CLOSE_LIMIT, end).await;
    }

    /// Holds TCP open, writing and reading nothing, until ordered otherwise.
    async fn be_silent(mut self) -> Ending {
        if let Some(record) = self.hub.ledger().connections.get_mut(&self.number) {
            record.silent = true;
        }
        self.hub.lines().remove(&self.number);
        self.hub.tell(Notice::Fault(self.number, "silent from now on".into()));
        self.hub.touch();
        // Whoever waits for a job is let go: it will not be done.
        self.jobs.close();
        while self.jobs.recv().await.is_some() {}
        self.flushes.clear();
        // The line is gone, so no order can come: only the end does.
        self.hub.stop.cancelled().await;
        Ending::Cut
    }
}

fn pings(every: Duration) -> Interval {
    let mut pings = interval_at(tokio::time::Instant::now() + every, every);
    pings.set_missed_tick_behavior(MissedTickBehavior::Delay);
    pings
}

fn broken_frames(faults: &Faults, events: u64) -> Vec<Bytes> {
    let due = |every: Option<u64>| every.is_some_and(|every| events.is_multiple_of(every));
    let mut frames = Vec::new();
    if due(faults.malformed_every) {
        frames.push(faults::malformed(events).into());
    }
    if due(faults.non_utf8_every) {
        frames.push(faults::non_utf8(events).into());
    }
    if due(faults.oversize_every) {
        frames.push(faults::oversized(OVERSIZE).into());
    }
    frames
}

fn fate(faults: &Faults, events: u64) -> Option<Order> {
    if let Some((_, code)) = faults.close_after.filter(|(after, _)| *after == events) {
        return Some(Order::Close(code, "closed on request".into()));
    }
    if faults.reset_after == Some(events) {
        return Some(Order::Reset);
    }
    (faults.silent_after == Some(events)).then_some(Order::Silence)
}
