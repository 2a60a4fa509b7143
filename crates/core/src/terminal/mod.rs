//! Selection of a terminal emulator and its command line. The caller starts it.
//!
//! The command stays an argument vector. Deliberately absent: a shell.

use std::path::{Path, PathBuf};

/// A program with its arguments.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TerminalCommand {
    /// Absolute path of the program.
    pub program: PathBuf,
    pub arguments: Vec<String>,
}

/// A terminal emulator and its arguments before a command.
struct Emulator {
    program: &'static str,
    command_prefix: &'static [&'static str],
}

/// In order of preference: the user's or distribution's choice first. The arguments are from the
/// manual pages.
const EMULATORS: [Emulator; 13] = [
    Emulator {
        program: "x-terminal-emulator",
        command_prefix: &["-e"],
    },
    Emulator {
        program: "xdg-terminal-exec",
        command_prefix: &[],
    },
    Emulator {
        program: "ghostty",
        command_prefix: &["-e"],
    },
    Emulator {
        program: "kitty",
        command_prefix: &["--"],
    },
    Emulator {
        program: "wezterm",
        command_prefix: &["start", "--"],
    },
    Emulator {
        program: "alacritty",
        command_prefix: &["-e"],
    },
    Emulator {
        program: "foot",
        command_prefix: &["--"],
    },
    Emulator {
        program: "ptyxis",
        command_prefix: &["--"],
    },
    Emulator {
        program: "kgx",
        command_prefix: &["--"],
    },
    Emulator {
        program: "gnome-terminal",
        command_prefix: &["--"],
    },
    Emulator {
        program: "konsole",
        command_prefix: &["-e"],
    },
    Emulator {
        program: "xfce4-terminal",
        command_prefix: &["-x"],
    },
    Emulator {
        program: "xterm",
        command_prefix: &["-e"],
    },
];

/// Returns how to run `command` in a terminal emulator found in `directories` (those of `PATH`), or
/// `None`. `preferred` is the user's choice by name or path.
#[must_use]
pub fn terminal_command(
    directories: &[PathBuf],
    preferred: Option<&str>,
    command: &[String],
) -> Option<TerminalCommand> {
    let find = |name: &str| {
        directories
            .iter()
            .map(|directory| directory.join(name))
            .find(|path| is_program(path))
    };
    let chosen = preferred.and_then(|name| {
        let path = if name.contains('/') {
            Some(PathBuf::from(name))
        } else {
            find(name)
        };
        let path = path.filter(|path| is_program(path))?;
        let name = path.file_name()?.to_str()?.to_owned();
        let known = EMULATORS.iter().find(|emulator| emulator.program == name);
        Some((
            path,
            known.map_or(&["-e"][..], |emulator| emulator.command_prefix),
        ))
    });
    let first_found = || {
        let mut emulators = EMULATORS.iter();
        emulators.find_map(|emulator| Some((find(emulator.program)?, emulator.command_prefix)))
    };
    let (program, prefix) = chosen.or_else(first_found)?;
    let prefix = prefix.iter().map(|argument| (*argument).to_owned());
    Some(TerminalCommand {
        program,
        arguments: prefix.chain(command.iter().cloned()).collect(),
    })
}

fn is_program(path: &Path) -> bool {
    use std::os::unix::fs::PermissionsExt;
    path.metadata()
        .is_ok_and(|metadata| metadata.is_file() && metadata.permissions().mode() & 0o111 != 0)
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
    fn passes_arguments_unchanged() {
        let directory = directory_with(&["xterm", "konsole"]);
        let command = vec![
            "/opt/ldm".to_owned(),
            "ssh".to_owned(),
            "a b; rm -rf /".to_owned(),
        ];
        let terminal = terminal_command(&[directory.path().into()], None, &command).unwrap();
        assert_eq!(terminal.program, directory.path().join("konsole"));
        assert_eq!(
            terminal.arguments,
            ["-e", "/opt/ldm", "ssh", "a b; rm -rf /"]
        );
    }

    #[test]
    fn prefers_the_users_choice() {
        let directory = directory_with(&["xterm", "wezterm"]);
        let terminal = terminal_command(
            &[directory.path().into()],
            Some("wezterm"),
            &["x".to_owned()],
        )
        .unwrap();
        assert_eq!(terminal.arguments, ["start", "--", "x"]);
    }

    #[test]
    fn returns_none_without_an_emulator() {
        let directory = directory_with(&[]);
        assert_eq!(
            terminal_command(&[directory.path().into()], Some("xterm"), &[]),
            None
        );
    }
}
