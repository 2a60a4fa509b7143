//! Flags as limactl's own library reads them, with its words for what is wrong: a call that the real program would refuse
//! has to fail here too.

use std::collections::BTreeMap;

use anyhow::{Result, bail};

/// What a flag takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Bool,
    Text,
    /// May be given several times.
    List,
    Int,
    Port,
    Float,
    Duration,
}

/// One flag of a command.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Flag {
    pub(crate) name: &'static str,
    pub(crate) short: Option<char>,
    pub(crate) kind: Kind,
}

pub(crate) const fn flag(name: &'static str, kind: Kind) -> Flag {
    Flag {
        name,
        short: None,
        kind,
    }
}

pub(crate) const fn short(name: &'static str, short: char, kind: Kind) -> Flag {
    Flag {
        name,
        short: Some(short),
        kind,
    }
}

/// Those that every command has.
pub(crate) const GLOBAL: &[Flag] = &[
    flag("log-level", Kind::Text),
    flag("log-format", Kind::Text),
    flag("debug", Kind::Bool),
    flag("tty", Kind::Bool),
    short("yes", 'y', Kind::Bool),
    short("help", 'h', Kind::Bool),
];

#[derive(Debug, Default)]
pub(crate) struct Given {
    values: BTreeMap<&'static str, Vec<String>>,
    pub(crate) args: Vec<String>,
}

impl Given {
    pub(crate) fn is_set(&self, name: &str) -> bool {
        self.values.contains_key(name)
    }

    /// The last one wins.
    pub(crate) fn text(&self, name: &str) -> Option<&str> {
        self.values.get(name)?.last().map(String::as_str)
    }

    pub(crate) fn all(&self, name: &str) -> &[String] {
        self.values.get(name).map_or(&[], Vec::as_slice)
    }

    pub(crate) fn bool(&self, name: &str) -> bool {
        self.text(name)
            .is_some_and(|text| go_bool(text) == Some(true))
    }

    fn put(&mut self, flag: &Flag, value: &str, shown: &str) -> Result<()> {
        check(flag, value, shown)?;
        self.values
            .entry(flag.name)
            .or_default()
            .push(value.to_owned());
        Ok(())
    }
}

fn go_bool(text: &str) -> Option<bool> {
    match text {
        "1" | "t" | "T" | "true" | "TRUE" | "True" => Some(true),
        "0" | "f" | "F" | "false" | "FALSE" | "False" => Some(false),
        _ => None,
    }
}

fn check(flag: &Flag, value: &str, shown: &str) -> Result<()> {
    let problem = match flag.kind {
        Kind::Bool => go_bool(value).is_none().then_some("strconv.ParseBool"),
        Kind::Int => value.parse::<i64>().is_err().then_some("strconv.ParseInt"),
        Kind::Port => value.parse::<u16>().is_err().then_some("strconv.ParseUint"),
        Kind::Float => value
            .parse::<f32>()
            .is_err()
            .then_some("strconv.ParseFloat"),
        Kind::Duration if seconds(value).is_none() => {
            bail!("invalid argument {value:?} for {shown:?} flag: time: invalid duration {value:?}")
        }
        Kind::Duration | Kind::Text | Kind::List => None,
    };
    match problem {
        None => Ok(()),
        Some(by) => bail!(
            "invalid argument {value:?} for {shown:?} flag: {by}: parsing {value:?}: invalid syntax"
        ),
    }
}

/// `1h2m3.5s`, in seconds.
pub(crate) fn seconds(text: &str) -> Option<f64> {
    if text == "0" {
        return Some(0.0);
    }
    let (mut total, mut rest) = (0.0, text);
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let number: f64 = rest[..digits].parse().ok()?;
        rest = &rest[digits..];
        let end = rest
            .find(|c: char| c.is_ascii_digit() || c == '.')
            .unwrap_or(rest.len());
        total += number
            * match &rest[..end] {
                "h" => 3600.0,
                "m" => 60.0,
                "s" => 1.0,
                "ms" => 1e-3,
                "us" | "µs" => 1e-6,
                "ns" => 1e-9,
                _ => return None,
            };
        rest = &rest[end..];
    }
    (!text.is_empty()).then_some(total)
}

/// Reads a command's flags. Without `interspersed` all that follows the first argument is an argument.
pub(crate) fn parse(args: &[String], flags: &[Flag], interspersed: bool) -> Result<Given> {
    let mut given = Given::default();
    let mut rest = args.iter();
    while let Some(arg) = rest.next() {
        if arg == "--" {
            given.args.extend(rest.cloned());
            break;
        }
        if let Some(long) = arg.strip_prefix("--") {
            take_long(&mut given, long, flags, &mut rest)?;
        } else if arg.len() > 1 && arg.starts_with('-') {
            take_short(&mut given, arg, flags, &mut rest)?;
        } else {
            given.args.push(arg.clone());
            if !interspersed {
                given.args.extend(rest.cloned());
                break;
            }
        }
    }
    Ok(given)
}

fn take_long(
    given: &mut Given,
    long: &str,
    flags: &[Flag],
    rest: &mut std::slice::Iter<'_, String>,
) -> Result<()> {
    let (name, value) = match long.split_once('=') {
        Some((name, value)) => (name, Some(value)),
        None => (long, None),
    };
    if name.is_empty() || name.starts_with('-') {
        bail!("bad flag syntax: --{long}");
    }
    let Some(flag) = find(flags, |flag| flag.name == name) else {
        bail!("unknown flag: --{name}");
    };
    let shown = match flag.short {
        Some(short) => format!("-{short}, --{name}"),
        None => format!("--{name}"),
    };
    match (value, flag.kind) {
        (Some(value), _) => given.put(flag, value, &shown),
        (None, Kind::Bool) => given.put(flag, "true", &shown),
        (None, _) => match rest.next() {
            Some(value) => given.put(flag, value, &shown),
            None => bail!("flag needs an argument: --{name}"),
        },
    }
}

/// `-f`, `-fq`, `-fVALUE`, `-f VALUE`, `-f=VALUE`.
fn take_short(
    given: &mut Given,
    arg: &str,
    flags: &[Flag],
    rest: &mut std::slice::Iter<'_, String>,
) -> Result<()> {
    let mut letters = &arg[1..];
    while let Some(letter) = letters.chars().next() {
        letters = &letters[letter.len_utf8()..];
        let Some(flag) = find(flags, |flag| flag.short == Some(letter)) else {
            bail!("unknown shorthand flag: {letter:?} in {arg}");
        };
        let shown = format!("-{letter}, --{}", flag.name);
        if let Some(value) = letters.strip_prefix('=') {
            return given.put(flag, value, &shown);
        }
        if flag.kind == Kind::Bool {
            given.put(flag, "true", &shown)?;
        } else if !letters.is_empty() {
            return given.put(flag, letters, &shown);
        } else {
            return match rest.next() {
                Some(value) => given.put(flag, value, &shown),
                None => bail!("flag needs an argument: {letter:?} in {arg}"),
            };
        }
    }
    Ok(())
}

fn find(flags: &[Flag], is: impl Fn(&Flag) -> bool) -> Option<&Flag> {
    flags.iter().chain(GLOBAL).find(|flag| is(flag))
}

#[cfg(test)]
mod tests {
    use super::*;

    const FLAGS: &[Flag] = &[
        short("force", 'f', Kind::Bool),
        flag("cpus", Kind::Int),
        flag("set", Kind::List),
        short("format", 'o', Kind::Text),
    ];

    fn given(args: &[&str]) -> Result<Given> {
        let args: Vec<String> = args.iter().map(|&arg| arg.to_owned()).collect();
        parse(&args, FLAGS, true)
    }

    #[test]
    fn flags_and_arguments_may_be_mixed() {
        let given = given(&[
            "a", "-f", "--cpus=2", "b", "--set", "x", "--set=y", "--", "-z",
        ])
        .unwrap();
        assert_eq!(given.args, ["a", "b", "-z"]);
        assert!(given.bool("force"));
        assert_eq!(given.text("cpus"), Some("2"));
        assert_eq!(given.all("set"), ["x", "y"]);
    }

    #[test]
    fn what_is_wrong_is_said_as_the_library_says_it() {
        let error = |args: &[&str]| given(args).unwrap_err().to_string();
        assert_eq!(error(&["--nope"]), "unknown flag: --nope");
        assert_eq!(error(&["-z"]), "unknown shorthand flag: 'z' in -z");
        assert_eq!(error(&["--cpus"]), "flag needs an argument: --cpus");
        assert!(error(&["--cpus=two"]).starts_with("invalid argument \"two\" for \"--cpus\" flag"));
        assert!(error(&["--tty=maybe"]).contains("ParseBool"));
    }

    #[test]
    fn durations_are_read() {
        assert_eq!(seconds("1m30s"), Some(90.0));
        assert_eq!(seconds("250ms"), Some(0.25));
        assert_eq!(seconds("10"), None);
        assert_eq!(seconds(""), None);
    }
}
