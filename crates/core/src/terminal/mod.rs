//! Which terminal emulator to open, and how: only the plan; who opens it is the surface's.
//!
//! The command is an argument vector to its end. Deliberately absent: a shell.

use std::path::{Path, PathBuf};

/// A program with its arguments.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan {
    /// Absolute path of the program.
    pub program: PathBuf,
    /// Its arguments.
    pub arguments: Vec<String>,
}

/// A terminal emulator: its program, and what comes before a command that it shall run.
struct Emulator {
    program: &'static str,
    before: &'static [&'static str],
}

/// Those that are known, the user's or the distribution's choice first. What each wants before a
/// command is in its manual page.
const EMULATORS: [Emulator; 13] = [
    Emulator {
        program: "x-terminal-emulator",
        before: &["-e"],
    },
    Emulator {
        program: "xdg-terminal-exec",
        before: &[],
    },
    Emulator {
        program: "ghostty",
        before: &["-e"],
    },
    Emulator {
        program: "kitty",
        before: &["--"],
    },
    Emulator {
        program: "wezterm",
        before: &["start", "--"],
    },
    Emulator {
        program: "alacritty",
        before: &["-e"],
    },
    Emulator {
        program: "foot",
        before: &["--"],
    },
    Emulator {
        program: "ptyxis",
        before: &["--"],
    },
    Emulator {
        program: "kgx",
        before: &["--"],
    },
    Emulator {
        program: "gnome-terminal",
        before: &["--"],
    },
    Emulator {
        program: "konsole",
        before: &["-e"],
    },
    Emulator {
        program: "xfce4-terminal",
        before: &["-x"],
    },
    Emulator {
        program: "xterm",
        before: &["-e"],
    },
];

/// How to run `command` in a terminal emulator found in these directories (those of `PATH`).
/// `preferred` is the user's own choice, by name or path. `None` where there is no emulator.
#[must_use]
pub fn plan(directories: &[PathBuf], preferred: Option<&str>, command: &[String]) -> Option<Plan> {
    let find = |name: &str| {
        directories
            .iter()
            .map(|directory| directory.join(name))
            .find(|path| is_program(path))
    };
    let own = preferred.and_then(|name| {
        let path = if name.contains('/') {
            Some(PathBuf::from(name))
        } else {
            find(name)
        };
        let path = path.filter(|path| is_program(path))?;
        let last = path.file_name()?.to_str()?.to_owned();
        let known = EMULATORS.iter().find(|emulator| emulator.program == last);
        Some((path, known.map_or(&["-e"][..], |emulator| emulator.before)))
    });
    let first = || {
        let mut found = EMULATORS.iter();
        found.find_map(|emulator| Some((find(emulator.program)?, emulator.before)))
    };
    let (program, before) = own.or_else(first)?;
    let before = before.iter().map(|word| (*word).to_owned());
    Some(Plan {
        program,
        arguments: before.chain(command.iter().cloned()).collect(),
    })
}

fn is_program(path: &Path) -> bool {
    use std::os::unix::fs::PermissionsExt;
    path.metadata()
        .is_ok_and(|about| about.is_file() && about.permissions().mode() & 0o111 != 0)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn directory_with(names: &[&str]) -> tempfile::TempDir {
        let directory = tempfile::tempdir().unwrap();
        for name in names {
            let path = directory.path().join(name);
            std::fs::write(&path, "").unwrap();
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
        }
        directory
    }

    #[test]
    fn arguments_stay_arguments() {
        let directory = directory_with(&["xterm", "konsole"]);
        let command = vec![
            "/opt/ldm".to_owned(),
            "ssh".to_owned(),
            "a b; rm -rf /".to_owned(),
        ];
        let plan = plan(&[directory.path().into()], None, &command).unwrap();
        assert_eq!(plan.program, directory.path().join("konsole"));
        assert_eq!(plan.arguments, ["-e", "/opt/ldm", "ssh", "a b; rm -rf /"]);
    }

    #[test]
    fn the_users_choice_goes_first() {
        let directory = directory_with(&["xterm", "wezterm"]);
        let plan = plan(
            &[directory.path().into()],
            Some("wezterm"),
            &["x".to_owned()],
        )
        .unwrap();
        assert_eq!(plan.arguments, ["start", "--", "x"]);
    }

    #[test]
    fn without_an_emulator_there_is_no_plan() {
        let directory = directory_with(&[]);
        assert_eq!(plan(&[directory.path().into()], Some("xterm"), &[]), None);
    }
}
