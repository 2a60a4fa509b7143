//! Where templates are: embedded, and in the user's own directory, whose ones go first.

use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use super::{Arch, Level, Template, TemplateName, check, read_settings};
use crate::error::{Error, ErrorKind, Result};
use crate::home::{make_private_directory, replace};
use crate::image_names;
use crate::model::ImageName;

/// The end of a template's file.
const END: &str = "yaml";
/// The longest template.
const LIMIT: u64 = 1 << 20;

macro_rules! built_in {
    ($($name:literal),* $(,)?) => {
        &[$(($name, include_str!(concat!("../../../../templates/lima/", $name, ".yaml")))),*]
    };
}

/// Names and texts of the built-in ones, newest first.
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

/// Where a template comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Origin {
    /// It is part of the program.
    BuiltIn,
    /// It is the user's.
    User,
    /// It is the user's, in place of a built-in one of the same name.
    Replaced,
}

/// What a list says of a template.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Info {
    /// Its name.
    pub name: TemplateName,
    /// Where it comes from.
    pub origin: Origin,
    /// Its first comment.
    pub title: Option<String>,
    /// The architectures that it has images for.
    pub arches: Vec<Arch>,
    /// Its file, where it has one.
    pub path: Option<PathBuf>,
    /// Why it can't be used, if it can't.
    pub problem: Option<String>,
}

/// All templates.
#[derive(Debug, Clone)]
pub struct Templates {
    directory: PathBuf,
}

impl Templates {
    /// The built-in ones, and those of a directory, which need not be there.
    #[must_use]
    pub fn new(directory: PathBuf) -> Self {
        Self { directory }
    }

    /// The user's own directory.
    #[must_use]
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// Where a template of the user's is, or would be.
    #[must_use]
    pub fn path(&self, name: &TemplateName) -> PathBuf {
        self.directory.join(format!("{name}.{END}"))
    }

    /// All of them, the user's first.
    ///
    /// # Errors
    /// `Io` where the user's directory is there and can't be read.
    pub fn list(&self) -> Result<Vec<Info>> {
        let own = self.own()?;
        let built_in = BUILT_IN.iter().filter_map(|(name, _)| name.parse().ok());
        let others: Vec<TemplateName> = built_in.filter(|name| !own.contains(name)).collect();
        Ok(own
            .into_iter()
            .chain(others)
            .map(|name| self.info(name))
            .collect())
    }

    fn info(&self, name: TemplateName) -> Info {
        let path = Some(self.path(&name)).filter(|path| path.symlink_metadata().is_ok());
        let found = self.get(&name);
        let seen = found.and_then(|template| Ok((read_settings(&template.text)?, template)));
        match seen {
            Ok((seen, template)) => Info {
                name,
                origin: template.origin,
                title: template.title().map(str::to_owned),
                arches: seen.arches,
                path,
                problem: None,
            },
            Err(error) => Info {
                origin: self.origin_of_own(&name),
                name,
                title: None,
                arches: Vec::new(),
                path,
                problem: Some(error.report().message),
            },
        }
    }

    fn origin_of_own(&self, name: &TemplateName) -> Origin {
        match text_of_built_in(name) {
            Some(_) => Origin::Replaced,
            None => Origin::User,
        }
    }

    /// Names of the user's own, sorted.
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
                let is_template = path.extension().is_some_and(|end| end == END);
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

    /// The template of this name.
    ///
    /// # Errors
    /// `NotFound` naming those near; `Io` for a file that can't be read.
    pub fn get(&self, name: &TemplateName) -> Result<Template> {
        let path = self.path(name);
        match read(&path) {
            Ok(Some(text)) => Ok(Template {
                origin: self.origin_of_own(name),
                name: name.clone(),
                text,
            }),
            Ok(None) => match text_of_built_in(name) {
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

    /// The built-in template of this name, whatever the user has in its place.
    #[must_use]
    pub fn built_in(name: &TemplateName) -> Option<Template> {
        text_of_built_in(name).map(|text| Template {
            name: name.clone(),
            text: text.to_owned(),
            origin: Origin::BuiltIn,
        })
    }

    /// The template that an image name means: one of the user's of that name, else by the table of
    /// built-in names, else one of exactly that name.
    ///
    /// # Errors
    /// `NotFound` naming those near; `Io`.
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

    fn unknown(&self, what: &str, name: &str, known: Vec<String>) -> Error {
        let near = ImageName::parse(name).map(|name| image_names::near(&name, &known));
        let message = format!("there is no {what} `{name}` for Lima");
        let hint = match near.unwrap_or_default().as_slice() {
            [] => format!("there are: {}", known.join(", ")),
            near => format!("did you mean {}?", near.join(" or ")),
        };
        Error::new(ErrorKind::NotFound, message).with_hint(hint)
    }

    /// Makes a template of the user's, from another one.
    ///
    /// # Errors
    /// `AlreadyExists` where the user has one of that name, or of one that differs in case only;
    /// `NotFound`, `Io`.
    pub fn create(&self, name: &TemplateName, from: &TemplateName) -> Result<PathBuf> {
        let like = |known: &TemplateName| known.as_str().eq_ignore_ascii_case(name.as_str());
        // On a Mac they would be one file; of a built-in one only the same name takes the place.
        let built_in = BUILT_IN.iter().filter_map(|(known, _)| known.parse().ok());
        let others = built_in.filter(|known| known != name);
        if let Some(known) = self.own()?.into_iter().chain(others).find(like) {
            let message = format!("there is a template `{known}` already");
            return Err(
                Error::new(ErrorKind::AlreadyExists, message).with_hint(format!(
                    "change it: `lxc-dev-manager template edit {known}`"
                )),
            );
        }
        let text = self.get(from)?.text;
        self.write(name, &text)?;
        Ok(self.path(name))
    }

    /// Writes a template of the user's, as a whole.
    ///
    /// # Errors
    /// `Config` for one that can't be used, `Io`; what was there before stays then.
    pub fn write(&self, name: &TemplateName, text: &str) -> Result<()> {
        let problems = check(text);
        let bad = problems
            .iter()
            .find(|problem| problem.level == Level::Error);
        if let Some(problem) = bad {
            let message = format!("template `{name}` can't be used: {problem}");
            return Err(Error::new(ErrorKind::Config, message));
        }
        make_private_directory(&self.directory)?;
        let path = self.path(name);
        let mode = fs::Permissions::from_mode(0o600);
        replace(&path, text.as_bytes(), mode)
            .map_err(|error| Error::io(format!("cannot write {}", path.display()), error))
    }

    /// Deletes a template of the user's; whether a built-in one is back then.
    ///
    /// # Errors
    /// `Conflict` for a built-in one, `NotFound`, `Io`.
    pub fn delete(&self, name: &TemplateName) -> Result<bool> {
        let path = self.path(name);
        let covers = text_of_built_in(name).is_some();
        match fs::remove_file(&path) {
            Ok(()) => Ok(covers),
            Err(error) if error.kind() == io::ErrorKind::NotFound && covers => {
                let message = format!("`{name}` is built in, and can't be deleted");
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

/// The built-in templates, as image names are written: `ubuntu:24.04`.
fn image_forms() -> impl Iterator<Item = String> {
    BUILT_IN.iter().map(|(name, _)| name.replacen('-', ":", 1))
}

fn text_of_built_in(name: &TemplateName) -> Option<&'static str> {
    let mut all = BUILT_IN.iter();
    let found = all.find(|(known, _)| *known == name.as_str());
    found.map(|(_, text)| *text)
}

/// The text of a file; `None` where there is none.
pub(super) fn read(path: &Path) -> io::Result<Option<String>> {
    // A pipe would keep whoever opens it.
    let about = match fs::metadata(path) {
        Ok(about) => about,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    if !about.is_file() {
        return Err(io::Error::other("it is no file"));
    }
    if about.len() > LIMIT {
        let message = format!("it is larger than {} MiB", LIMIT >> 20);
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
    fn all_built_in_ones_have_both_architectures_and_no_digest() {
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
    fn what_is_in_the_directory_is_built_in_and_every_word_for_a_release_leads_there() {
        let place = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../templates");
        let files = std::fs::read_dir(place.join("lima")).unwrap();
        let files = files.map(|file| file.unwrap().file_name().into_string().unwrap());
        let mut files: Vec<String> = files.collect();
        let mut known: Vec<_> = BUILT_IN
            .iter()
            .map(|(name, _)| format!("{name}.yaml"))
            .collect();
        files.sort();
        known.sort();
        assert_eq!(files, known);

        let table = std::fs::read_to_string(place.join("images.json")).unwrap();
        let table: serde_json::Value = serde_json::from_str(&table).unwrap();
        let templates = Templates::new(place.join("none"));
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
    fn the_users_own_go_first() {
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
            "the built-in one is back"
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
    fn an_unknown_name_says_which_are_near() {
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
    fn what_can_not_be_used_is_not_written_over_what_can() {
        let directory = tempfile::tempdir().unwrap();
        let templates = Templates::new(directory.path().join("templates"));
        templates.create(&name("base"), &name("debian-12")).unwrap();
        let before = templates.get(&name("base")).unwrap();
        for bad in ["images: [", "cpus: 2\n", "just text"] {
            let error = templates.write(&name("base"), bad).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Config, "{bad}");
        }
        assert_eq!(templates.get(&name("base")).unwrap(), before);
        // One that somebody has broken by hand is listed with its problem.
        fs::write(templates.path(&name("base")), "images: [").unwrap();
        let listed = templates.list().unwrap();
        assert!(listed[0].problem.is_some(), "{:?}", listed[0]);
    }
}
