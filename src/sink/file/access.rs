//! Who may do what with a file: the options `mode`, `owner` and `group`.
//!
//! Names are looked up in `/etc/passwd` and `/etc/group` themselves: a static binary
//! has nothing else, and reading two columns needs no crate. Whoever keeps users
//! elsewhere writes a number.

use std::fs::{File, Permissions};
use std::io;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt};

use rustix::fs::{Gid, Uid, fchown};

use crate::config::Section;

/// What a file gets unless told otherwise, less the umask.
const MODE: u32 = 0o640;

/// Who may do what with a file.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Access {
    mode: Option<u32>,
    owner: Option<String>,
    group: Option<String>,
}

impl Access {
    /// Reads `mode`, `owner` and `group`.
    pub fn read(section: &mut Section) -> Self {
        let owner = section.string("owner");
        let group = section.string("group");
        Self { mode: section.parsed("mode", "a string like \"0640\"", mode), owner, group }
    }

    /// How a new file is opened, so that nobody gets at it before [`Access::give`].
    pub fn options(&self) -> std::fs::OpenOptions {
        let mut options = File::options();
        options.mode(self.mode.map_or(MODE, |mode| mode & MODE));
        options
    }

    /// Makes it so, where it is not.
    pub fn give(&self, file: &File) -> io::Result<()> {
        let now = file.metadata()?;
        let id = |name: &Option<String>, list, now: u32| {
            let id = name.as_deref().map(|name| id_of(name, list)).transpose()?;
            Ok::<_, io::Error>(id.filter(|id| *id != now))
        };
        let owner = id(&self.owner, "/etc/passwd", now.uid())?;
        let group = id(&self.group, "/etc/group", now.gid())?;
        if owner.is_some() || group.is_some() {
            fchown(file, owner.map(Uid::from_raw), group.map(Gid::from_raw)).map_err(|e| {
                let hint = "only root can give files away, and only to a group of its own can another user; leave out \"owner\" and \"group\", or run cdrd as that user";
                io::Error::other(format!("cannot change its owner: {e}; {hint}"))
            })?;
        }
        match self.mode {
            // After the owner: a change of that may take bits away.
            Some(mode) if file.metadata()?.mode() & 0o7777 != mode => {
                file.set_permissions(Permissions::from_mode(mode))
            }
            _ => Ok(()),
        }
    }
}

fn mode(text: &str) -> Result<u32, String> {
    let valid = text.len() <= 4 && text.bytes().all(|digit| (b'0'..=b'7').contains(&digit));
    match u32::from_str_radix(text, 8) {
        Ok(mode) if valid && mode <= 0o777 && mode & 0o600 == 0o600 => Ok(mode),
        _ => Err(format!(
            "must be octal, up to \"0777\", and let the owner read and write, found {text:?}; write one like \"0640\""
        )),
    }
}

/// The number of a user or group, from a list of lines `NAME:x:NUMBER:…`.
fn id_of(name: &str, list: &str) -> io::Result<u32> {
    // The highest number is no number: chown takes it for "as it is".
    if let Some(id) = name.parse().ok().filter(|id| *id != u32::MAX) {
        return Ok(id);
    }
    let found = find(&std::fs::read_to_string(list)?, name);
    found.ok_or_else(|| {
        let text = format!("{name:?} is not in {list}; write the name of one that is, or a number");
        io::Error::other(text)
    })
}

fn find(list: &str, name: &str) -> Option<u32> {
    let mut entries = list.lines().map(|line| line.split(':'));
    entries
        .find_map(|mut entry| (entry.next() == Some(name)).then(|| entry.nth(1)?.parse().ok())?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mode_is_octal_and_lets_the_owner_write() {
        assert_eq!(mode("0640"), Ok(0o640));
        assert_eq!(mode("664"), Ok(0o664));
        for text in ["640a", "0o640", "9", "0440", "1777", "+640", "00640", "rw-r-----"] {
            assert!(mode(text).is_err(), "{text}");
        }
    }

    #[test]
    fn users_are_found_by_name_and_by_number() {
        let list = "root:x:0:0:root:/root:/bin/sh\nbad\nnobody:*:65534:65534::/:\n";
        assert_eq!(find(list, "nobody"), Some(65534));
        assert_eq!(find(list, "no"), None);
        assert_eq!(find(list, "bad"), None);
        assert_eq!(id_of("1000", "/nowhere").unwrap(), 1000);
        let error = id_of("nobody-at-all", "/etc/passwd").unwrap_err();
        assert!(error.to_string().contains("/etc/passwd"), "{error}");
    }
}
