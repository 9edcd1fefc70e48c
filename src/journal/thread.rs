//! The thread that the writer runs on, and who waits for its end.

use tokio::sync::{mpsc, oneshot};

use super::lock::Lock;
use super::writer::Writer;
use super::{Control, Handed, JournalError, Request};

/// The owner of the writing thread.
#[derive(Debug)]
pub struct WriterThread {
    ended: oneshot::Receiver<Result<(), JournalError>>,
    thread: std::thread::JoinHandle<()>,
}

impl WriterThread {
    pub(super) fn spawn(
        writer: Writer,
        events: mpsc::Receiver<Request<Handed>>,
        control: mpsc::Receiver<Request<Control>>,
        lock: Lock,
    ) -> Result<Self, JournalError> {
        let path = writer.path.clone();
        let io = |action| move |cause| JournalError::Io { path, action, cause };
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .build()
            .map_err(io.clone()("start its runtime"))?;
        let (tell, ended) = oneshot::channel();
        let thread = std::thread::Builder::new()
            .name("journal".into())
            .spawn(move || {
                let result = runtime.block_on(writer.run(events, control));
                drop(lock);
                // Nobody may be waiting any more; the result was logged where it arose.
                let _ = tell.send(result);
            })
            .map_err(io("start its thread"))?;
        Ok(Self { ended, thread })
    }

    /// Waits until the writer ends: `Ok` once every handle is dropped and all is on
    /// disk, else the failure that stopped it. Cancel-safe; call it once to the end.
    pub async fn ended(&mut self) -> Result<(), JournalError> {
        match (&mut self.ended).await {
            Ok(result) => result,
            Err(_) => panic!("the journal's thread panicked"),
        }
    }

    /// Waits like [`WriterThread::ended`], then for the thread itself.
    pub async fn join(mut self) -> Result<(), JournalError> {
        let result = self.ended().await;
        // The thread has nothing left to do after it told its result.
        let _ = self.thread.join();
        result
    }
}
