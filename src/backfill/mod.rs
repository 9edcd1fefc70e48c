//! Backfill: what nobody heard is fetched back over REST, and the record is compared
//! with the PBX's from time to time even if nothing seems to be missing.
//!
//! A span of the journal ([`crate::journal::gaps`]) is compared: calls that ended in it
//! are asked for by their start, those that the journal has are left alone, the rest is
//! added. Promises kept here:
//!
//! - a gap is closed only after REST has told everything twice, the second time once
//!   rows that appear late are there;
//! - when in doubt a call is added: one that says `backfill` is better than a lost one;
//! - what is under way goes on where it was after an interruption;
//! - live events are never delayed: one small batch at a time goes the way of all events.
//!
//! | file | holds |
//! |---|---|
//! | [`worker`] | one PBX, for ever: which span is next, and when |
//! | [`sweep`] | one comparison |
//! | [`window`] | pure: which calls a span means, in the PBX's time |
//! | [`known`] | whether the journal has a call |

pub mod known;
pub mod sweep;
pub mod window;
pub mod worker;
