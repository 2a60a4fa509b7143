//! A home of its own for each test, with no engine in sight.

use std::path::PathBuf;
use std::process::{Command, Stdio};

use lxc_dev_manager_tests::terminal::Terminal;
use lxc_dev_manager_tests::workspace::{Ran, program};
use serde_json::Value;

pub struct Place {
    root: tempfile::TempDir,
}

impl Place {
    pub fn new() -> Self {
        let root = tempfile::Builder::new().prefix("ldmt-").tempdir().unwrap();
        std::fs::create_dir(root.path().join("here")).unwrap();
        Self { root }
    }

    /// A file in the current directory of the commands.
    pub fn file(&self, name: &str) -> PathBuf {
        self.root.path().join("here").join(name)
    }

    /// The user's templates.
    pub fn directory(&self) -> PathBuf {
        self.root.path().join("state/templates")
    }

    /// The file of a template of the user's.
    pub fn own(&self, name: &str) -> PathBuf {
        self.directory().join(format!("{name}.yaml"))
    }

    /// Writes a template of the user's, whatever is in it.
    pub fn write_own(&self, name: &str, text: &[u8]) {
        std::fs::create_dir_all(self.directory()).unwrap();
        std::fs::write(self.own(name), text).unwrap();
    }

    /// Names of all files in the user's directory.
    pub fn files(&self) -> Vec<String> {
        let Ok(entries) = self.directory().read_dir() else {
            return Vec::new();
        };
        let mut names: Vec<String> = entries
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }

    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(program("lxc-dev-manager").unwrap());
        command
            .args(arguments)
            .current_dir(self.root.path().join("here"))
            .env_clear()
            .env("HOME", self.root.path())
            .env("LDM_HOME", self.root.path().join("state"))
            .env("XDG_RUNTIME_DIR", self.root.path())
            .env("LXD_SOCKET", self.root.path().join("nowhere.sock"))
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .env("LANG", "C.UTF-8")
            .env("TERM", "dumb")
            .stdin(Stdio::null());
        command
    }

    pub fn run(&self, arguments: &[&str]) -> Ran {
        self.command(arguments).output().unwrap().into()
    }

    /// Runs a command that has to succeed.
    pub fn ok(&self, arguments: &[&str]) -> String {
        let ran = self.run(arguments);
        assert_eq!(ran.code, Some(0), "{arguments:?}: {ran:#?}");
        ran.stdout
    }

    /// Runs a command that has to fail with this code and these words on stderr.
    pub fn fails(&self, code: i32, arguments: &[&str], words: &[&str]) {
        expect(&self.run(arguments), code, words);
    }

    pub fn json(&self, arguments: &[&str]) -> Value {
        let mut all = vec!["--json"];
        all.extend(arguments);
        let value: Value = serde_json::from_str(&self.run(&all).stdout).unwrap();
        assert_eq!(value["schema"], 1, "{value}");
        value
    }

    /// The command `template edit NAME`, with an editor that is a shell script and gets the file as `$1`.
    pub fn edit(&self, name: &str, script: &str) -> Command {
        let editor = self.file("my editor.sh");
        std::fs::write(&editor, script).unwrap();
        let mut command = self.command(&["template", "edit", name]);
        command.env("EDITOR", format!("sh '{}'", editor.display()));
        command
    }

    pub fn on_terminal(&self, mut command: Command) -> Terminal {
        command.current_dir(self.root.path().join("here"));
        Terminal::start(command).unwrap()
    }
}

pub fn expect(ran: &Ran, code: i32, words: &[&str]) {
    assert_eq!(ran.code, Some(code), "{ran:#?}");
    for word in words {
        assert!(ran.stderr.contains(word), "no {word:?}: {ran:#?}");
    }
    assert!(!ran.stderr.contains("panicked"), "{ran:#?}");
}
