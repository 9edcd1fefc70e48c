//! Where sessions put what they hear: the journal, or, for commands that write
//! nothing, whoever asked.

use std::sync::Arc;

use tokio::sync::{mpsc, oneshot};

use super::gaps::Note;
use super::quarantine::Quarantined;
use super::{CONTROL_QUEUE, Control, EVENT_QUEUE, Handed, Request, Stopped};
use crate::event::Event;
use crate::metrics::Metrics;

/// The way in for events and for what could not be decoded.
#[derive(Clone)]
pub struct Intake {
    pub(super) events: mpsc::Sender<Request<Handed>>,
    pub(super) control: mpsc::Sender<Request<Control>>,
    pub(super) metrics: Arc<Metrics>,
}

impl Intake {
    /// An intake without a journal behind it.
    pub fn detached() -> (Self, Outlet) {
        let (events, events_out) = mpsc::channel(EVENT_QUEUE);
        let (control, control_out) = mpsc::channel(CONTROL_QUEUE);
        let metrics = Arc::new(Metrics::new());
        (Self { events, control, metrics }, Outlet { events: events_out, _control: control_out })
    }

    /// What is counted.
    pub fn metrics(&self) -> &Arc<Metrics> {
        &self.metrics
    }

    /// Moves the events of `batch` into the queue, leaving it empty. Waits while
    /// the queue is full. Dropping the future loses nothing: until it has a place,
    /// the batch stays where it is.
    pub async fn events(&self, batch: &mut Vec<Event>) -> Result<(), Stopped> {
        let place = self.events.reserve().await.map_err(|_| Stopped)?;
        let handed = Handed { events: std::mem::take(batch), note: None };
        place.send(Request { what: handed, done: None });
        Ok(())
    }

    /// Returns once the events are durable: how many of them were new.
    pub async fn events_durably(&self, events: Vec<Event>) -> Result<usize, Stopped> {
        let (done, durable) = oneshot::channel();
        let request = Request { what: Handed { events, note: None }, done: Some(done) };
        self.events.send(request).await.map_err(|_| Stopped)?;
        durable.await.map_err(|_| Stopped)
    }

    /// Notes what happened to a session, behind the events that it has handed over.
    pub async fn note(&self, note: Note) -> Result<(), Stopped> {
        let handed = Handed { events: Vec::new(), note: Some(note) };
        self.events.send(Request { what: handed, done: None }).await.map_err(|_| Stopped)
    }

    /// Returns once what could not be decoded is durable.
    pub async fn suspect_durably(&self, suspect: Quarantined) -> Result<(), Stopped> {
        let (done, durable) = oneshot::channel();
        let request = Request { what: Control::Quarantine(suspect), done: Some(done) };
        self.control.send(request).await.map_err(|_| Stopped)?;
        durable.await.map_err(|_| Stopped)?;
        Ok(())
    }

    /// Moves what could not be decoded into the queue, one by one; as safe to drop
    /// as [`Intake::events`].
    pub async fn suspects(&self, batch: &mut Vec<Quarantined>) -> Result<(), Stopped> {
        while !batch.is_empty() {
            let place = self.control.reserve().await.map_err(|_| Stopped)?;
            place.send(Request { what: Control::Quarantine(batch.remove(0)), done: None });
        }
        Ok(())
    }
}

/// The other end of a detached intake.
pub struct Outlet {
    events: mpsc::Receiver<Request<Handed>>,
    /// Open, so that undecodable frames have somewhere to go; there they end.
    _control: mpsc::Receiver<Request<Control>>,
}

impl Outlet {
    /// The next events; `None` once every intake is dropped.
    pub async fn events(&mut self) -> Option<Vec<Event>> {
        self.events.recv().await.map(|request| request.what.events)
    }
}
