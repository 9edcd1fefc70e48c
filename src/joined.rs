//! The ends of tasks.

use std::panic::resume_unwind;

use tokio::task::JoinError;

/// What a task gave, or `None` if it was aborted. Its panic goes on in whoever asks: as a
/// rule it has ended the process already (`cli/panics.rs`), but tests have none of their own.
pub(crate) fn joined<T>(ended: Result<T, JoinError>) -> Option<T> {
    match ended.map_err(JoinError::try_into_panic) {
        Ok(result) => Some(result),
        Err(Ok(panic)) => resume_unwind(panic),
        Err(Err(_aborted)) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn results_pass_and_what_was_aborted_has_none() {
        assert_eq!(joined(tokio::spawn(async { 1 }).await), Some(1));
        let endless = tokio::spawn(std::future::pending::<()>());
        endless.abort();
        assert_eq!(joined(endless.await), None);
    }

    #[tokio::test]
    #[should_panic = "a fault"]
    async fn a_panic_goes_on() {
        joined(tokio::spawn(async { panic!("a fault") }).await);
    }
}
