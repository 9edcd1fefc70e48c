//! To come.
pub fn write(_: &crate::report::Found, _: &std::path::Path) -> anyhow::Result<()> { Ok(()) }
