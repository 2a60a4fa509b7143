//! Name types.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::error::{Error, ErrorKind, Result};

/// Limit of LXD and Incus: one DNS label.
const MAX_INSTANCE_NAME_LENGTH: usize = 63;

/// Not allowed as env names: they are keywords on the command line.
pub(crate) const RESERVED_WORDS: [&str; 8] = [
    "list", "create", "delete", "start", "stop", "snapshot", "image", "config",
];

/// Prefix of undo copies, which lists hide.
const UNDO_PREFIX: &str = "ldm-undo-";

macro_rules! name_type {
    ($(#[$doc:meta])* $name:ident, $object:literal, $check:expr) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name(String);

        impl $name {
            /// Parses a name.
            ///
            /// # Errors
            /// [`ErrorKind::InvalidName`] with the violated rule.
            pub fn parse(text: &str) -> Result<Self> {
                let check: fn(&str) -> std::result::Result<(), String> = $check;
                match check(text) {
                    Ok(()) => Ok(Self(text.to_owned())),
                    Err(rule) => Err(Error::new(
                        ErrorKind::InvalidName,
                        format!(concat!("invalid name of ", $object, " `{}`: {}"), text, rule),
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
        ensure_chars(text, |c| c.is_ascii_alphanumeric() || c == '-' || c == '_', "letters, digits, `-` and `_`")
    }
);

name_type!(
    /// An env of a project: a letter first, then letters, digits and single hyphens.
    EnvName,
    "an env",
    |text| {
        if RESERVED_WORDS.iter().any(|word| word.eq_ignore_ascii_case(text)) {
            return Err("it is a reserved word".into());
        }
        if !text.starts_with(|c: char| c.is_ascii_alphabetic()) {
            return Err("it must start with a letter".into());
        }
        if text.ends_with('-') || text.contains("--") {
            return Err("hyphens must be single and between letters or digits".into());
        }
        if text.len() > MAX_INSTANCE_NAME_LENGTH {
            return Err(format!("it is longer than {MAX_INSTANCE_NAME_LENGTH} characters"));
        }
        ensure_chars(text, |c| c.is_ascii_alphanumeric() || c == '-', "letters, digits and `-`")
    }
);

name_type!(
    /// A snapshot of an env. The engines forbid `/` and whitespace; a leading `-` would look like a
    /// flag.
    SnapshotName,
    "a snapshot",
    |text| {
        if text.is_empty() || text.len() > MAX_INSTANCE_NAME_LENGTH {
            return Err(format!("it must have 1 to {MAX_INSTANCE_NAME_LENGTH} characters"));
        }
        if !text.starts_with(|c: char| c.is_ascii_alphanumeric()) {
            return Err("it must start with a letter or a digit".into());
        }
        ensure_chars(
            text,
            |c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.'),
            "letters, digits, `-`, `_` and `.`",
        )
    }
);

name_type!(
    /// An image as written by the user: a local alias, `remote:alias`, or a fingerprint.
    ImageName,
    "an image",
    |text| {
        if text.is_empty() || text.len() > 256 {
            return Err("it must have 1 to 256 characters".into());
        }
        if text.starts_with('-') {
            return Err("it starts with `-`".into());
        }
        if text.chars().any(|c| c.is_control() || c.is_whitespace()) {
            return Err("it contains whitespace".into());
        }
        Ok(())
    }
);

name_type!(
    /// An image's fingerprint: the first 12 to 64 hexadecimal digits of a SHA-256.
    Fingerprint,
    "an image",
    |text| {
        if !(12..=64).contains(&text.len()) || !text.chars().all(|c| c.is_ascii_hexdigit()) {
            return Err("expected 12 to 64 hexadecimal digits".into());
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
            return Err("it must have 1 to 64 characters".into());
        }
        if text.starts_with('-') || text.contains([':', '/']) {
            return Err("it starts with `-`, or contains `:` or `/`".into());
        }
        if text.chars().any(|c| c.is_control() || c.is_whitespace()) {
            return Err("it contains whitespace".into());
        }
        Ok(())
    }
);

name_type!(
    /// A user of a guest, by the rule of Debian's `useradd`, in lower case.
    UserName,
    "a user",
    |text| {
        if text.is_empty() || text.len() > 32 {
            return Err("it must have 1 to 32 characters".into());
        }
        if !text.starts_with(|c: char| c.is_ascii_lowercase() || c == '_') {
            return Err("it must start with a lower-case letter or `_`".into());
        }
        ensure_chars(
            text,
            |c| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '-' | '_'),
            "lower-case letters, digits, `-` and `_`",
        )
    }
);

name_type!(
    /// An environment variable, by the rule of POSIX shells.
    VariableName,
    "a variable",
    |text| {
        if text.is_empty() || text.len() > 255 {
            return Err("it must have 1 to 255 characters".into());
        }
        if text.starts_with(|c: char| c.is_ascii_digit()) {
            return Err("it starts with a digit".into());
        }
        ensure_chars(text, |c| c.is_ascii_alphanumeric() || c == '_', "letters, digits and `_`")
    }
);

name_type!(
    /// An instance of an engine: a DNS label.
    InstanceName,
    "an instance",
    |text| {
        if text.is_empty() || text.len() > MAX_INSTANCE_NAME_LENGTH {
            return Err(format!("it must have 1 to {MAX_INSTANCE_NAME_LENGTH} characters"));
        }
        if text.starts_with(|c: char| c.is_ascii_digit() || c == '-') || text.ends_with('-') {
            return Err("it must start with a letter, and not end with a hyphen".into());
        }
        ensure_chars(text, |c| c.is_ascii_alphanumeric() || c == '-', "letters, digits and `-`")
    }
);

name_type!(
    /// A project of the engine (not ours), as in `?project=`.
    EngineProject,
    "an engine's project",
    |text| {
        if text.is_empty() || text.contains('/') || text.contains(char::is_whitespace) {
            return Err("it is empty, or contains `/` or whitespace".into());
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
            return Err("expected a UUID".into());
        }
        Ok(())
    }
);

fn ensure_chars(
    text: &str,
    allowed: fn(char) -> bool,
    description: &str,
) -> std::result::Result<(), String> {
    match text.chars().find(|&c| !allowed(c)) {
        Some(bad) => Err(format!("{bad:?} is not allowed: expected {description}")),
        None => Ok(()),
    }
}

impl InstanceName {
    /// The instance of an env: `<project>-<env>`, or the env's name without a project.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidName`] with the part (project or env) that the engine rejects.
    pub fn of(project: Option<&ProjectName>, env: &EnvName) -> Result<Self> {
        let Some(project) = project else {
            return Self::parse(env.as_str());
        };
        Self::parse(&format!("{project}-{env}")).map_err(|error| {
            let length = project.as_str().len() + 1 + env.as_str().len();
            let reason = if project.as_str().contains('_') {
                format!("engines do not allow the underscore of project `{project}`")
            } else if length > MAX_INSTANCE_NAME_LENGTH {
                format!(
                    "project `{project}` and env `{env}` have {length} characters together: expected \
                     at most {MAX_INSTANCE_NAME_LENGTH}"
                )
            } else {
                format!("project `{project}` must start with a letter")
            };
            Error::new(
                ErrorKind::InvalidName,
                format!("invalid instance name `{project}-{env}`: {reason}"),
            )
            .with_hint("change `project:` in containers.yaml, or the env's name")
            .caused_by(error)
        })
    }

    /// The name of a removed env's undo copy.
    #[must_use]
    pub fn undo(operation: &OperationId) -> Self {
        Self(format!("{UNDO_PREFIX}{}", operation.short()))
    }

    /// Whether this is an undo copy, which lists hide.
    #[must_use]
    pub fn is_undo(&self) -> bool {
        self.0.starts_with(UNDO_PREFIX)
    }
}

impl SnapshotName {
    /// The first snapshot of every env.
    #[must_use]
    pub fn initial_state() -> Self {
        Self("initial-state".to_owned())
    }

    /// The name of an operation's undo copy.
    #[must_use]
    pub fn undo(operation: &OperationId) -> Self {
        Self(format!("{UNDO_PREFIX}{}", operation.short()))
    }

    /// Whether this is an undo copy, which lists hide.
    #[must_use]
    pub fn is_undo(&self) -> bool {
        self.0.starts_with(UNDO_PREFIX)
    }

    /// Whether this is `initial-state`, which cannot be deleted.
    #[must_use]
    pub fn is_initial_state(&self) -> bool {
        self.0 == "initial-state"
    }
}

impl Fingerprint {
    /// The first twelve digits, for display.
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
    /// The default project of every engine.
    #[must_use]
    pub fn default_project() -> Self {
        Self("default".to_owned())
    }

    /// Whether it is the default project.
    #[must_use]
    pub fn is_default(&self) -> bool {
        self.0 == "default"
    }
}

impl UserName {
    /// The default user.
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
    fn env_names_follow_the_rule() {
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
    fn underscore_error_names_the_project() {
        let project = ProjectName::parse("my_app").unwrap();
        let error = InstanceName::of(Some(&project), &EnvName::parse("dev").unwrap()).unwrap_err();
        assert!(
            error.to_string().contains("underscore of project `my_app`"),
            "{error}"
        );
    }

    #[test]
    fn instance_names_have_at_most_63_characters() {
        let project = ProjectName::parse(&"p".repeat(59)).unwrap();
        assert!(InstanceName::of(Some(&project), &EnvName::parse("dev").unwrap()).is_ok());
        let error = InstanceName::of(Some(&project), &EnvName::parse("dev2").unwrap()).unwrap_err();
        assert!(error.to_string().contains("64 characters"), "{error}");
    }

    #[test]
    fn instance_without_project_has_the_env_name() {
        let name = InstanceName::of(None, &EnvName::parse("dev").unwrap()).unwrap();
        assert_eq!(name.as_str(), "dev");
    }

    #[test]
    fn recognises_undo_copies_by_name() {
        let id = OperationId::random();
        assert!(SnapshotName::undo(&id).is_undo());
        assert!(!SnapshotName::parse("before-migration").unwrap().is_undo());
    }

    #[test]
    fn variable_names_follow_the_shell_rule() {
        for good in ["A", "_x", "LC_ALL", "a1"] {
            assert!(VariableName::parse(good).is_ok(), "{good}");
        }
        let long = "A".repeat(256);
        for bad in ["", "1A", "A=b", "A B", "A-B", "é", "A\0", "$A", &long] {
            assert!(VariableName::parse(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn rejects_user_names_with_shell_syntax() {
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
