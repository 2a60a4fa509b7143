//! Names as types.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::error::{Error, ErrorKind, Result};

/// The longest instance name that LXD and Incus take: one DNS label.
const MAX_INSTANCE_NAME: usize = 63;

/// Words that an env can't be called: they would read as a kind on the command line.
const RESERVED: [&str; 8] = [
    "list", "create", "delete", "start", "stop", "snapshot", "image", "config",
];

/// Names of snapshots that this program makes for `undo`; hidden in lists.
const UNDO_PREFIX: &str = "ldm-undo-";

macro_rules! name_type {
    ($(#[$doc:meta])* $name:ident, $what:literal, $check:expr) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name(String);

        impl $name {
            /// Parses a name.
            ///
            /// # Errors
            /// [`ErrorKind::InvalidName`] with the rule that was broken.
            pub fn parse(text: &str) -> Result<Self> {
                let check: fn(&str) -> std::result::Result<(), String> = $check;
                match check(text) {
                    Ok(()) => Ok(Self(text.to_owned())),
                    Err(rule) => Err(Error::new(
                        ErrorKind::InvalidName,
                        format!(concat!("`{}` can't be the name of ", $what, ": {}"), text, rule),
                    )),
                }
            }

            /// The name as text.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(&self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Debug::fmt(&self.0, f)
            }
        }

        impl TryFrom<String> for $name {
            type Error = Error;
            fn try_from(text: String) -> Result<Self> {
                Self::parse(&text)
            }
        }

        impl From<$name> for String {
            fn from(name: $name) -> String {
                name.0
            }
        }

        impl std::str::FromStr for $name {
            type Err = Error;
            fn from_str(text: &str) -> Result<Self> {
                Self::parse(text)
            }
        }
    };
}

name_type!(
    /// A project: `[A-Za-z0-9_-]+`.
    ProjectName,
    "a project",
    |text| {
        if text.is_empty() {
            return Err("it is empty".into());
        }
        only(text, |c| c.is_ascii_alphanumeric() || c == '-' || c == '_', "letters, digits, `-` and `_`")
    }
);

name_type!(
    /// An env inside of its project: a letter first, then letters, digits and single hyphens.
    EnvName,
    "an env",
    |text| {
        if RESERVED.iter().any(|word| word.eq_ignore_ascii_case(text)) {
            return Err("the word is a command".into());
        }
        if !text.starts_with(|c: char| c.is_ascii_alphabetic()) {
            return Err("it has to start with a letter".into());
        }
        if text.ends_with('-') || text.contains("--") {
            return Err("hyphens stand alone, between letters or digits".into());
        }
        if text.len() > MAX_INSTANCE_NAME {
            return Err(format!("it is longer than {MAX_INSTANCE_NAME} characters"));
        }
        only(text, |c| c.is_ascii_alphanumeric() || c == '-', "letters, digits and `-`")
    }
);

name_type!(
    /// A snapshot of an env. The engines forbid `/` and blanks; we also forbid a leading `-`, which
    /// would read as a flag.
    SnapshotName,
    "a snapshot",
    |text| {
        if text.is_empty() || text.len() > MAX_INSTANCE_NAME {
            return Err(format!("it has to have 1 to {MAX_INSTANCE_NAME} characters"));
        }
        if !text.starts_with(|c: char| c.is_ascii_alphanumeric()) {
            return Err("it has to start with a letter or a digit".into());
        }
        only(
            text,
            |c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.'),
            "letters, digits, `-`, `_` and `.`",
        )
    }
);

name_type!(
    /// An image as the user wrote it: a local alias, `remote:alias`, or a fingerprint.
    ImageName,
    "an image",
    |text| {
        if text.is_empty() || text.len() > 256 {
            return Err("it has to have 1 to 256 characters".into());
        }
        if text.starts_with('-') {
            return Err("it starts with `-`".into());
        }
        if text.chars().any(|c| c.is_control() || c.is_whitespace()) {
            return Err("it contains a blank".into());
        }
        Ok(())
    }
);

name_type!(
    /// Which image, by its content: the beginning of a SHA-256 in hex, 12 to 64 digits.
    Fingerprint,
    "an image",
    |text| {
        if !(12..=64).contains(&text.len()) || !text.chars().all(|c| c.is_ascii_hexdigit()) {
            return Err("it is no fingerprint".into());
        }
        Ok(())
    }
);

name_type!(
    /// A remote of the engines' own clients (`lxc remote`, `incus remote`).
    RemoteName,
    "a remote",
    |text| {
        if text.is_empty() || text.len() > 64 {
            return Err("it has to have 1 to 64 characters".into());
        }
        if text.starts_with('-') || text.contains([':', '/']) {
            return Err("it starts with `-`, or has `:` or `/` in it".into());
        }
        if text.chars().any(|c| c.is_control() || c.is_whitespace()) {
            return Err("it contains a blank".into());
        }
        Ok(())
    }
);

name_type!(
    /// A user inside of a guest, by the rule of Debian's `useradd`, in lower case.
    UserName,
    "a user",
    |text| {
        if text.is_empty() || text.len() > 32 {
            return Err("it has to have 1 to 32 characters".into());
        }
        if !text.starts_with(|c: char| c.is_ascii_lowercase() || c == '_') {
            return Err("it has to start with a lower-case letter or `_`".into());
        }
        only(
            text,
            |c| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '-' | '_'),
            "lower-case letters, digits, `-` and `_`",
        )
    }
);

name_type!(
    /// A variable of the environment, by the rule of POSIX shells.
    VariableName,
    "a variable",
    |text| {
        if text.is_empty() || text.len() > 255 {
            return Err("it has to have 1 to 255 characters".into());
        }
        if text.starts_with(|c: char| c.is_ascii_digit()) {
            return Err("it starts with a digit".into());
        }
        only(text, |c| c.is_ascii_alphanumeric() || c == '_', "letters, digits and `_`")
    }
);

name_type!(
    /// An instance in the engine, by the engines' rule: a DNS label.
    InstanceName,
    "an instance",
    |text| {
        if text.is_empty() || text.len() > MAX_INSTANCE_NAME {
            return Err(format!("it has to have 1 to {MAX_INSTANCE_NAME} characters"));
        }
        if text.starts_with(|c: char| c.is_ascii_digit() || c == '-') || text.ends_with('-') {
            return Err("it has to start with a letter and not to end with a hyphen".into());
        }
        only(text, |c| c.is_ascii_alphanumeric() || c == '-', "letters, digits and `-`")
    }
);

name_type!(
    /// A project of the engine (not ours), as in `?project=`.
    EngineProject,
    "an engine's project",
    |text| {
        if text.is_empty() || text.contains('/') || text.contains(char::is_whitespace) {
            return Err("it is empty or contains `/` or a blank".into());
        }
        Ok(())
    }
);

name_type!(
    /// The id of one operation: eight or more hex digits and hyphens (a UUID).
    OperationId,
    "an operation",
    |text| {
        if text.len() < 8 || !text.chars().all(|c| c.is_ascii_hexdigit() || c == '-') {
            return Err("it is no UUID".into());
        }
        Ok(())
    }
);

fn only(text: &str, allowed: fn(char) -> bool, words: &str) -> std::result::Result<(), String> {
    match text.chars().find(|&c| !allowed(c)) {
        Some(bad) => Err(format!("{bad:?} isn't allowed, only {words}")),
        None => Ok(()),
    }
}

impl InstanceName {
    /// The instance of an env: `<project>-<env>`, or the env's bare name where the file has no
    /// `project:`.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidName`], naming the part (project or env) that the engine refuses.
    pub fn of(project: Option<&ProjectName>, env: &EnvName) -> Result<Self> {
        let Some(project) = project else {
            return Self::parse(env.as_str());
        };
        Self::parse(&format!("{project}-{env}")).map_err(|error| {
            let length = project.as_str().len() + 1 + env.as_str().len();
            let why = if project.as_str().contains('_') {
                format!("the project's name `{project}` has an underscore, which engines refuse")
            } else if length > MAX_INSTANCE_NAME {
                format!(
                    "project `{project}` and env `{env}` have {length} characters together, \
                     {MAX_INSTANCE_NAME} are possible"
                )
            } else {
                format!("the project's name `{project}` has to start with a letter")
            };
            Error::new(
                ErrorKind::InvalidName,
                format!("no instance can be named `{project}-{env}`: {why}"),
            )
            .with_hint("change `project:` in containers.yaml, or the env's name")
            .caused_by(error)
        })
    }

    /// The name under which a removed env is kept for `undo`.
    #[must_use]
    pub fn undo(operation: &OperationId) -> Self {
        Self(format!("{UNDO_PREFIX}{}", operation.short()))
    }

    /// Whether this is a removed env, which lists hide.
    #[must_use]
    pub fn is_undo(&self) -> bool {
        self.0.starts_with(UNDO_PREFIX)
    }
}

impl SnapshotName {
    /// The snapshot that every env gets when it is made.
    #[must_use]
    pub fn initial_state() -> Self {
        Self("initial-state".to_owned())
    }

    /// A fresh name for the copy that makes an operation undoable.
    #[must_use]
    pub fn undo(operation: &OperationId) -> Self {
        Self(format!("{UNDO_PREFIX}{}", operation.short()))
    }

    /// Whether this is one of our own undo copies, which lists hide.
    #[must_use]
    pub fn is_undo(&self) -> bool {
        self.0.starts_with(UNDO_PREFIX)
    }

    /// Whether this is `initial-state`, which can't be deleted.
    #[must_use]
    pub fn is_initial_state(&self) -> bool {
        self.0 == "initial-state"
    }
}

impl Fingerprint {
    /// The first twelve digits, as people see them.
    #[must_use]
    pub fn short(&self) -> &str {
        &self.0[..12]
    }
}

impl OperationId {
    /// A new random id.
    #[must_use]
    pub fn random() -> Self {
        Self(uuid::Uuid::new_v4().to_string())
    }

    /// The first eight hex digits.
    #[must_use]
    pub fn short(&self) -> &str {
        &self.0[..8]
    }
}

impl EngineProject {
    /// The project that every engine has.
    #[must_use]
    pub fn default_one() -> Self {
        Self("default".to_owned())
    }

    /// Whether it is the one that every engine has.
    #[must_use]
    pub fn is_default(&self) -> bool {
        self.0 == "default"
    }
}

impl UserName {
    /// The user of an env whose file names none.
    #[must_use]
    pub fn dev() -> Self {
        Self("dev".to_owned())
    }

    /// `root`.
    #[must_use]
    pub fn root() -> Self {
        Self("root".to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn env_names_follow_the_original_rule() {
        for good in ["dev", "a", "dev2", "feature-login", "X9"] {
            assert!(EnvName::parse(good).is_ok(), "{good}");
        }
        let (long, turned) = ("a".repeat(64), "a\u{202e}b");
        for bad in [
            turned, "\0", "a\n", "..", "~", "*", "null\0", "a.b", "a:b", "$(id)", "IMAGE", &long,
            "", "2dev", "-dev", "dev-", "a--b", "a_b", "List", "config", "a b", "ä", "a/b",
        ] {
            let error = EnvName::parse(bad).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::InvalidName, "{bad}");
        }
    }

    #[test]
    fn an_underscore_is_blamed_on_the_project() {
        let project = ProjectName::parse("my_app").unwrap();
        let error = InstanceName::of(Some(&project), &EnvName::parse("dev").unwrap()).unwrap_err();
        assert!(
            error.to_string().contains("`my_app` has an underscore"),
            "{error}"
        );
    }

    #[test]
    fn sixty_three_characters_are_the_limit() {
        let project = ProjectName::parse(&"p".repeat(59)).unwrap();
        assert!(InstanceName::of(Some(&project), &EnvName::parse("dev").unwrap()).is_ok());
        let error = InstanceName::of(Some(&project), &EnvName::parse("dev2").unwrap()).unwrap_err();
        assert!(error.to_string().contains("64 characters"), "{error}");
    }

    #[test]
    fn without_a_project_the_instance_bears_the_bare_name() {
        let name = InstanceName::of(None, &EnvName::parse("dev").unwrap()).unwrap();
        assert_eq!(name.as_str(), "dev");
    }

    #[test]
    fn undo_copies_are_known_by_name() {
        let id = OperationId::random();
        assert!(SnapshotName::undo(&id).is_undo());
        assert!(!SnapshotName::parse("before-migration").unwrap().is_undo());
    }

    #[test]
    fn variables_are_named_as_a_shell_names_them() {
        for good in ["A", "_x", "LC_ALL", "a1"] {
            assert!(VariableName::parse(good).is_ok(), "{good}");
        }
        let long = "A".repeat(256);
        for bad in ["", "1A", "A=b", "A B", "A-B", "é", "A\0", "$A", &long] {
            assert!(VariableName::parse(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn user_names_that_would_be_shell_text_are_refused() {
        let (long, command) = ("n".repeat(33), "x; rm -rf /");
        for bad in [
            command, "$(id)", "`id`", "-r", "Root", "a b", "", "a:b", "a/b", "..", "a\nb", "a\0",
            "0day", "é", "a$", "a'", "a\"", "~", "#", "a\\", "%u", "*", &long,
        ] {
            let error = UserName::parse(bad).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::InvalidName, "{bad:?}");
        }
        for good in ["dev", "_", "a-1_", &long[1..], "root", "users"] {
            assert_eq!(UserName::parse(good).unwrap().as_str(), good);
        }
    }
}
