//! The manifest: a line of JSON for each finished file, so that whoever takes the
//! files can tell whether one is missing or was changed.

use std::io::{self, BufRead, BufReader};
use std::path::Path;

use super::access::Access;
use super::state::Summary;
use super::target::Target;

/// Appends a line. If this was tried before, it may be there already.
pub fn note(path: &Path, summary: &Summary, again: bool, access: &Access) -> io::Result<()> {
    // Opening cuts off what a crash has torn.
    let mut target = Target::open(path, b"\n", access)?;
    if again && has(path, &summary.file)? {
        return Ok(());
    }
    let mut line = serde_json::to_vec(summary)?;
    line.push(b'\n');
    target.append(&line, false)?;
    target.settle(true)
}

fn has(path: &Path, file: &str) -> io::Result<bool> {
    for line in BufReader::new(std::fs::File::open(path)?).split(b'\n') {
        // Whatever else somebody wrote there is none of ours.
        let noted = serde_json::from_slice::<Summary>(&line?);
        if noted.is_ok_and(|noted| noted.file == file) {
            return Ok(true);
        }
    }
    Ok(false)
}
