//! Stored templates: embedded ones, and those in the user's directory, which take precedence.

use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use super::{Arch, Level, Template, TemplateName, check, read_settings};
use crate::error::{Error, ErrorKind, Result};
use crate::home::{create_private_directory, replace};
use crate::image_names;
use crate::model::ImageName;

const EXTENSION: &str = "yaml";
const MAX_BYTES: u64 = 1 << 20;

macro_rules! built_in {
    ($($name:literal),* $(,)?) => {
        &[$(($name, include_str!(concat!("../../../../templates/lima/", $name, ".yaml")))),*]
    };
}

/// Names and texts of the built-in templates, newest first.
const BUILT_IN: &[(&str, &str)] = built_in![
    "ubuntu-26.04",
    "ubuntu-24.04",
    "ubuntu-22.04",
    "debian-13",
    "debian-12",
    "alpine-3.23",
    "alpine-3.22",
    "fedora-44",
    "fedora-43",
    "fedora-42",
];

/// Origin of a template.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Origin {
    /// Part of the program.
    BuiltIn,
    /// The user's.
    User,
    /// The user's, replacing a built-in one of the same name.
    Replaced,
}

/// List entry of a template.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TemplateInfo {
    pub name: TemplateName,
    pub origin: Origin,
    /// Its first comment.
    pub title: Option<String>,
    /// Architectures with images.
    pub arches: Vec<Arch>,
    /// Its file, if any.
    pub path: Option<PathBuf>,
    /// Why it is unusable, if it is.
    pub problem: Option<String>,
}

/// The available templates.
#[derive(Debug, Clone)]
pub struct Templates {
    directory: PathBuf,
}

impl Templates {
    /// Uses the built-in templates, and those in a directory, which need not exist.
    #[must_use]
    pub fn new(directory: PathBuf) -> Self {
        Self { directory }
    }

    /// The user's directory.
    #[must_use]
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// Path of a user's template, which need not exist.
    #[must_use]
    pub fn path(&self, name: &TemplateName) -> PathBuf {
        self.directory.join(format!("{name}.{EXTENSION}"))
    }

    /// Lists all templates, the user's first.
    ///
    /// # Errors
    /// `Io` if the user's directory exists and cannot be read.
    pub fn list(&self) -> Result<Vec<TemplateInfo>> {
        let own = self.own()?;
        let built_in = BUILT_IN.iter().filter_map(|(name, _)| name.parse().ok());
        let others: Vec<TemplateName> = built_in.filter(|name| !own.contains(name)).collect();
        Ok(own
            .into_iter()
            .chain(others)
            .map(|name| self.info(name))
            .collect())
    }

    fn info(&self, name: TemplateName) -> TemplateInfo {
        let path = Some(self.path(&name)).filter(|path| path.symlink_metadata().is_ok());
        let found = self.get(&name);
        let parsed = found.and_then(|template| Ok((read_settings(&template.text)?, template)));
        match parsed {
            Ok((parsed, template)) => TemplateInfo {
                name,
                origin: template.origin,
                title: template.title().map(str::to_owned),
                arches: parsed.arches,
                path,
                problem: None,
            },
            Err(error) => TemplateInfo {
                origin: self.user_origin(&name),
                name,
                title: None,
                arches: Vec::new(),
                path,
                problem: Some(error.report().message),
            },
        }
    }

    fn user_origin(&self, name: &TemplateName) -> Origin {
        match built_in_text(name) {
            Some(_) => Origin::Replaced,
            None => Origin::User,
        }
    }

    /// Names of the user's templates, sorted.
    fn own(&self) -> Result<Vec<TemplateName>> {
        let entries = match fs::read_dir(&self.directory) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => {
                let message = format!("cannot read {}", self.directory.display());
                return Err(Error::io(message, error));
            }
        };
        let mut names: Vec<TemplateName> = entries
            .flatten()
            .filter_map(|entry| {
                let path = entry.path();
                let is_template = path
                    .extension()
                    .is_some_and(|extension| extension == EXTENSION);
                path.file_stem()?
                    .to_str()?
                    .parse()
                    .ok()
                    .filter(|_| is_template)
            })
            .collect();
        names.sort();
        Ok(names)
    }

    /// Returns a template by name.
    ///
    /// # Errors
    /// `NotFound` with similar names; `Io` for an unreadable file.
    pub fn get(&self, name: &TemplateName) -> Result<Template> {
        let path = self.path(name);
        match read(&path) {
            Ok(Some(text)) => Ok(Template {
                origin: self.user_origin(name),
                name: name.clone(),
                text,
            }),
            Ok(None) => match built_in_text(name) {
                Some(text) => Ok(Template {
                    name: name.clone(),
                    text: text.to_owned(),
                    origin: Origin::BuiltIn,
                }),
                None => Err(self.unknown("template", name.as_str(), self.names()?)),
            },
            Err(error) => Err(Error::io(format!("cannot read {}", path.display()), error)),
        }
    }

    /// Returns a built-in template, even if the user has replaced it.
    #[must_use]
    pub fn built_in(name: &TemplateName) -> Option<Template> {
        built_in_text(name).map(|text| Template {
            name: name.clone(),
            text: text.to_owned(),
            origin: Origin::BuiltIn,
        })
    }

    /// Returns the template for an image name: a user's template of that name, else by the table of built-in names, else
    /// a template of exactly that name.
    ///
    /// # Errors
    /// `NotFound` with similar names; `Io`.
    pub fn for_image(&self, image: &ImageName) -> Result<Template> {
        let spelled = image.as_str().parse::<TemplateName>().ok();
        let meant = image_names::template(image).and_then(|name| name.parse().ok());
        for name in spelled.into_iter().chain(meant) {
            match self.get(&name) {
                Err(error) if error.kind() == ErrorKind::NotFound => {}
                found => return found,
            }
        }
        let own = self.own()?.into_iter().map(|name| name.to_string());
        let known = own.chain(image_forms()).collect();
        Err(self.unknown("image", image.as_str(), known))
    }

    fn names(&self) -> Result<Vec<String>> {
        Ok(self
            .list()?
            .iter()
            .map(|info| info.name.to_string())
            .collect())
    }

    fn unknown(&self, kind: &str, name: &str, known: Vec<String>) -> Error {
        let near = ImageName::parse(name).map(|name| image_names::similar(&name, &known));
        let message = format!("Lima has no {kind} `{name}`");
        let hint = match near.unwrap_or_default().as_slice() {
            [] => format!("available: {}", known.join(", ")),
            near => format!("did you mean {}?", near.join(" or ")),
        };
        Error::new(ErrorKind::NotFound, message).with_hint(hint)
    }

    /// Creates a user's template from another one.
    ///
    /// # Errors
    /// `AlreadyExists` for a name in use, also in other case; `NotFound`, `Io`.
    pub fn create(&self, name: &TemplateName, from: &TemplateName) -> Result<PathBuf> {
        let is_same = |known: &TemplateName| known.as_str().eq_ignore_ascii_case(name.as_str());
        // On macOS names that differ in case are the same file. A built-in one can be replaced by the same name.
        let built_in = BUILT_IN.iter().filter_map(|(known, _)| known.parse().ok());
        let others = built_in.filter(|known| known != name);
        if let Some(known) = self.own()?.into_iter().chain(others).find(is_same) {
            let message = format!("template `{known}` already exists");
            return Err(Error::new(ErrorKind::AlreadyExists, message)
                .with_hint(format!("run `lxc-dev-manager template edit {known}`")));
        }
        let text = self.get(from)?.text;
        self.write(name, &text)?;
        Ok(self.path(name))
    }

    /// Writes a user's template atomically.
    ///
    /// # Errors
    /// `Config` for an invalid template, `Io`; then the old file stays.
    pub fn write(&self, name: &TemplateName, text: &str) -> Result<()> {
        let problems = check(text);
        let error = problems
            .iter()
            .find(|problem| problem.level == Level::Error);
        if let Some(problem) = error {
            let message = format!("invalid template `{name}`: {problem}");
            return Err(Error::new(ErrorKind::Config, message));
        }
        create_private_directory(&self.directory)?;
        let path = self.path(name);
        let mode = fs::Permissions::from_mode(0o600);
        replace(&path, text.as_bytes(), mode)
            .map_err(|error| Error::io(format!("cannot write {}", path.display()), error))
    }

    /// Deletes a user's template; returns whether a built-in one is used again.
    ///
    /// # Errors
    /// `Conflict` for a built-in one, `NotFound`, `Io`.
    pub fn delete(&self, name: &TemplateName) -> Result<bool> {
        let path = self.path(name);
        let covers = built_in_text(name).is_some();
        match fs::remove_file(&path) {
            Ok(()) => Ok(covers),
            Err(error) if error.kind() == io::ErrorKind::NotFound && covers => {
                let message = format!("`{name}` is a built-in template and cannot be deleted");
                Err(Error::new(ErrorKind::Conflict, message))
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                Err(self.unknown("template", name.as_str(), self.names()?))
            }
            Err(error) => Err(Error::io(
                format!("cannot delete {}", path.display()),
                error,
            )),
        }
    }
}

/// The built-in templates as image names: `ubuntu:24.04`.
fn image_forms() -> impl Iterator<Item = String> {
    BUILT_IN.iter().map(|(name, _)| name.replacen('-', ":", 1))
}

fn built_in_text(name: &TemplateName) -> Option<&'static str> {
    let mut all = BUILT_IN.iter();
    let found = all.find(|(known, _)| *known == name.as_str());
    found.map(|(_, text)| *text)
}

/// Reads a file; `None` if it is missing.
pub(super) fn read(path: &Path) -> io::Result<Option<String>> {
    // Opening a pipe would block.
    let metadata = match fs::metadata(path) {
        Ok(metadata) => metadata,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    if !metadata.is_file() {
        return Err(io::Error::other("not a regular file"));
    }
    if metadata.len() > MAX_BYTES {
        let message = format!("file too large: the limit is {} MiB", MAX_BYTES >> 20);
        return Err(io::Error::other(message));
    }
    fs::read_to_string(path).map(Some)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(text: &str) -> TemplateName {
        text.parse().unwrap()
    }

    fn image(text: &str) -> ImageName {
        ImageName::parse(text).unwrap()
    }

    #[test]
    fn built_in_templates_have_both_architectures_and_no_digest() {
        let directory = tempfile::tempdir().unwrap();
        let templates = Templates::new(directory.path().join("none"));
        let all = templates.list().unwrap();
        assert_eq!(all.len(), BUILT_IN.len());
        for info in all {
            assert_eq!(info.arches, Arch::ALL, "{}", info.name);
            assert!(info.title.is_some(), "{}", info.name);
            let text = templates.get(&info.name).unwrap().text;
            assert!(!text.contains("digest"), "{}", info.name);
            assert!(check(&text).is_empty(), "{}: {:?}", info.name, check(&text));
        }
    }

    #[test]
    fn all_template_files_are_embedded_and_all_releases_resolve() {
        let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../templates");
        let files = std::fs::read_dir(directory.join("lima")).unwrap();
        let files = files.map(|file| file.unwrap().file_name().into_string().unwrap());
        let mut files: Vec<String> = files.collect();
        let mut known: Vec<_> = BUILT_IN
            .iter()
            .map(|(name, _)| format!("{name}.yaml"))
            .collect();
        files.sort();
        known.sort();
        assert_eq!(files, known);

        let table = std::fs::read_to_string(directory.join("images.json")).unwrap();
        let table: serde_json::Value = serde_json::from_str(&table).unwrap();
        let templates = Templates::new(directory.join("none"));
        let mut found = 0;
        for (name, image_of) in table["names"].as_object().unwrap() {
            let Some(lima) = image_of.get("lima") else {
                continue;
            };
            let releases = lima["releases"].as_object().unwrap().keys();
            let example = image_of["example"].as_str().unwrap();
            for release in releases.map(String::as_str).chain([example]) {
                let wanted = image(&format!("{name}:{release}"));
                assert!(templates.for_image(&wanted).is_ok(), "{wanted}");
                found += 1;
            }
        }
        assert!(found >= 10, "{found}");
    }

    #[test]
    fn user_templates_take_precedence() {
        let directory = tempfile::tempdir().unwrap();
        let templates = Templates::new(directory.path().join("templates"));
        assert_eq!(
            templates.for_image(&image("debian/12")).unwrap().origin,
            Origin::BuiltIn
        );
        templates
            .create(&name("debian-12"), &name("debian-13"))
            .unwrap();
        let found = templates.for_image(&image("images:debian/12")).unwrap();
        assert_eq!(found.origin, Origin::Replaced);
        assert!(found.text.contains("trixie"));
        templates
            .create(&name("my-base"), &name("alpine-3.23"))
            .unwrap();
        assert_eq!(
            templates.for_image(&image("my-base")).unwrap().origin,
            Origin::User
        );
        let again = templates.create(&name("My-Base"), &name("alpine-3.23"));
        assert_eq!(again.unwrap_err().kind(), ErrorKind::AlreadyExists);
        assert!(
            templates.delete(&name("debian-12")).unwrap(),
            "uses the built-in one again"
        );
        assert!(!templates.delete(&name("my-base")).unwrap());
        assert_eq!(
            templates.delete(&name("debian-12")).unwrap_err().kind(),
            ErrorKind::Conflict
        );
        assert_eq!(
            templates.delete(&name("none")).unwrap_err().kind(),
            ErrorKind::NotFound
        );
    }

    #[test]
    fn unknown_name_suggests_similar_ones() {
        let templates = Templates::new("/nonexistent".into());
        let error = templates.for_image(&image("ubunut:24.04")).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::NotFound);
        assert!(
            error.hint().unwrap().contains("`ubuntu:24.04`"),
            "{error:?}"
        );
        let error = templates.for_image(&image("no-such-image")).unwrap_err();
        assert!(error.hint().unwrap().contains("debian:12"), "{error:?}");
    }

    #[test]
    fn invalid_template_does_not_replace_valid_one() {
        let directory = tempfile::tempdir().unwrap();
        let templates = Templates::new(directory.path().join("templates"));
        templates.create(&name("base"), &name("debian-12")).unwrap();
        let before = templates.get(&name("base")).unwrap();
        for bad in ["images: [", "cpus: 2\n", "just text"] {
            let error = templates.write(&name("base"), bad).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Config, "{bad}");
        }
        assert_eq!(templates.get(&name("base")).unwrap(), before);
        // One broken by hand is listed with its problem.
        fs::write(templates.path(&name("base")), "images: [").unwrap();
        let listed = templates.list().unwrap();
        assert!(listed[0].problem.is_some(), "{:?}", listed[0]);
    }
}
