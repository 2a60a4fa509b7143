//! `raw.idmap`: the one user of the host whom an instance knows, so that they own the files of its mounts.
//!
//! The engines' own way, `shift`, maps users by number: root of the guest would be root of the host in a mount. Needs no
//! idmapped mounts, which LXD 5.0 lacks. The host must let the engine's root map the user, in `/etc/subuid` and
//! `/etc/subgid`: <https://documentation.ubuntu.com/lxd/latest/userns-idmap/>.

use std::fs;

use crate::backend::{IdPair, MountOwner};
use crate::error::{Error, ErrorKind, Result};

pub(super) const RAW_IDMAP: &str = "raw.idmap";

/// The value of [`RAW_IDMAP`].
pub(super) fn format(owner: &MountOwner) -> String {
    let line = |kind: &str, pair: &IdPair| format!("{kind} {} {}", pair.host, pair.guest);
    let group = owner.group.as_ref().map(|pair| line("gid", pair));
    let lines = [Some(line("uid", &owner.user)), group];
    lines.into_iter().flatten().collect::<Vec<_>>().join("\n")
}

/// Reads a value that [`format`] has written; `None` for any other.
pub(super) fn parse(text: &str) -> Option<MountOwner> {
    let pair = |kind: &str| {
        let line = text.lines().find_map(|line| line.strip_prefix(kind))?;
        let (host, guest) = line.trim().split_once(' ')?;
        Some(IdPair {
            host: host.parse().ok()?,
            guest: guest.parse().ok()?,
        })
    };
    let owner = MountOwner {
        user: pair("uid")?,
        group: pair("gid"),
    };
    (format(&owner) == text.trim_end()).then_some(owner)
}

/// Fails if the host does not let its engines map the owner.
///
/// # Errors
/// `Unsupported` with the lines to add.
pub(super) fn ensure_allowed(owner: &MountOwner) -> Result<()> {
    let hint = hint_to_allow(owner.user.host, owner.group.map(|group| group.host));
    match hint {
        None => Ok(()),
        Some(hint) => {
            let uid = owner.user.host;
            let message = format!("this host does not let envs have files of uid {uid}");
            Err(Error::new(ErrorKind::Unsupported, message).with_hint(hint))
        }
    }
}

/// How to let engines map a user and group; `None` if they may.
pub(super) fn hint_to_allow(uid: u32, gid: Option<u32>) -> Option<String> {
    let ids = [("/etc/subuid", Some(uid)), ("/etc/subgid", gid)];
    let missing = ids.into_iter().filter_map(|(file, id)| {
        let id = id?;
        match fs::read_to_string(file) {
            Ok(text) if !allows(&text, id) => {
                Some(format!("`echo root:{id}:1 | sudo tee -a {file}`"))
            }
            // Without the file nothing is checked.
            _ => None,
        }
    });
    let missing: Vec<String> = missing.collect();
    (!missing.is_empty()).then(|| format!("allow it: {}", missing.join(" and ")))
}

/// Whether a line of root has the ID: `root:first:count`.
fn allows(text: &str, id: u32) -> bool {
    text.lines().any(|line| {
        let mut fields = line.trim().split(':');
        let is_root = matches!(fields.next(), Some("root" | "0"));
        let mut number = || fields.next()?.parse::<u64>().ok();
        let (first, count) = (number(), number());
        let in_range = |(first, count): (u64, u64)| {
            (first..first.saturating_add(count)).contains(&u64::from(id))
        };
        is_root && first.zip(count).is_some_and(in_range)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn value_is_read_back() {
        let pair = |host, guest| IdPair { host, guest };
        let mut owner = MountOwner {
            user: pair(70000, 1000),
            group: Some(pair(100, 1001)),
        };
        assert_eq!(format(&owner), "uid 70000 1000\ngid 100 1001");
        assert_eq!(parse(&format(&owner)), Some(owner));
        owner.group = None;
        assert_eq!(parse(&format(&owner)), Some(owner));
        for foreign in [
            "",
            "both 1000 1000",
            "uid 1-5 1-5",
            "uid 1 2\nuid 3 4",
            "gid 1 2\nuid 1 2",
        ] {
            assert_eq!(parse(foreign), None, "{foreign}");
        }
    }

    #[test]
    fn only_lines_of_root_allow_an_id() {
        let text = "root:1000000:65536\nme:70000:1\n0:500:2\nroot:x:1\nroot:4294967295:18446744073709551615";
        for (id, expected) in [(1_000_000, true), (70000, false), (501, true), (502, false)] {
            assert_eq!(allows(text, id), expected, "{id}");
        }
    }
}
