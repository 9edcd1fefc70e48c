//! To come.
use crate::{options::Options, report::Found};
pub fn measure(_: &Options, _: &mut Found) -> anyhow::Result<()> { Ok(()) }
